"""Known layouts of files, recognised by the fields of their first rows.

The first row tells the layout; which of a layout's alternatives is read, all of them together.

A file that the default columns read is read by them. For any other, the first layout here which
reads the file names the columns that still have their default, whatever the others are set to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

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

    def found(self, rows: Sequence[Row]) -> dict[str, str]:
        """The fields by column; of several, the first that a row has, whichever row it is.

        Rows that lack it are refused where they are read, rather than read by another field. A
        field without an alternative is named also if all these rows lack it: others may have it.
        """
        found = {}
        for column, names in {"answer": ANSWERS, **self.columns}.items():
            if isinstance(names, str):
                found[column] = names
                continue
            for name in names:
                # Where all rows have all fields, that of the first may be empty.
                if any(name in row or value_of(row, name) is not None for row in rows):
                    found[column] = name
                    break
        return found


_TRUTH = "reward_model.ground_truth"
_AROUND = {"system": "system", "history": "history"}
_ALPACA = {"problem": "instruction", "input": "input", "response": "output", **_AROUND}
_SOLUTIONS = "problem and solution (MATH, NuminaMath)"
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
        _SOLUTIONS,
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

    @property
    def boxed(self) -> bool:
        """Whether the layout's right answers are in boxes of its solutions."""
        return self.layout == _SOLUTIONS and self.named.get("answer") == "solution"

    def said(self, there: Collection[str]) -> str:
        """The layout, and those fields of it that are `there` and not read anyway."""
        anyway = asdict(Columns())
        named = [
            f"{column}={name}"
            for column, name in self.named.items()
            if name is not None and name != anyway[column] and is_there(name, there)
        ]
        return "; ".join(filter(None, [f"read as: {self.layout}", ", ".join(named)]))

    def asking(self, like: Reading, row: Row) -> Reading:
        """This reading, with the problem read as `like` reads it from the same file."""
        names = ["problem", "input", "system", "history"]
        if value_of(row, like.columns.problem) is None:
            names.append("messages")
        asked = {name: getattr(like.columns, name) for name in names}
        named = {**self.named, **{name: like.named[name] for name in names if name in like.named}}
        return Reading(replace(self.columns, **asked), self.layout or like.layout, named)


def is_there(name: str, there: Collection[str]) -> bool:
    """Whether a field, which may be inside another, is one of those `there`."""
    return name in there or name.partition(".")[0] in there


def recognised(columns: Columns, rows: Sequence[Row], *, expert: bool) -> Reading:
    """How to read a source with these first rows, `columns` being those of the settings."""
    if _reads(Columns(), rows, expert):
        return Reading(columns)
    chosen, defaults = asdict(columns), asdict(Columns())
    settled = {name for column, name in chosen.items() if name != defaults[column]}
    for layout in LAYOUTS:
        if not layout.fits(rows[0]):
            continue
        found: dict[str, str | None] = {
            column: name
            for column, name in layout.found(rows).items()
            if chosen[column] == defaults[column]
            # A field that is set to be something else is nothing more; a response can be both.
            and (name not in settled or {column, _set_as(name, chosen)} == {"answer", "response"})
        }
        # One of them asks the problem, and what the other holds is not known.
        for one, other in (("messages", "problem"), ("problem", "messages")):
            if one in layout.columns and chosen[other] == defaults[other]:
                found.setdefault(other, None)
        taken = Columns(**{**chosen, **found})
        if _reads(taken, rows, expert, answers=False):
            return Reading(taken, layout.name, found)
    return Reading(columns)


def _set_as(name: str, chosen: Mapping[str, str | None]) -> str:
    return next(column for column, set_to in chosen.items() if set_to == name)


def _reads(columns: Columns, rows: Sequence[Row], expert: bool, *, answers: bool = True) -> bool:
    """Whether the columns find a problem in the first row, and what belongs to it in any."""

    def has(row: Row, *names: str) -> bool:
        return any(value_of(row, getattr(columns, name)) is not None for name in names)

    first = rows[0]
    if expert:
        answered = any(has(row, "response", "messages") for row in rows)
        return answered and has(first, "problem", "messages", "id")
    return has(first, "problem", "messages") and (
        not answers or any(has(row, "answer") for row in rows)
    )
