"""Plots of schedules and weightings: `python -m chord.show schedule=linear,cosine`."""
