"""Every pair of options meets in a run that is checked against a reference of its own.

`factors` lists options and what refuses what, `covering` makes the runs, `bed` the data and the
models, `running` takes the steps, `reference` works the same steps out by loops over tokens.
"""
