"""`python -m chord.plan`."""

from chord.plan.command import main

main()
