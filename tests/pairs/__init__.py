"""Every pair of options meets in a run that is checked against a reference of its own.

`factors` lists options, `refusals` what refuses what, `activity` what makes a difference where.
`covering` makes configurations of them, `composing` composes them. `bed` has data and models,
`running` takes the steps, `reference` works the same steps out by loops over tokens, and `compare`
compares.
"""
