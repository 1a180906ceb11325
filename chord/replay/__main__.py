"""`python -m chord.replay`."""

from chord.replay.command import main

if __name__ == "__main__":
    main()
