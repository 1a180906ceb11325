"""Known layouts of files, recognised by the fields of their first row.

A file that the configured columns read is read by them. For any other, each column that still has
its default becomes that of the first layout here which reads the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from chord.data.columns import Columns
from chord.data.nested import value_of
from chord.data.rows import Row

ANSWERS = ("answer", "ground_truth", "final_answer", "solution")
"""Where a layout without a field of its own for the right answer may have it, in this order."""


@dataclass(frozen=True)
class Layout:
    """A layout: the fields that tell it, with their types, and what they hold."""

    name: str
    needs: Mapping[str, type]
    columns: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """The fields by column; of several, the first that is there."""

    def fits(self, row: Row) -> bool:
        return all(isinstance(value_of(row, name), kind) for name, kind in self.needs.items())

    def found(self, row: Row) -> dict[str, str]:
        """The fields that a row has, by column."""
        columns = {"answer": ANSWERS, **self.columns}
        found = {}
        for column, names in columns.items():
            for name in (names,) if isinstance(names, str) else names:
                # Where all rows have all fields, that of the first may be empty.
                if name in row or value_of(row, name) is not None:
                    found[column] = name
                    break
        return found


_TRUTH = "reward_model.ground_truth"
_AROUND = {"system": "system", "history": "history"}
_ALPACA = {"problem": "instruction", "input": "input", "response": "output", **_AROUND}
LAYOUTS = (
    Layout(
        "verl with expert responses (LUFFY)",
        {"prompt": list, "reward_model": dict, "target": list},
        {"messages": "prompt", "answer": _TRUTH, "response": "target", "source": "data_source"},
    ),
    Layout(
        "verl",
        {"prompt": list, "reward_model": dict},
        {
            "messages": "prompt",
            "answer": _TRUTH,
            "response": ("response", "extra_info.answer"),
            "source": "data_source",
        },
    ),
    Layout(
        "conversations (ShareGPT)",
        {"conversations": list},
        {"messages": "conversations", "system": "system"},
    ),
    Layout(
        "conversation (ms-swift)",
        {"conversation": list},
        {"messages": "conversation", "system": "system"},
    ),
    Layout("query and response (ms-swift)", {"query": str}, {"problem": "query", **_AROUND}),
    Layout("instruction and output (Alpaca)", {"instruction": str, "output": str}, _ALPACA),
    Layout(
        "prompt and completion (TRL)",
        {"prompt": list},
        {"messages": "prompt", "response": "completion"},
    ),
    Layout(
        "prompt and completion (TRL)",
        {"prompt": str},
        {"problem": "prompt", "response": ("completion", "response")},
    ),
    Layout(
        "problem and generations (OpenR1)",
        {"problem": str, "generations": list},
        {"problem": "problem", "response": "generations.0"},
    ),
    Layout(
        "problem and solution (MATH, NuminaMath)",
        {"problem": str, "solution": str},
        {"problem": "problem", "response": "solution"},
    ),
    Layout(
        "question and answer (GSM8K)",
        {"question": str},
        {"problem": "question", "response": ("response", "solution", "answer")},
    ),
    # With a question of its own, an instruction is what all rows have in common.
    Layout("instruction and output (Alpaca)", {"instruction": str}, _ALPACA),
    Layout("messages (TRL, ms-swift)", {"messages": list}, {"messages": "messages"}),
    Layout("problem and answer", {"problem": str}, {"problem": "problem"}),
)


@dataclass(frozen=True)
class Reading:
    """How a source is read: its columns, and the layout that named some of them, if one did."""

    columns: Columns
    layout: str | None = None
    named: Mapping[str, str | None] = field(default_factory=dict)
    """The columns that the layout named; None for those that it leaves out."""

    def __str__(self) -> str:
        named = [f"{c}={name}" for c, name in self.named.items() if name not in (None, c)]
        return f"read as: {self.layout}; {', '.join(named)}"


def recognised(columns: Columns, row: Row, *, expert: bool) -> Reading:
    """How to read a source with this first row, `columns` being those of the settings."""
    if _reads(columns, row, expert):
        return Reading(columns)
    chosen, defaults = asdict(columns), asdict(Columns())
    for layout in LAYOUTS:
        if not layout.fits(row):
            continue
        found: dict[str, str | None] = {
            column: name
            for column, name in layout.found(row).items()
            if chosen[column] == defaults[column]
        }
        # One of them asks the problem, and what the other holds is not known.
        for one, other in (("messages", "problem"), ("problem", "messages")):
            if one in layout.columns and chosen[other] == defaults[other]:
                found.setdefault(other, None)
        taken = Columns(**{**chosen, **found})
        if _reads(taken, row, expert, answers=False):
            return Reading(taken, layout.name, found)
    return Reading(columns)


def _reads(columns: Columns, row: Row, expert: bool, *, answers: bool = True) -> bool:
    """Whether the columns find in a row what it must have."""

    def has(*names: str) -> bool:
        return any(value_of(row, getattr(columns, name)) is not None for name in names)

    if expert:
        return has("response", "messages") and has("problem", "messages", "id")
    return has("problem", "messages") and (has("answer") or not answers)
