"""Runs with equal settings form different groups if the files that they read differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from chord.compare.model import Run

Read = frozenset[tuple[str, str]]
"""The files that a run is known to have read, as pairs of setting and hash."""


def read_alike(run: Run, runs: Sequence[Run]) -> Read:
    """Return the files that `run`'s group read; `runs` are all runs with equal settings.

    If some hashes of `run` are missing, and the others match exactly one complete set of hashes
    among `runs`, `run` is assumed to have read that set.
    """
    own = _known(run)
    names = {name for each in runs for name in each.contents}
    whole = {_known(each) for each in runs if len(_known(each)) == len(names)}
    fitting = [read for read in whole if own <= read]
    return fitting[0] if len(fitting) == 1 else own


def _known(run: Run) -> Read:
    return frozenset((name, text) for name, text in run.contents.items() if text is not None)


def contents_note(runs: Sequence[Run]) -> str | None:
    """Return a note on files whose contents differ between runs with the same path; or None."""
    found = []
    for name in dict.fromkeys(name for run in runs for name in run.contents):
        by_path: dict[object, Counter[str]] = {}
        for run in runs:
            text = run.contents.get(name)
            if text is not None:
                by_path.setdefault(run.settings.get(name), Counter())[text] += 1
        for path, counts in by_path.items():
            if len(counts) > 1:
                every = ", ".join(f"{text} ({count})" for text, count in counts.most_common(3))
                found.append(f"{name if path is None else f'{name}={path}'}: {every}")
    if not found:
        return None
    return (
        "files have changed between runs, which are therefore in different groups: "
        f"{'; '.join(found)}"
    )


def unknown_note(runs: Sequence[Run]) -> str | None:
    """Return a note on how many runs have no hashes of their files; or None.

    A run that has some reads no other file: a teacher's, for example, is read only where a
    weighting needs it.
    """
    without = sum(not run.contents or None in run.contents.values() for run in runs)
    if not without:
        return None
    return (
        f"{without} of {len(runs)} runs have no hashes of their files, so it is unknown whether "
        "they read the same files"
    )
