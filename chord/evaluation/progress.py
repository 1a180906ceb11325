"""How far an evaluation is: a bar on a terminal, and elsewhere a sign of life."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from chord.io.signs import Signs

OnProgress = Callable[[int, int], None]
"""Called with the numbers of responses sampled so far, and in all."""


def counted(on_progress: OnProgress | None, total: int) -> Callable[[int], None] | None:
    """Return a function of further responses that calls `on_progress` with their sum.

    Each rank samples its share, and all are equally fast: a response of one counts for all.
    """
    if on_progress is None:
        return None
    # It loads torch, which takes seconds, and settings are read without it.
    from chord.distributed.collectives import world_size

    sampled = 0

    def add(more: int) -> None:
        nonlocal sampled
        sampled += more
        on_progress(min(sampled * world_size(), total), total)

    return add


@contextmanager
def shown_progress(what: str, console: Console, signs: Signs) -> Iterator[OnProgress]:
    """Show how far `what` is, within the block, to which it gives an `OnProgress`.

    The bar is gone after the block; where there is none, the signs of life say it.
    """
    if not console.is_terminal:
        with signs.during(what):
            yield lambda sampled, total: signs.now(what, f"{sampled} of {total} responses")
        return
    # It takes a moment to load, and only a terminal needs it.
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        RenderableColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar
    from rich.spinner import Spinner

    bar = Bar(
        # It moves also when all is sampled, while expert responses are scored.
        RenderableColumn(Spinner("dots")),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with signs.during(""), bar:
        task = bar.add_task(what, total=None)
        yield lambda sampled, total: bar.update(task, completed=sampled, total=total)
