"""`python -m chord.dashboard`: the workspace and the report of a project's runs in W&B.

`sections` says what is shown, `specification` turns it and the command line into a JSON document of
our own. Everything W&B is given is made from that document: `charts`, `workspace`, `report`, and
`publish`, which alone needs an account.
"""
