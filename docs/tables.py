"""`make docs-tables`: rewrite the lists that follow from the options.

A class and its YAML file make an option. The lists that name it elsewhere are written from these
two: imports and `__all__` of its package, README's table of options, its rows in `docs/methods.md`
and `docs/rewards.md`.
A row that exists keeps its words; numbers are computed anew. `tests/test_docs_tables.py` fails
while a list is out of date.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import hydra
import torch

from chord.config.composing import reading_conf, register
from chord.config.location import CONF_DIR
from chord.config.messages import first_comment
from chord.config.parse import parse
from chord.config.registry import SCHEMAS
from chord.config.root import TrainConfig
from chord.rewards import Isolated
from chord.weightings import Weighting, token_stats

ROOT = Path(__file__).resolve().parent.parent
# Packages that export the options of a group.
EXPORTS = {
    "chord.losses.objectives": "objective",
    "chord.losses": "objective",
    "chord.rewards": "reward",
    "chord.schedules": "schedule",
    "chord.weightings": "weighting",
}
# Groups with a table in docs/methods.md whose rows are their options.
METHODS = (
    "schedule", "weighting", "objective", "advantage", "gate", "mix", "target", "experiment",
)  # fmt: skip
Row = list[str]


def rewritten() -> dict[Path, str]:
    """What each file should hold."""
    texts = {(path := _init(package)): exports(package, path.read_text()) for package in EXPORTS}
    readme, methods, rewards = (
        ROOT / name for name in ("README.md", "docs/methods.md", "docs/rewards.md")
    )
    texts[readme] = options_table(readme.read_text())
    texts[rewards] = in_table(
        rewards.read_text(), "| reward |", lambda header, rows: named("reward", header, rows)
    )
    text = methods.read_text()
    for group in METHODS:
        text = in_table(
            text, f"| {group} |", lambda header, rows, of=group: named(of, header, rows)
        )
    text = in_table(text, "| schedule | 0 |", alphas)
    texts[methods] = in_table(text, "| weighting | .001 |", weights)
    return texts


def _init(package: str) -> Path:
    return ROOT / package.replace(".", "/") / "__init__.py"


def exports(package: str, source: str) -> str:
    """The imports of a package's modules and its `__all__`, with every option of its group."""
    body = ast.parse(source).body
    imports = [
        node
        for node in body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("chord.")
    ]
    homes = {alias.name: str(node.module) for node in imports for alias in node.names}
    for kind in SCHEMAS[EXPORTS[package]].values():
        inner = [name for name in EXPORTS if f"{kind.__module__}.".startswith(f"{name}.")]
        inner = [name for name in inner if name.startswith(f"{package}.")]
        homes.setdefault(kind.__name__, inner[0] if inner else kind.__module__)
    names = next(node for node in body if isinstance(node, ast.Assign))
    listed = {ast.literal_eval(each) for each in names.value.elts} | {  # type: ignore[attr-defined]
        kind.__name__ for kind in SCHEMAS[EXPORTS[package]].values()
    }
    lines = source.splitlines()
    written = [
        *lines[: imports[0].lineno - 1],
        *(f"from {home} import {name}" for name, home in homes.items()),
        *lines[imports[-1].end_lineno : names.lineno - 1],
        f"__all__ = {sorted(listed)}",
        *lines[names.end_lineno :],
    ]
    text = "\n".join(written) + "\n"
    for command in ("check --fix --quiet --select I,RUF022", "format --quiet"):
        words = [sys.executable, "-m", "ruff", *command.split(), "--stdin-filename"]
        words += [str(_init(package)), "-"]
        done = subprocess.run(words, input=text, text=True, capture_output=True, check=True)
        text = done.stdout
    return text


def in_table(text: str, start: str, change: Callable[[Row, list[Row]], list[Row]]) -> str:
    """The text with other rows in the table whose header begins with `start`."""
    lines = text.splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if line.startswith(start))
    last = first
    while last < len(lines) and lines[last].startswith("|"):
        last += 1
    header, _, *rows = (
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[first:last]
    )
    written = ["| " + " | ".join(row) + " |\n" for row in change(header, rows)]
    lines[first + 2 : last] = [re.sub(r"  +\|", " |", line) for line in written]
    return "".join(lines)


