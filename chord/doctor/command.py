"""Check what stands in the way of a run, and say what to do: `python -m chord.doctor [RUN]`.

Checks this machine: packages and their versions, processors, GPUs, disk, tracker, terminal and
environment variables. With RUN, also checks that run directory: what it holds, whether its files
agree, and how to resume the run. Changes nothing. The exit code is 1 if something is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from chord.command_line.arguments import Arguments
from chord.command_line.ending import ending
from chord.doctor.environment import environment
from chord.doctor.finding import NOTE, OK, WRONG, Finding
from chord.io.printing import ERROR, say

MARKS = {OK: "ok", NOTE: "note", WRONG: "WRONG"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = Arguments("doctor", __doc__)
    options.add_argument(
        "run", type=Path, nargs="?", metavar="RUN", help="a run directory to check too"
    )
    options.add_argument(
        "--trust",
        action="store_true",
        help="allow the code, servers and places to write to that a run from elsewhere names",
    )
    return options


@ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `chord-doctor`."""
    options = parser().parse_args(arguments)
    if options.run is not None:
        # Here and below: reading a run takes a second; this machine is looked at without it.
        from chord.run.places import require_run

        require_run(options.run, str(options.run))
    outputs = Path("outputs") if options.run is None else options.run.parent
    found = {"this machine": environment(outputs)}
    if options.run is not None:
        from chord.doctor.directory import directory

        found[str(options.run)] = directory(options.run, trust=options.trust)
    show(found)
    if any(finding.mark == WRONG for findings in found.values() for finding in findings):
        sys.exit(ERROR)


def show(found: dict[str, list[Finding]]) -> None:
    """A line for each finding, and below it the remedy."""
    for title, findings in found.items():
        say(title)
        for finding in findings:
            say(f"  {MARKS[finding.mark]:<6} {finding.what}")
            if finding.remedy:
                say(f"         -> {finding.remedy}")
        say()
    wrong = sum(finding.mark == WRONG for findings in found.values() for finding in findings)
    say(f"{wrong} wrong" if wrong else "nothing is wrong")


if __name__ == "__main__":
    main()
