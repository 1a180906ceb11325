"""Schedules and weightings as curves: `python -m chord.show schedule=linear,cosine`."""