def option_names(group: str) -> list[str]:
    """The options of a group, by their YAML files."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def code(cell: str) -> str:
    """The first name in a cell."""
    found = re.search(r"`([^`]+)`", cell)
    return found[1] if found else ""


def kept(rows: list[Row], names: list[str], new: Callable[[str], Row]) -> list[Row]:
    """The rows of options that exist, in the order they have, then a row for each that has none."""
    known = {code(row[0]) for row in rows}
    return [row for row in rows if code(row[0]) in names] + [
        new(name) for name in names if name not in known
    ]


def options_table(text: str) -> str:
    """README with every option in the row of its group."""

    def change(header: Row, rows: list[Row]) -> list[Row]:
        for row in rows:
            names = option_names(code(row[0]))
            cells = [cell for cell in row[2].split(", ") if code(cell) in names]
            shown = {code(cell) for cell in cells}
            row[2] = ", ".join([*cells, *(f"`{name}`" for name in names if name not in shown)])
        return rows

    return in_table(text, "| group |", change)


def named(group: str, header: Row, rows: list[Row]) -> list[Row]:
    """A row for each option: a new one says what its YAML file says."""

    def new(name: str) -> Row:
        path = CONF_DIR / group / f"{name}.yaml"
        cells = dict.fromkeys(header, "")
        if group == "experiment":
            for column in ("schedule", "weighting"):
                chosen = re.search(rf"override /{column}: (\w+)", path.read_text())
                cells[column] = f"`{chosen[1]}`" if chosen else ""
        else:
            cells[header[1]] = first_comment(path).replace("|", "\\|")
            cells |= {"defaults": _defaults(group, name)} if "defaults" in cells else {}
            cells |= {"runs in": _place(name)} if "runs in" in cells else {}
            cells |= {"reads": reads(name)} if group == "weighting" else {}
        return [f"`{name}`", *(cells[column] for column in header[1:])]

    return kept(rows, option_names(group), new)


def _defaults(group: str, name: str) -> str:
    kind = SCHEMAS[group].get(name)
    if kind is None:
        return ""
    own = [each for each in fields(kind) if each.name in kind.__annotations__]
    return ", ".join(f"{each.name} {each.default}" for each in own)


def _place(name: str) -> str:
    """Where a reward scores."""
    kind = SCHEMAS["reward"].get(name)
    return "" if kind is None else "workers" if issubclass(kind, Isolated) else "the run"


def reads(name: str) -> str:
    """What a weighting reads beside the policy."""
    if name not in SCHEMAS["weighting"]:
        return ""
    rule: Weighting = SCHEMAS["weighting"][name]()
    needs = (rule.needs_reference, rule.needs_teacher, rule.needs_signal)
    named = zip(("reference", "teacher", "score"), needs, strict=True)
    return ", ".join(what for what, needed in named if needed)


def alphas(header: Row, rows: list[Row]) -> list[Row]:
    """alpha at some steps of a run of 120, for the schedules that are shown."""
    with reading_conf():
        for row in rows:
            settings = ["steps=120", f"schedule={code(row[0])}"]
            schedule = parse(hydra.compose("train", settings), TrainConfig).schedule
            row[1:] = [f"{schedule(int(step)):.3f}" for step in header[1:]]
    return [[row[0], *(_short(cell) for cell in row[1:])] for row in rows]


def weights(header: Row, rows: list[Row]) -> list[Row]:
    """w at some p, out of a vocabulary of two, for every weighting that reads nothing else."""
    p = torch.tensor([[float(cell) for cell in header[1:]]], dtype=torch.float64)
    logits = torch.stack([p.log(), (1 - p).log()], dim=-1)

    def row_of(cell: str) -> Row:
        settings: dict[str, Any] = {}
        settings |= {"expert": "one_hot"} if "one_hot" in cell else {}
        settings |= {"level": "token"} if "token" in cell else {}
        rule: Weighting = SCHEMAS["weighting"][code(cell)](**settings)
        stats = token_stats(logits, torch.zeros(p.shape, dtype=torch.int64), top_k=rule.top_k)
        values = rule(stats, torch.ones(p.shape, dtype=torch.bool))[0].tolist()
        return [
            cell,
            *(_short(f"{w:.4f}" if abs(w - round(w)) > 1e-12 else f"{w:.0f}") for w in values),
        ]

    of_p_alone = [
        name
        for name, kind in SCHEMAS["weighting"].items()
        if not (kind.needs_signal or kind.needs_reference or kind.ranks_tokens)
        and (rule := kind())
        and not rule.needs_teacher
    ]
    shown = [code(row[0]) for row in rows]
    return [row_of(row[0]) for row in rows] + [
        row_of(f"`{name}`") for name in of_p_alone if name not in shown
    ]


def _short(number: str) -> str:
    """Without the zero before the point."""
    return re.sub(r"^(-?)0\.", r"\1.", number)


if __name__ == "__main__":
    register()
    for file, content in rewritten().items():
        if file.read_text() != content:
            file.write_text(content)
            print(file.relative_to(ROOT))
