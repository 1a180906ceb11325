"""Commands in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


def run(
    *arguments: str, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**ENVIRONMENT, **variables},
        check=False,
        timeout=300,
    )


# What takes seconds to import, and how it is seen that a command ended before any of it.
HEAVY = ("torch", "lightning", "wandb", "matplotlib")
LIGHT = f"""
import atexit, runpy, sys
sys.argv = sys.argv[1:]
atexit.register(lambda: print("imported:", *{{*{HEAVY}}} & {{*sys.modules}}))
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
