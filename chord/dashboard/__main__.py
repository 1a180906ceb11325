"""`python -m chord.dashboard`."""

from chord.dashboard.command import main

if __name__ == "__main__":
    main()
