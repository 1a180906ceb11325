"""What a language model's response states as its answer: text rules, nothing is evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from chord.data.boxes import Box, last_box

_OPEN, _CLOSE = "<answer>", "</answer>"
_RESULT = "####"
# Or a heading. Bounded, so that a long row of spaces is not looked through from each of them.
_STATED = re.compile(
    r"\banswer(?:\s{1,9}is\b|\*{0,9}\s{0,9}:)"
    r"|^ {0,3}(?:#{1,6} {1,9}(?:\*\*|__)?|\*\*|__)(?:the )?(?:final |correct )?answer(?:\*\*|__)?"
    r"[ \t\r]{0,9}\n",
    re.IGNORECASE | re.MULTILINE,
)
# A line that only sets what is above or below it, or is empty.
_RULE = re.compile(
    r"\s*(?:[*_`~#$\\\[\](){}|]{2,40}|-{3,99}|={3,99}|[\[\](){}`$]|```\w{1,20}"
    r"|\\(?:begin|end)\{[^{}]{1,40}\})?\s*"
)
# A line that goes on in no line below, and one that goes on with none above.
_CLOSES = re.compile(r"(?:[A-Za-z)][.!?]|</[a-z]{1,20}>)[*_`\"”$) ]{0,9}\Z")
_BEGINS = re.compile(r"[\s*_`\"“$(\[]{0,20}[A-Z]|\s{0,20}(?:[-*•]\s|\d{1,3}[.)]\s|[#>|])")
HEADING = re.compile(r"\s{0,9}(?:#{1,6}\s|\*\*.{1,200}\*\*\s{0,9}\Z)")
_SETTING = " $()[]*_`\\"  # beside a box
_WIDEST = 40
_ASTERISKS = 3  # that Markdown puts before or behind a word


def stated_answer(response: str, *, lines: bool = False) -> str:
    r"""The answer in a response: what its last mark holds, or the last line that says something.

    Marks, in this order: `<answer>...</answer>`, `\boxed{...}`, a last line `#### ...`, and what
    follows "answer is" or "answer:" up to the end of the line, without its full stop and asterisks.
    `lines`: the answer has several; then `####` is no mark, the last mark's text goes on to the
    end, and without one all is the answer.

    >>> stated_answer("Twelve times thirteen. The answer is **156**.")
    '156'
    """
    stated = _stated(response, lines=lines)
    text = stated.text.strip()
    if stated.ends:
        return text
    bare = text.removeprefix(":").strip().strip("*").strip()
    return bare.removesuffix(".").strip("*").strip()


def readings(response: str, *, lines: bool = False) -> list[str]:
    """The answer in a response as it stands there, with less and less of what may be around it.

    A full stop ends a sentence or belongs to the answer, as in U.S.; as many asterisks on both
    sides are Markdown or belong to it. Where asterisks stand before "answer is", as in
    **Answer: 5**, those on one side may be their counterpart. None is empty.

    >>> readings("The answer is *U.S.*")
    ['*U.S.*', 'U.S.', 'U.S']
    """
    found: dict[str, None] = {}
    for text, before in _statements(response, lines=lines):
        behind = text.removeprefix(":").strip() if before is not None else text
        for whole in (text, behind):
            for sentence in (whole, whole.removesuffix(".").rstrip()):
                for peeled in _peeled(sentence, in_pairs="*" not in (before or "")):
                    found[peeled] = None
                    if peeled != sentence:
                        found[peeled.removesuffix(".").rstrip()] = None
    found.pop("", None)
    return list(found)


def _peeled(text: str, *, in_pairs: bool) -> Iterator[str]:
    """A text without none, some or all of the asterisks at its ends."""
    before, behind = (len(text) - len(text.lstrip("*")), len(text) - len(text.rstrip("*")))
    for first in range(min(before, _ASTERISKS) + 1):
        for last in range(min(behind, _ASTERISKS) + 1):
            if first == last or not in_pairs:
                yield text[first : max(first, len(text) - last)].strip()


def _statements(response: str, *, lines: bool) -> Iterator[tuple[str, str | None]]:
    """What a response can be read to state, and what stands before "answer is" in its line.

    That is None where nothing or another mark begins it. An answer can hold a mark itself: after
    "The answer is no answer: unknown" the text behind the first mark of the line comes too.
    """
    stated = _stated(response, lines=lines)
    start = stated.begin
    yield stated.text.strip(), None if start is None else _line(response, start)[0]
    if lines:
        return
    if start is None and (box := last_box(response)) is not None:
        # Braces that do not match: all up to the line's last one.
        yield _line(response, box.start)[1].rpartition("}")[0].strip(), None
        start = box.begin
    if start is not None:
        before = _line(response, start)[0]
        first = _STATED.search(before)
        if first is not None and first.end() < len(before):
            rest = before[first.end() :] + _line(response, start)[1]
            yield rest.strip(), before


def _line(text: str, place: int) -> tuple[str, str]:
    """What stands before and behind a place in its line."""
    end = text.find("\n", place)
    return text[text.rfind("\n", 0, place) + 1 : place], text[place : end if end >= 0 else None]


class _Stated(NamedTuple):
    """What a response states; whether a mark `ends` it; where it begins if "answer is" does it."""

    text: str
    ends: bool
    begin: int | None = None


def _stated(response: str, *, lines: bool) -> _Stated:
    if (tagged := _tagged(response)) is not None:
        return _Stated(tagged, ends=True)
    if (box := last_box(response)) is not None:
        return _Stated(box.text, ends=True)
    if not lines and (result := result_line(response)):
        return _Stated(result, ends=True)
    length = len(response.rstrip())
    ends = [stated.end() for stated in _STATED.finditer(response)]
    # Of a mark that nothing follows the one before counts.
    begin = next((end for end in reversed(ends) if end < length), None)
    rest = response[begin or 0 :].strip()
    if lines or not rest:
        return _Stated(rest, lines, begin)
    if begin is None:
        return _Stated(rest.splitlines()[-1], ends=False)
    # The answer may stand below: a colon and the end of bold type say nothing.
    said = (line for line in rest.splitlines() if line.strip("*: "))
    return _Stated(next(said, rest.splitlines()[0]), ends=False, begin=begin)


class Mark(Enum):
    """What shows which part of a response is its answer."""

    TAG = "<answer>...</answer>"
    BOX = "\\boxed{...}"
    RESULT = "#### ..."
    SAID = "answer is"
    NONE = "its last sentence"


class Statement(NamedTuple):
    """The text that holds a response's answer, in one line, and what stands beside it.

    Beside a box and before "answer is" that is the rest of the line; before the last sentence it is
    the line above. Elsewhere it is empty.
    """

    text: str
    mark: Mark
    before: str = ""
    behind: str = ""


def statement(response: str) -> Statement:
    """Where a response states its answer: by the marks of `stated_answer`, else where it ends.

    A text without a mark, or behind "answer is", goes on in the next line as a paragraph does: up
    to an empty line, a line of signs alone, an item of a list, or a line with a capital letter.

    >>> statement("2 + 3 = 5,\\nso the answer is\\n5 eggs\\n\\nThat is all.").text
    '5 eggs'
    """
    if (tagged := _tagged(response)) is not None:
        return Statement(tagged.strip(), Mark.TAG)
    if (box := last_box(response)) is not None:
        return _boxed(response, box)
    if result := result_line(response):
        return Statement(result, Mark.RESULT)
    for stated in reversed(list(_STATED.finditer(response))):
        if below := response[stated.end() :].lstrip(" \n\t\r:*"):
            lines = below.split("\n")
            while len(lines) > 1 and _RULE.fullmatch(lines[0]):
                lines.pop(0)
            before = _line(response, stated.start())[0]
            return Statement(_joined(lines), Mark.SAID, before)
    lines = response.split("\n")
    while len(lines) > 1 and _RULE.fullmatch(lines[-1]):
        lines.pop()
    first = _sentence(lines)
    text = (line for line in reversed(lines[:first]) if not _RULE.fullmatch(line))
    return Statement(_joined(lines[first:]), Mark.NONE, next(text, ""))


def _boxed(response: str, box: Box) -> Statement:
    """What is in a box, and what its sentence says around it."""
    above = response[: box.begin].rstrip(_SETTING).split("\n")
    below = response[box.end :].lstrip(_SETTING).split("\n")
    # A box in a line of its own can be in a sentence with the lines above and below.
    if len(above) > 1 and not above[-1] and not HEADING.match(above[-2]):
        above.pop()
    if len(below) > 1 and not (below[0] or _RULE.fullmatch(below[1]) or _BEGINS.match(below[1])):
        below.pop(0)
    return Statement(box.text, Mark.BOX, " ".join(above[_sentence(above) :]), _joined(below))


def _sentence(lines: list[str]) -> int:
    """Where the paragraph begins that lines end with."""
    first = len(lines) - 1
    while first and not _are_apart(lines[first - 1], lines[first]):
        first -= 1
    return first


def _joined(lines: list[str]) -> str:
    """The paragraph that a text begins with, in one line."""
    last = 1
    while last < len(lines) and not _are_apart(lines[last - 1], lines[last]):
        last += 1
    return " ".join(lines[:last]).strip()


def _are_apart(above: str, below: str) -> bool:
    """Whether two lines are no part of one sentence."""
    rules = _RULE.fullmatch(above) or _RULE.fullmatch(below)
    return bool(rules or _BEGINS.match(below) or _CLOSES.search(above[-_WIDEST:]))


def known_answer(answer: str) -> str:
    """What is right: of a worked solution with a last line `#### 18` what stands there, else all.

    >>> known_answer("He sells 16 - 7 = 9 eggs for 9 * 2 = 18.\\n#### 18")
    '18'
    """
    return result_line(answer) or answer


def _tagged(response: str) -> str | None:
    """What the last `<answer>...</answer>` holds; None without one."""
    end = response.rfind(_CLOSE)
    start = response.rfind(_OPEN, 0, max(0, end))
    return response[start + len(_OPEN) : end] if start >= 0 else None


def result_line(text: str) -> str:
    """What a last line `#### ...` says; empty where there is no such line."""
    line = text.rstrip().rpartition("\n")[2].strip()
    marked = line.startswith(_RESULT) and not line.startswith(f"{_RESULT}#")
    return line.removeprefix(_RESULT).strip() if marked else ""
