"""Comparison of many runs: grouped by everything but the seed, with confidence intervals.

============ ===================================================================
model        plain data: runs, groups of runs, and the comparison
finding      finds the run directories
reading      run directories -> runs, and what was left out and why
wandb_source the same from Weights & Biases
settings     a configuration as flat settings, without those that cannot affect the results
saved        saved evaluations, in place of the runs' final scores
record       rows -> thinned curves, final and best scores, tokens
grouping     runs -> groups that differ only by the seed -> a comparison
labels       the settings that distinguish the groups
statistics   intervals, paired differences, Holm's correction
notes        caveats for the reader
terminal     tables on the terminal, laid out by layout
tables       CSV and Parquet
plots        figures, with heat_map (one of them), maps (its groups) and canvas (shared parts)
page         a comparison as one HTML file that works offline
command      `python -m chord.compare`
============ ===================================================================
"""
