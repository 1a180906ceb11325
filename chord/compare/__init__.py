"""Many runs side by side: read, grouped by all but the seed, compared with confidence.

============ ===================================================================
model        runs and what a comparison says about them: plain data
finding      which directories hold the runs
reading      run directories -> runs, and what was left out and why
wandb_source the same from Weights & Biases
settings     a configuration, flat, without what changes no number
record       rows -> thinned curves, final and best scores, tokens
grouping     runs -> groups of all but the seed -> a comparison
labels       what tells groups from each other
statistics   intervals, paired differences, Holm's correction
notes        what a reader must know
terminal     tables on the terminal, set by layout
tables       CSV and Parquet
plots        pictures; heat_map is one of them, of maps' groups, canvas what they share
page         a comparison as one HTML file that opens offline
command      `python -m chord.compare`
============ ===================================================================
"""
