"""Estimates of a run's memory, by formula, and of its time, from a few timed steps."""
