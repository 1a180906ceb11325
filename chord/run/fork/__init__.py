"""A new run from another one: a fork of it (`fork=RUN`), or one with its model (`model.run=RUN`).

`base`: of a fork, the settings of that run take the place of `conf/train.yaml`. `start`: its
weights, and the state of its optimizer. `model`: only its model takes the place of another one.
"""
