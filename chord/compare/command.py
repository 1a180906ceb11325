"""Compare runs that differ by more than their seed: `python -m chord.compare [PATH ...]`.

A PATH is a sweep, a run, or a directory of either. The default is the newest sweep under outputs/.
Runs are grouped by everything but the seed. Prints scores with 95 % intervals over seeds, paired
differences to a baseline, costs, and the runs that were left out. Writes tables, figures, and an
HTML page that works offline.

  python -m chord.compare
  python -m chord.compare outputs/2026-01-31/12-00-00_sweep --baseline 'schedule=cosine'
  python -m chord.compare --wandb entity/project
  python -m chord.compare RUN RUN RUN --metric test/target_accuracy --metric test/retained/min
  python -m chord.compare RUN RUN RUN --evaluation harder
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from chord.command_line.arguments import Arguments
from chord.command_line.ending import ending
from chord.errors import ConfigError
from chord.io.outputs import PNG, Kind, begins, refuse_other
from chord.io.reading import opened, printable, refuse_links
from chord.io.writing import missing

if TYPE_CHECKING:
    from chord.compare.model import Comparison

FOLDER = "comparison"


def is_page(path: Path) -> bool:
    """Whether a file is the page of a comparison, by the policy at its head."""
    with opened(path) as file:
        return b"default-src 'none'; img-src data:; base-uri 'none'" in file.read(1024)


FILES = {
    "runs.csv": Kind("a table of chord.compare", begins(b"group,name,path,", b"\n")),
    "groups.csv": Kind("a table of chord.compare", begins(b"group,metric,", b"\n")),
    "left_out.csv": Kind("a table of chord.compare", begins(b"what,reason\n")),
    **dict.fromkeys(("runs.parquet", "groups.parquet"), Kind("a Parquet file", begins(b"PAR1"))),
    **dict.fromkeys(("curves.png", "alpha.png", "scatter.png", "heatmap.png"), PNG),
    "comparison.html": Kind("a page of chord.compare", is_page),
}
"""What is written, and over what alone."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = Arguments("compare", __doc__)
    options.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="sweeps or runs")
    options.add_argument(
        "--baseline", metavar="GROUP",
        help="the group to compare the others with: its label, or settings that only it has "
        "(default: the preset sft_then_rl, else the first group)",
    )  # fmt: skip
    options.add_argument(
        "--metric", action="append", default=[], metavar="NAME",
        help="a metric to compare, such as test/retained/min; may be repeated",
    )  # fmt: skip
    options.add_argument(
        "--evaluation", metavar="NAME",
        help="compare evaluations that chord.evaluate has saved, by the split or the file of "
        "problems in their names; with settings if there are several ('NAME samples=8')",
    )  # fmt: skip
    options.add_argument(
        "--out", type=Path, metavar="DIR", help="output directory (default: PATH/comparison)"
    )
    options.add_argument("--no-page", action="store_true", help="write no HTML page")
    options.add_argument(
        "--wandb", metavar="PROJECT",
        help="read runs from Weights & Biases: entity/project, or entity/project/SWEEP for a "
        "sweep or group",
    )  # fmt: skip
    options.add_argument("--parquet", action="store_true", help="also write the tables as Parquet")
    return options


@ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run `chord-compare`."""
    options = parser().parse_args(arguments)
    run(options)


def run(options: argparse.Namespace) -> Comparison:
    """Read the runs, compare them, print and write the result.

    Raises ConfigError if there is nothing to compare, and leaves no empty directory then.
    """
    with ExitStack() as stack:
        return _run(options, stack)


def _run(options: argparse.Namespace, stack: ExitStack) -> Comparison:
    # Here and below: matplotlib and numpy take a second to load, which `--help` does not wait for.
    from rich.console import Console

    from chord.compare.plots import write_plots
    from chord.compare.tables import write_tables
    from chord.compare.terminal import print_comparison
    from chord.run.places import refuse_within_a_run
    from chord.tracking.base import shown

    if options.out is not None:
        if options.out.name != FOLDER:
            refuse_within_a_run(options.out / FOLDER, f"--out {options.out}:")
        refuse_others(options.out, f"--out {options.out}")
        stack.enter_context(made_directory(options.out, f"--out {options.out}"))
    comparison, root = read(options)
    out: Path = options.out or root / FOLDER
    refuse_others(out, str(out))
    stack.enter_context(made_directory(out, f"{out} (choose another with --out)"))
    if out.is_symlink() and options.out is None:
        raise ConfigError(f"{out}: is a symbolic link; choose another directory with --out")
    refuse_links(out, str(out))
    console = Console(highlight=False)
    print_comparison(console, comparison)
    written = write_tables(comparison, out, parquet=options.parquet)
    pictures, remarks = write_plots(comparison, out)
    for remark in remarks:
        console.print(printable(remark), markup=False)
    if not options.no_page:
        from chord.compare.page import write_page

        page = out / "comparison.html"
        write_page(comparison, page)
        written.append(page)
    for path in (*pictures, *written):
        console.print(printable(shown(path)), markup=False, soft_wrap=True)
    return comparison


def refuse_others(out: Path, named: str) -> None:
    """Raise ConfigError where one of `FILES` is there and is not of chord.compare."""
    for file, kind in FILES.items():
        if not (out / file).is_symlink():  # see `refuse_links`
            refuse_other(out / file, f"{named}: {file} in it", kind)


@contextmanager
def made_directory(path: Path, named: str) -> Iterator[None]:
    """Create a directory unless it exists; it is removed again if it stays empty.

    Raises ConfigError if it cannot be written into.
    """
    made = missing(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        reason = None if os.access(path, os.W_OK | os.X_OK) else "no permission to write"
    except OSError as error:
        is_file = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a file is in the way" if is_file else str(error.strerror).lower()
    if reason is not None:
        raise ConfigError(f"{named}: must be a writable directory ({reason})")
    try:
        yield
    finally:
        with suppress(OSError):  # it is not empty
            for directory in made:
                directory.rmdir()


def read(options: argparse.Namespace) -> tuple[Comparison, Path]:
    """Return the requested comparison and the directory that it belongs to."""
    from chord.compare.finding import find_runs
    from chord.compare.grouping import compare
    from chord.compare.reading import read_runs

    if options.evaluation is not None and not options.evaluation.strip():
        raise ConfigError("--evaluation '': give the name of a saved evaluation")
    if options.wandb is not None:
        if options.paths:
            raise ConfigError("--wandb: cannot be combined with paths; leave out the paths")
        if options.evaluation is not None:
            raise ConfigError(
                "--wandb: cannot be combined with --evaluation, because saved evaluations are in "
                "run directories"
            )
        from chord.compare.wandb_source import read_wandb

        title, runs, left_out = read_wandb(options.wandb)
        root = Path("outputs") / title.replace("/", "_")
    else:
        found = find_runs(options.paths)
        title, root = found.title, found.root
        runs, left_out = read_runs(found.runs)
        left_out += found.missing
    metrics = options.metric
    if options.evaluation is not None:
        from chord.compare.saved import metrics_of, with_evaluation

        runs, without = with_evaluation(runs, options.evaluation)
        left_out += without
        title, metrics = f"{title}: {options.evaluation}", metrics or metrics_of(runs)
    comparison = compare(runs, left_out, title=title, baseline=options.baseline, metrics=metrics)
    return comparison, root
