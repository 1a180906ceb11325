"""A comparison as one HTML file that works offline: tables, plots, sample responses.

============ ======================================================================
document     template, style, scripts and data -> the file
data         Comparison -> the JSON values that the scripts read
curves       runs of a group -> mean curve with its band, thinned and packed
*.js         dom, state, summary, table, plot, curves, scatter, heat, details, main
============ ======================================================================
"""

from chord.compare.page.document import write_page

__all__ = ["write_page"]
