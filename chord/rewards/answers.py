"""What a language model's response states as its answer: text rules, nothing is evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator

_OPEN, _CLOSE = "<answer>", "</answer>"
_BOX = "\\boxed{"
_RESULT = "####"
# Bounded, so that a long row of spaces is not looked through from each of them.
_STATED = re.compile(r"\banswer(?:\s{1,9}is\b|\*{0,9}\s{0,9}:)", re.IGNORECASE)
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
    return readings(response, lines=lines)[-1]


def readings(response: str, *, lines: bool = False) -> list[str]:
    """The answer in a response as it stands there, with less and less of what may be around it.

    A full stop ends a sentence or belongs to the answer, as in U.S.; asterisks are Markdown or a
    product. The last is what `stated_answer` gives.

    >>> readings("The answer is *U.S.*")
    ['*U.S.*', '*U.S.', 'U.S.*', 'U.S.', '*U.S', 'U.S']
    """
    text, is_marked = _stated(response, lines=lines)
    text = text.strip()
    if is_marked:
        return [text]
    bare = text.removeprefix(":").strip().strip("*").strip()
    found: dict[str, None] = {}
    for whole in (text, text.removeprefix(":").strip()):
        for sentence in (whole, whole.removesuffix(".")):
            for peeled in _peeled(sentence):
                found[peeled] = None
    found |= dict.fromkeys([each.removesuffix(".").strip() for each in found])
    last = bare.removesuffix(".").strip("*").strip()
    found.pop(last, None)
    return [*found, last]


def _peeled(text: str) -> Iterator[str]:
    """A text without none, some or all of the asterisks at its ends."""
    before, behind = (len(text) - len(text.lstrip("*")), len(text) - len(text.rstrip("*")))
    for first in {*range(min(before, _ASTERISKS) + 1), before}:
        for last in {*range(min(behind, _ASTERISKS) + 1), behind}:
            yield text[first : max(first, len(text) - last)].strip()


def _stated(response: str, *, lines: bool) -> tuple[str, bool]:
    """What a response states, and whether both ends of it are marked."""
    end = response.rfind(_CLOSE)
    start = response.rfind(_OPEN, 0, max(0, end))
    if start >= 0:
        return response[start + len(_OPEN) : end], True
    if (box := last_box(response)) is not None:
        return box, True
    if not lines and (result := result_line(response)):
        return result, True
    response = response.strip()
    ends = [stated.end() for stated in _STATED.finditer(response)]
    # Of a mark that nothing follows the one before counts.
    start = next((end for end in reversed(ends) if end < len(response)), 0)
    rest = response[start:].strip()
    return (rest, True) if lines or not rest else (rest.splitlines()[0 if start else -1], False)


def known_answer(answer: str) -> str:
    """What is right: of a worked solution with a last line `#### 18` what stands there, else all.

    >>> known_answer("He sells 16 - 7 = 9 eggs for 9 * 2 = 18.\\n#### 18")
    '18'
    """
    return result_line(answer) or answer


def last_box(text: str) -> str | None:
    r"""What the last `\boxed{...}` of a text holds, braces within it included; None without one."""
    box = text.rfind(_BOX)
    return None if box < 0 else _braced(text, box + len(_BOX)).strip()


def result_line(text: str) -> str:
    """What a last line `#### ...` says; empty where there is no such line."""
    line = text.rstrip().rpartition("\n")[2].strip()
    marked = line.startswith(_RESULT) and not line.startswith(f"{_RESULT}#")
    return line.removeprefix(_RESULT).strip() if marked else ""


def _braced(text: str, start: int) -> str:
    """From `start` up to the brace that closes what was open there."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place]
    return text[start:]
