"""`python -m chord.dashboard`: a W&B workspace and report for the runs of a project.

`sections` lists what is shown. `specification` turns it and the command line into a JSON document,
from which `charts`, `workspace` and `report` build everything that W&B gets. Only `publish` needs
an account.
"""
