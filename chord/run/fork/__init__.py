"""A new run from a checkpoint of another one: `fork=RUN`.

`base`: the settings of that run take the place of `conf/train.yaml`. `start`: its weights, and the
state of its optimizer.
"""
