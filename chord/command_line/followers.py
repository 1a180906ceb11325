"""The processes of a run other than its first, which Hydra must write nothing for."""

from __future__ import annotations

import os
import sys

from chord.config.overrides import setting
from chord.distributed.launch import started_by_the_first

RUN_DIR = "hydra.run.dir="
NOTHING_WRITTEN = (
    "hydra.output_subdir=null",
    "~hydra.job_logging.handlers.file",
    "hydra.job_logging.root.handlers=[console]",
)


def follow(arguments: list[str]) -> list[str]:
    """The arguments of a process other than the first: Hydra writes nothing for it."""
    # Its numbers and its messages are the first one's.
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # until the process ends
    if started_by_the_first(arguments):
        # Lightning has put quotes around the run directory, whatever is in its name.
        at = max(n for n, word in enumerate(arguments) if word.startswith(RUN_DIR))
        path = arguments[at].removeprefix(RUN_DIR).strip('"')
        arguments = [*arguments[:at], setting("hydra.run.dir", path), *arguments[at + 1 :]]
    return [*arguments, *NOTHING_WRITTEN]
