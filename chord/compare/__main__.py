"""`python -m chord.compare`."""

from chord.compare.command import main

if __name__ == "__main__":
    main()
