"""The inputs of a train step, and the file they are saved in: tensors and plain values only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from chord.data.batch import TokenBatch
from chord.distributed.collectives import all_rows
from chord.errors import ConfigError, first_line
from chord.io.reading import parse_json
from chord.losses.distillation import TeacherTokens
from chord.models.storage import write_tensors
from chord.rollout.rows import RolloutRows
from chord.step.plan import Plan
from chord.step.rows import ExpertRows

FILE = Path("nonfinite") / "step.safetensors"
_ENTRY = "chord.step"


@dataclass
class SavedStep:
    """Train step `number`: the rows of both branches with their shares; None if skipped.

    `facts` are further plain values, including the `cause` that was found.
    """

    number: int
    shares: tuple[float, float]
    sft: ExpertRows | None = None
    rl: RolloutRows | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def of_plan(number: int, plan: Plan) -> SavedStep:
    """The step of all ranks, rows in rank order; every rank calls this."""
    rl = None if plan.rollouts is None or plan.shares.rl == 0 else plan.rollouts.rows
    shares = (plan.shares.sft, plan.shares.rl)
    return SavedStep(number, shares, _of_all(plan.experts), _of_all(rl))


# The errors raised by values that no run has written.
_MISFITS = (TypeError, AttributeError, OverflowError, RuntimeError)


def save_step(run_dir: Path, step: SavedStep, weights: Mapping[str, Tensor]) -> None:
    """Write the rows and the policy's trained `weights`; replaces a step that was saved before."""
    tensors = {f"weights/{name}": tensor for name, tensor in weights.items()}
    for branch, rows in (("sft", step.sft), ("rl", step.rl)):
        tensors |= {f"{branch}/{name}": tensor for name, tensor in _tensors(rows).items()}
    header = {"number": step.number, "shares": list(step.shares), **step.facts}
    write_tensors(
        run_dir / FILE,
        {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
        {_ENTRY: json.dumps(header)},
    )


def load_step(run_dir: Path) -> tuple[SavedStep, dict[str, Tensor]]:
    """Read what `save_step` wrote.

    Raises ConfigError if there is none, or if it can't be read.
    """
    path = run_dir / FILE
    if not path.is_file():
        raise ConfigError(f"{run_dir}: holds no step whose gradient was not finite ({FILE})")
    try:
        with safe_open(path, framework="pt") as file:
            facts = parse_json(file.metadata()[_ENTRY].encode())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found: dict[str, dict[str, Tensor]] = {"weights": {}, "sft": {}, "rl": {}}
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            found[group][rest] = tensor
        sft, rl = _rows(ExpertRows, found["sft"]), _rows(RolloutRows, found["rl"])
        if "lr" in facts:
            facts["lr"] = float(facts["lr"])
        number, (a, b) = int(facts.pop("number")), facts.pop("shares")
        return SavedStep(number, (float(a), float(b)), sft, rl, facts), found["weights"]
    except (SafetensorError, OSError, ValueError, LookupError, *_MISFITS) as error:
        raise ConfigError(f"{path}: can't be read ({first_line(error)})") from None


def _tensors(rows: Any) -> dict[str, Tensor]:
    """The tensors of a dataclass and of the dataclasses inside it, by name."""
    found: dict[str, Tensor] = {}
    for each in fields(rows) if rows is not None else ():
        value = getattr(rows, each.name)
        if isinstance(value, Tensor):
            found[each.name] = value
        elif value is not None:
            found |= {f"{each.name}.{name}": inner for name, inner in _tensors(value).items()}
    return found


def _rows(kind: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_tensors`; None for an absent branch."""
    if not tensors:
        return None
    plain: dict[str, Any] = {name: each for name, each in tensors.items() if "." not in name}
    if kind is RolloutRows:
        # None in the first update on the rows.
        plain.setdefault("old_logprobs", None)
    for name, inner in (("tokens", TokenBatch), ("teacher", TeacherTokens)):
        theirs = {
            key.partition(".")[2]: tensor
            for key, tensor in tensors.items()
            if key.startswith(f"{name}.")
        }
        if theirs:
            plain[name] = inner(**theirs)
    return kind(**plain)


def _of_all(rows: Any) -> Any:
    """The rows of all ranks, padded to the widest."""
    if rows is None:
        return None
    tensors = {}
    for name, tensor in _tensors(rows).items():
        # Only numbers can be sent.
        flag = tensor.dtype == torch.bool
        everyone, _ = all_rows(tensor.to(torch.uint8) if flag else tensor)
        tensors[name] = everyone.bool() if flag else everyone
    return _rows(type(rows), tensors)
