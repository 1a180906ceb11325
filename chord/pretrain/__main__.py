"""`python -m chord.pretrain`."""

from __future__ import annotations

from chord.pretrain.command import main

if __name__ == "__main__":
    main()
