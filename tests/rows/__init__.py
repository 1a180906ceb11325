"""One row for each option: the values that its tests expect, and its formula in plain Python."""
