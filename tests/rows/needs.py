"""What is typed beside an option that can't do alone; rewards and data have it in their rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from texts import write

from rows import data, rewards

PAIRED = "data.pairing=paired"
MODEL = "model.path=LANGUAGE_MODEL"
NEEDS = {
    "gate=solve_rate": PAIRED,
    "gate=all_wrong_buffer": f"{PAIRED} gate.size=2",
    "model=hf": f"{MODEL} teacher=none",
    "model=smollm2": f"{MODEL} teacher=none",  # its package need not be installed
    "experiment=smollm2": f"{MODEL} teacher=hf teacher.path=LANGUAGE_MODEL",
    "teacher=hf": f"teacher.path=LANGUAGE_MODEL model=hf {MODEL} weighting=adaptive",
    "rollout=expert_in_group": PAIRED,
    "rollout=uft": PAIRED,
    "rollout=prefix_rft": PAIRED,
    "rollout=trapo": f"{PAIRED} rollout.group_size=4",
    "experiment=trapo": "rollout.group_size=4",
}
ROWS = {f"data={name}": row for name, row in data.ROWS.items()} | {
    f"reward={name}": row for name, row in rewards.ROWS.items()
}


# A package, several processes, an engine and a device that need not be there: test_smollm2.py,
# test_process_runs.py and test_vllm.py have steps on them.
ELSEWHERE = (
    "experiment=smollm2",
    "trainer=ddp",
    "trainer=fsdp",
    "trainer=gpu",
    "rollout=vllm",
)


def needs_package(choice: str) -> bool:
    """Whether an option takes a package that may not be installed."""
    return choice in ROWS and ROWS[choice].package is not None


def with_needs(choice: str) -> str:
    """`gate=solve_rate data.pairing=paired`: an option with what it cannot do without."""
    needs = ROWS[choice].needs if choice in ROWS else NEEDS.get(choice, "")
    return f"{choice} {needs}".strip()


def placed(typed: str, model: Path, files: Path) -> list[str]:
    """The words, with a model and files where they are named; skips what is not installed."""
    for word in typed.split():
        if (row := ROWS.get(word)) is not None:
            if row.package is not None:
                pytest.importorskip(row.package)
            for name, lines in (getattr(row, "files", None) or {}).items():
                write(files / name, lines)
    return typed.replace("LANGUAGE_MODEL", str(model)).replace("FILES", str(files)).split()
