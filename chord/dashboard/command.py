"""Make a W&B workspace and report of a project's runs: `python -m chord.dashboard ENTITY/PROJECT`.

They show alpha, rewards, losses, retained skills, token weights, rollouts and evaluations over the
train steps. Runs are grouped by sweep, schedule and weighting: lines are means over seeds, bands
show their spread. Without an account or a network, only the specification is written, to a file.

  python -m chord.dashboard entity/project
  python -m chord.dashboard entity/project --sweep 12-00-00_sweep
  python -m chord.dashboard entity/project --schedule linear --schedule cosine --weighting phi
  python -m chord.dashboard entity/project --by experiment
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chord.command_line.arguments import Arguments, refuse_output
from chord.command_line.ending import ending
from chord.errors import ConfigError
from chord.io.extras import install
from chord.io.outputs import Kind, json_with
from chord.io.printing import say
from chord.io.reading import printable
from chord.io.writing import write_atomically

if TYPE_CHECKING:
    from chord.dashboard.specification import PanelRequest

FOLDER = Path("outputs") / "dashboard"
SPECIFICATION = Kind("a dashboard's specification", json_with("specification", "workspace"))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = Arguments("dashboard", __doc__)
    options.add_argument("address", metavar="ENTITY/PROJECT", help="the W&B project")
    options.add_argument(
        "--sweep", metavar="GROUP", help="show only the runs of this sweep or group (default: all)"
    )
    options.add_argument(
        "--schedule", action="append", default=[], metavar="OPTION",
        help="show only runs with this schedule, as a run set of their own; may be repeated",
    )  # fmt: skip
    options.add_argument(
        "--weighting", action="append", default=[], metavar="OPTION",
        help="show only runs with this weighting, as a run set of their own; may be repeated",
    )  # fmt: skip
    options.add_argument(
        "--by", action="append", default=[], metavar="SETTING",
        help="also group runs by this group or setting, such as experiment or schedule.final; "
        "may be repeated",
    )  # fmt: skip
    options.add_argument(
        "--out", type=Path, metavar="FILE",
        help=f"where to write the specification and the workspace (default: in {FOLDER}/)",
    )  # fmt: skip
    return options


@ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run `chord-dashboard`."""
    options = parser().parse_args(arguments)
    for line in run(options):
        say(printable(line))


def run(options: argparse.Namespace) -> Iterator[str]:
    """Build the dashboard, write it to a file, and save it to W&B if possible.

    Yields a line on each thing done. Raises ConfigError if nothing can be built or if W&B refuses
    to save it.
    """
    # Here and below: W&B takes seconds to load, which `--help` does not wait for.
    from chord.dashboard.specification import PanelRequest, specification

    request = PanelRequest(
        address=options.address,
        sweep=options.sweep,
        schedules=options.schedule,
        weightings=options.weighting,
        by=options.by,
    )
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise ConfigError(f"chord.dashboard: needs wandb-workspaces; {install('dashboard')}")
    out: Path = options.out or FOLDER / f"{_file_name(request)}.json"
    refuse_output(out, f"--out {out}", SPECIFICATION)
    from chord.tracking.base import shown
    from chord.tracking.wandb_access import unreachable

    reason = unreachable()
    from chord.dashboard.workspace import view, workspace

    spec = specification(request)
    made = workspace(spec)
    _write(out, {"specification": spec, "workspace": view(made)})
    yield f"specification and workspace: {shown(out)}"
    if reason:
        yield f"W&B: nothing was created ({reason})"
        yield from _instead(request)
    else:
        from chord.dashboard.publish import publish

        yield from publish(request, spec, made)


def _write(out: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(out, text.encode())


def _file_name(request: PanelRequest) -> str:
    names = (request.entity, request.project, request.sweep or "")
    return re.sub(r"[^\w.-]", "_", "_".join(filter(None, names)))


def _instead(request: PanelRequest) -> list[str]:
    """What to do without an account, and how to upload with one."""
    from chord.tracking.base import command, shown

    folder = _newest(request.sweep)
    place = shown(folder) if folder else "outputs/DATE/TIME/wandb"
    wandb = command("wandb")
    sync = f"{wandb} sync -e {request.entity} -p {request.project} {place}/offline-run-*"
    return [
        f"view runs here, without an account: {wandb} leet {place}",
        f"upload offline runs ({wandb} login first): {sync}",
        "then run this command again",
    ]


def _newest(sweep: str | None) -> Path | None:
    """The newest `wandb` directory under outputs/, or that of the sweep if one is named."""
    found = [
        path
        for path in Path("outputs").glob("*/*/wandb")
        if path.is_dir() and sweep in (None, path.parent.name)
    ]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)
