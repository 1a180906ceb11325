"""Several runs from one command: `python -m chord.train -m schedule=linear,cosine seed=0,1,2`.

In the order of reading: `points` (the jobs of a command, all composed before the first starts),
`beforehand` (whether they can be run here), `directory` (what a sweep keeps on disk), `places`
(where its jobs may write), `equal_runs` (what is finished already), `opening` (how a sweep begins),
`jobs` (which jobs there are, and how each ended), `launching`, `launchers` and `devices` (how many
at a time, and where), `job` and `naming` (one of them), `table` (what is shown), `sweeper` (a
`grid` or a `search`, as Hydra calls it), `study`, `space` and `best` (what Optuna may choose, has
chosen, and found best), `plugin` (where Hydra finds the sweeper).
"""
