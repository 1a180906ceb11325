"""chord: train language models on a mix of supervised fine-tuning and reinforcement learning.

`loss = alpha * L_sft + (1 - alpha) * L_rl`, where alpha is the share of SFT. The names below are
loaded on first use, so importing the package is fast and does not import torch.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from chord.io.moved import find_moved_modules

if TYPE_CHECKING:
    from chord.losses import *
    from chord.losses.advantages import Advantage as Advantage
    from chord.losses.advantages import compute_advantages as compute_advantages
    from chord.schedules import *
    from chord.weightings import *

__version__ = "0.1.0"


def _runs_a_command() -> bool:
    """Whether this process was started as `python -m chord.NAME` or `chord-NAME`."""
    script = os.path.basename(sys.argv[0]) if sys.argv else ""
    # Until Python has found the module, argv[0] is "-m"; its name is in orig_argv.
    typed = sys.orig_argv[-len(sys.argv)] if script == "-m" else ""
    return script.startswith("chord-") or typed.removeprefix("-m").partition(".")[0] == __name__


def _in_one_line(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Print "interrupted" instead of a traceback for Ctrl-C, even while a command is loading."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if _runs_a_command():
    sys.excepthook = _in_one_line
find_moved_modules()


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted(_exported())
    if name.startswith("_") or name not in (homes := _exported()):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(homes[name]), name)


def _exported() -> dict[str, str]:
    """The module from which each public name of the mathematics is imported."""
    homes = [f"{__name__}.{home}" for home in ("schedules", "weightings", "losses")]
    found = {name: home for home in homes for name in import_module(home).__all__}
    advantages = f"{__name__}.losses.advantages"
    return found | {"Advantage": advantages, "compute_advantages": advantages}


def __dir__() -> list[str]:
    return sorted({*globals(), *_exported()})
