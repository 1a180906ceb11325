"""What a run will take, before it is started: memory by formula, time by a few steps."""
