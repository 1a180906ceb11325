"""`python -m chord.show`."""

from chord.show.command import main

main()
