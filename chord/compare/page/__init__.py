"""A comparison as one HTML file that needs no network: tables, plots, sample answers.

============ ======================================================================
document     template, style, scripts and data -> the file
data         Comparison -> what the scripts read, as plain JSON values
curves       runs of a group -> mean curve with its band, thinned and packed
*.js         dom, state, summary, table, plot, curves, scatter, heat, details, main
============ ======================================================================
"""

from chord.compare.page.document import write_page

__all__ = ["write_page"]
