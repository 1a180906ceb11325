"""Several runs from one command: `python -m chord.train -m schedule=linear,cosine seed=0,1,2`.

In the order of reading: `points` (which jobs a command stands for, all composed before the first
starts), `beforehand` (whether they can be run here), `directory` (what a sweep keeps on disk, and
what is finished already), `launchers` and `devices` (how many jobs at a time, and where), `job`
(one of them), `status` (how it ended), `table` (what is shown), `sweeper` (a grid or a search, as
Hydra calls it), `search` and `space` (what Optuna may choose), `plugin` (where Hydra finds the
sweeper).
"""
