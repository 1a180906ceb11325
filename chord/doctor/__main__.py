"""`python -m chord.doctor`."""

from chord.doctor.command import main

if __name__ == "__main__":
    main()
