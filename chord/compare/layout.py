"""Tables of numbers with a label before each row, for a terminal of any width.

No number is cut and no label is broken but at its spaces. Where both do not fit beside each other,
a label stands on a line of its own above its numbers; columns that are too wide even so stand in
further tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GAP = 2  # spaces before a column
NARROWEST = 16  # of labels beside their numbers


@dataclass(frozen=True)
class Row:
    """A label and a text for each column, which may have several lines."""

    label: Text
    cells: Sequence[Text]
    style: str = ""


def print_table(
    console: Console, title: Text, header: Sequence[str], rows: Sequence[Row], *, repeated: int = 0
) -> None:
    """Print a table, or several where it is too wide; the first `repeated` columns are in each."""
    most = max((name.count("\n") for name in header), default=0)
    # Those of one line stand beside the last line of the others.
    head = Row(Text(""), [Text("\n" * (most - name.count("\n")) + name) for name in header])
    cells = [head.cells, *(row.cells for row in rows)]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(header))]
    labels = max((_width(row.label) for row in rows), default=0)
    words = [cell_len(word) for row in rows for word in row.label.plain.split()]
    least = min(labels, max([NARROWEST, *words]))
    for columns in _parts(widths, console.width, repeated):
        # Those of labels beside their numbers; none where labels stand above.
        room = console.width - sum(GAP + widths[column] for column in columns)
        beside = min(labels, room) if room >= least else 0
        console.print(Text("", style="bold").append_text(title))
        line = Text("─" * (beside + sum(GAP + widths[column] for column in columns)))
        print_line(console, line)
        for row in (head, *rows):
            for text in _lines(console, row, columns, widths, beside):
                print_line(console, text)
            if row is head:
                print_line(console, line)
        print_line(console, line)


def print_line(console: Console, line: Text) -> None:
    """Print a line as it is: what is too long for the terminal is left to it."""
    console.print(line, soft_wrap=True)


def _parts(widths: Sequence[int], width: int, repeated: int) -> Iterator[Sequence[int]]:
    """The columns of each table: all, or as many as fit below a label's line, but one at least."""
    always, rest = list(range(repeated)), list(range(repeated, len(widths)))
    while True:
        room = width - sum(GAP + widths[column] for column in always)
        count = 0
        while count < len(rest) and (not count or room >= GAP + widths[rest[count]]):
            room -= GAP + widths[rest[count]]
            count += 1
        yield always + rest[:count]
        rest = rest[count:]
        if not rest:
            return


def _lines(
    console: Console, row: Row, columns: Sequence[int], widths: Sequence[int], beside: int
) -> Iterator[Text]:
    wrapped = row.label.wrap(console, beside or console.width)
    label = list(wrapped) if row.label.plain else []
    cells = [list(row.cells[column].split("\n")) for column in columns]
    if not beside:
        for text in label:
            text.stylize(row.style)
            yield text
        label = []
    for number in range(max(len(label), *(len(each) for each in cells))):
        line = _padded(label, number, beside, left=True)
        for column, texts in zip(columns, cells, strict=True):
            line.append(" " * GAP).append_text(_padded(texts, number, widths[column]))
        line.stylize(row.style)
        line.rstrip()
        yield line


def _padded(lines: Sequence[Text], number: int, width: int, *, left: bool = False) -> Text:
    text = lines[number].copy() if number < len(lines) else Text("")
    text.rstrip()
    space = Text(" " * (width - text.cell_len))
    return text.append_text(space) if left else space.append_text(text)


def _width(text: Text) -> int:
    return max(cell_len(line) for line in text.plain.split("\n"))
