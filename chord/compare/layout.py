"""Tables of numbers with a label in front of each row, for a terminal of any width.

Numbers are never cut, and labels only break at spaces. If a label and its numbers do not fit on one
line, the label goes on a line above them. Columns that still do not fit go into further tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GAP = 2  # spaces before a column
NARROWEST = 16  # the least width for labels beside their numbers


@dataclass(frozen=True)
class Row:
    """A label and one text per column; a text may have several lines."""

    label: Text
    cells: Sequence[Text]
    style: str = ""


def print_table(
    console: Console, title: Text, header: Sequence[str], rows: Sequence[Row], *, repeated: int = 0
) -> None:
    """Print a table, or several if it is too wide; each has the first `repeated` columns."""
    most = max((name.count("\n") for name in header), default=0)
    # Headings are aligned at the bottom.
    head = Row(Text(""), [Text("\n" * (most - name.count("\n")) + name) for name in header])
    cells = [head.cells, *(row.cells for row in rows)]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(header))]
    labels = max((_width(row.label) for row in rows), default=0)
    words = [cell_len(word) for row in rows for word in row.label.plain.split()]
    least = min(labels, max([NARROWEST, *words]))
    for columns in _parts(widths, console.width, repeated):
        # The width of labels beside their numbers; 0 if labels go above.
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
    """Print a line without wrapping it; the terminal handles a line that is too long."""
    console.print(line, soft_wrap=True)


def _parts(widths: Sequence[int], width: int, repeated: int) -> Iterator[Sequence[int]]:
    """The columns of each table: as many as fit below a label, but at least one."""
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
