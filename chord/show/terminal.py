"""Curves on the terminal, drawn in braille dots, eight to a character; depends only on rich.

Lines carry letters, so that nobody needs the colours to tell them apart.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.text import Text

STYLES = ("blue", "red", "green", "magenta", "yellow", "cyan")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_EMPTY = 0x2800
_LABEL = 6
_ASCII = dict.fromkeys(range(_EMPTY + 1, _EMPTY + 256), "*") | str.maketrans("│┤└┬─", "|+++-")


@dataclass
class Line:
    """A curve through points with increasing x.

    Between two points it is straight or, with `jumps`, keeps the value of the first.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    jumps: bool = False

    def at(self, x: float) -> float:
        """Return y at x: through (0, 0) and (2, 1) it is .5 at 1, or 0 with `jumps`."""
        after = bisect_right(self.x, x)
        if self.jumps and after > 0:
            return self.y[after - 1]
        if after == 0 or after == len(self.x):
            return self.y[min(after, len(self.x) - 1)]
        (x0, x1), (y0, y1) = self.x[after - 1 : after + 1], self.y[after - 1 : after + 1]
        return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


@dataclass
class Panel:
    """Lines on one pair of axes, with notes.

    x goes from `left` to `right`, in integers if `whole`; y goes from 0 to `top`. `at`: the x at
    which values are listed.
    """

    title: str
    x_name: str
    left: float
    right: float
    top: float
    at: Sequence[float]
    whole: bool = False
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def nice_top(largest: float) -> float:
    """Return a top of the axis, at least `largest`, with round quarters: .2 for .19, 2 for 1.3."""
    if not (math.isfinite(largest) and largest > 0):
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    # With slack for rounding, so that .3 fits under 3 * .1.
    return min(m * power for m in (1, 1.2, 2, 3, 4, 6, 8, 10) if m * power >= largest * (1 - 1e-9))


def letter(index: int) -> str:
    """Return the letter of line `index`."""
    return LETTERS[index % len(LETTERS)]


def style(index: int) -> str:
    """Return the colour of line `index`."""
    return STYLES[index % len(STYLES)]


def draw(panel: Panel, *, width: int, height: int) -> list[Text]:
    """Return the panel as lines of text: `height` rows of dots, with the x axis below.

    The lines are `width` characters wide.
    """
    columns = width - _LABEL - 2
    rows = [[_EMPTY] * columns for _ in range(height)]
    owner = [[0] * columns for _ in range(height)]
    marks: dict[tuple[int, int], str] = {}
    for index, line in enumerate(panel.lines):
        heights = _heights(panel, line, 2 * columns, 4 * height)
        before = heights[0]
        for column, dot in enumerate(heights):
            # Connect to the previous dot, so that a jump is a vertical line and not a gap.
            first, last = min(before + (before < dot), dot), max(before - (before > dot), dot)
            for y in range(first, last + 1):
                rows[y // 4][column // 2] |= _DOTS[column % 2][y % 4]
                owner[y // 4][column // 2] = index
            before = dot
        if len(panel.lines) > 1:
            for turn in range(3):
                place = int(columns * (turn + (index + 0.5) / len(panel.lines)) / 3)
                marks[heights[2 * place] // 4, place] = letter(index)
                owner[heights[2 * place] // 4][place] = index
    out = []
    for y, row in enumerate(rows):
        text = Text(_y_label(panel, y, height))
        for x, bits in enumerate(row):
            character = marks.get((y, x), chr(bits) if bits != _EMPTY else " ")
            text.append(character, style(owner[y][x]) if character != " " else "")
        text.rstrip()
        out.append(text)
    return [*out, *_x_axis(panel, columns)]


def in_ascii(text: Text) -> Text:
    """The same line of a panel for a terminal without these characters: dots are stars."""
    return Text(text.plain.translate(_ASCII), spans=text.spans)


def _heights(panel: Panel, line: Line, dots: int, high: int) -> list[int]:
    """The dot of a line in each column of dots, counted from the top."""
    step = (panel.right - panel.left) / (dots - 1)
    values = [line.at(panel.left + step * column) / panel.top for column in range(dots)]
    return [round((1 - min(max(value, 0.0), 1.0)) * (high - 1)) for value in values]


def _y_label(panel: Panel, row: int, height: int) -> str:
    quarter = (height - 1) // 4
    if row % quarter or row > 4 * quarter:
        return " " * _LABEL + "│"
    return f"{panel.top * (1 - row / (4 * quarter)):>{_LABEL - 1}.3g} ┤"


def _x_axis(panel: Panel, columns: int) -> list[Text]:
    axis, labels = ["─"] * columns, [" "] * (columns + 2)
    for tick in range(5):
        value = panel.left + tick / 4 * (panel.right - panel.left)
        if panel.whole:
            value = round(value)
        place = round((value - panel.left) / (panel.right - panel.left) * (columns - 1))
        axis[place] = "┬"
        label = f"{value:g}"
        start = min(max(place + 1 - len(label) // 2, 0), len(labels) - len(label))
        labels[start : start + len(label)] = label
    return [
        Text(" " * _LABEL + "└" + "".join(axis)),
        Text(" " * _LABEL + "".join(labels).rstrip()),
        Text(panel.x_name.rjust(_LABEL + 1 + columns)),
    ]
