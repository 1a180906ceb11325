"""A train step whose gradient is not finite: kept on disk, taken again row by row, its cause named.

step         what the step was computed from, of all ranks, and its file
cause        where the first number that is not finite appears: branch, tensor, row
guard        what a run does then: `trainer.on_nonfinite=stop` or `skip`
command      `python -m chord.replay RUN`
"""
