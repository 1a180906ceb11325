"""Pre-training of the shipped base and teacher: `python -m chord.pretrain`.

The two models differ in their data mixture, their width and their number of steps. The base usually
answers target problems directly and seldom works them out; the teacher always works them out.
"""

from __future__ import annotations

from chord.pretrain.command import main

__all__ = ["main"]
