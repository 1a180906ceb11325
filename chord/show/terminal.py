"""Curves on the terminal, in braille dots: eight to a character, no dependency but rich.

Lines are told apart by letters that stand on them, so that nothing rests on colour.
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


@dataclass
class Line:
    """A curve through points with rising x: straight between them, or with `jumps` level up to the
    next."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    jumps: bool = False

    def at(self, x: float) -> float:
        """The height at x: through (0, 0) and (2, 1) it is .5 at 1, and 0 where it jumps."""
        after = bisect_right(self.x, x)
        if self.jumps and after > 0:
            return self.y[after - 1]
        if after == 0 or after == len(self.x):
            return self.y[min(after, len(self.x) - 1)]
        (x0, x1), (y0, y1) = self.x[after - 1 : after + 1], self.y[after - 1 : after + 1]
        return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


@dataclass
class Panel:
    """Lines over one pair of axes, with what has to be said about them.

    x goes from `left` to `right`, in `whole` numbers or not; y from 0 to `top`. `at`: the x whose
    values are given as numbers.
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
    """The top of an axis that holds `largest`, in round quarters: .2 for .19, 2 for 1.3."""
    if not (math.isfinite(largest) and largest > 0):
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    # A hair of slack, or .3 would not fit under .1 * 3.
    return min(m * power for m in (1, 1.2, 2, 3, 4, 6, 8, 10) if m * power >= largest * (1 - 1e-9))


def letter(index: int) -> str:
    """What marks the line with this number."""
    return LETTERS[index % len(LETTERS)]


def style(index: int) -> str:
    """The colour of the line with this number, where there are colours."""
    return STYLES[index % len(STYLES)]


def draw(panel: Panel, *, width: int, height: int) -> list[Text]:
    """The panel as lines of text, `width` wide; `height` rows of dots, axes and labels below."""
    columns = width - _LABEL - 2
    rows = [[_EMPTY] * columns for _ in range(height)]
    owner = [[0] * columns for _ in range(height)]
    marks: dict[tuple[int, int], str] = {}
    for index, line in enumerate(panel.lines):
        heights = _heights(panel, line, 2 * columns, 4 * height)
        before = heights[0]
        for column, dot in enumerate(heights):
            # Joined to the dot before, so that a jump is a wall and not a gap.
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


def _heights(panel: Panel, line: Line, dots: int, high: int) -> list[int]:
    """The dot, counted from the top, of a line in each column of dots."""
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
