"""The machine that a run would use: packages, processors, devices, disk, terminal, variables."""

from __future__ import annotations

import locale
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

import chord
from chord.doctor.finding import NOTE, OK, WRONG, Finding
from chord.io.extras import DISTRIBUTION, install, requirements

# What a run of the shipped model writes, with room to spare; a larger model says so itself.
LEAST_FREE = 1e9
# Extras that are for working on this package, not with it.
DEVELOPMENT = ("dev", "docs")
# Set by a user, a cluster or a launcher, each changes how a run goes.
VARIABLES = re.compile(
    r"(OMP_NUM_THREADS|MKL_NUM_THREADS|CUDA_VISIBLE_DEVICES|HF_HUB_OFFLINE|HF_HOME|TMPDIR"
    r"|HYDRA_FULL_ERROR|PYTHONIOENCODING|SLURM_(JOB_ID|NTASKS|ARRAY_TASK_ID|NNODES)"
    r"|WANDB_(?!API_KEY)\w+|CHORD_\w+|MASTER_ADDR|LOCAL_RANK|WORLD_SIZE)"
)
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "fuse.sshfs")


def environment(outputs: Path) -> list[Finding]:
    """Everything about this machine; runs would be written below `outputs`."""
    named = dict(os.environ)  # as they were given: W&B sets some of its own
    return [
        Finding(OK, f"Python {platform.python_version()} on {platform.platform(terse=True)}"),
        Finding(OK, f"chord {chord.__version__}, {Path(chord.__file__).parent}"),
        *packages(requirements()),
        *processors(),
        *devices(),
        *disk(outputs),
        *tracker(),
        *terminal(sys.stdout.encoding),
        *variables(named),
    ]


def packages(required: Sequence[str]) -> list[Finding]:
    """Each required package within its bounds, and which extras are there."""
    if not required:
        return [
            Finding(NOTE, f"{DISTRIBUTION} is not installed, so its requirements are not known")
        ]
    wanted = [Requirement(each) for each in required]
    always = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    found = [finding for each in always if (finding := _unmet(each)) is not None]
    if not found:
        shown = ", ".join(f"{each.name} {version(each.name)}" for each in always)
        found = [Finding(OK, f"required packages: {shown}")]
    there: list[str] = []
    absent: list[str] = []
    for extra in sorted(_extras(wanted)):
        parts = [each for each in wanted if each not in always and _of(each, extra)]
        (absent if any(_unmet(each) for each in parts) else there).append(extra)
    if there:
        found.append(Finding(OK, f"installed extras: {', '.join(there)}"))
    if absent:
        remedy = f"{install(absent[0])} if you need it"
        found.append(Finding(NOTE, f"extras not installed: {', '.join(absent)}", remedy))
    return found


def _extras(wanted: Sequence[Requirement]) -> set[str]:
    names = {name for each in wanted for name in re.findall(r'extra == "([\w-]+)"', str(each))}
    return names - set(DEVELOPMENT)


def _of(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is not None and requirement.marker.evaluate({"extra": extra})


def _unmet(requirement: Requirement) -> Finding | None:
    """What is wrong with a required package; None if it is there and within its bounds."""
    remedy = f"pip install '{requirement.name}{requirement.specifier}'"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Finding(WRONG, f"{requirement.name} is not installed", remedy)
    # A pre-release that was installed on purpose, and a local build such as 2.13.0+cpu, count.
    if requirement.specifier.contains(found, prereleases=True):
        return None
    what = f"{requirement.name} {found} is outside {requirement.specifier}"
    return Finding(WRONG, what, remedy)


def processors() -> list[Finding]:
    """How many processors there are, and how many this process may use."""
    there = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    advice = "threads=1 gives the same numbers everywhere, so a run uses one unless told otherwise"
    if usable < there:
        remedy = f"set threads to at most {usable}"
        return [Finding(NOTE, f"{there} processors, {usable} of them for this process", remedy)]
    return [Finding(OK, f"{there} processors; {advice}")]


def devices() -> list[Finding]:
    """The GPUs that torch can use."""
    # Here and below: what is examined may be missing or broken, which is to be said.
    import torch

    build = f"torch {torch.__version__}"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return [Finding(OK, f"{build} with {len(names)} GPUs: {', '.join(names)}")]
    why = "built without CUDA" if torch.version.cuda is None else "which finds no GPU"
    return [Finding(OK, f"{build}, {why}: only trainer=cpu can be used")]


def disk(outputs: Path) -> list[Finding]:
    """Where runs are written: whether that can be done, and how much room there is."""
    return [*_place(outputs, "runs"), *_place(Path(tempfile.gettempdir()), "temporary files")]


def _place(path: Path, content: str) -> Iterator[Finding]:
    there = next(
        parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists()
    )
    free = shutil.disk_usage(there).free
    what = f"{content} are written below {path}, {free / 1e9:,.1f} GB free"
    if not os.access(there, os.W_OK):
        yield Finding(WRONG, f"{there} is not writable, and {content} go below {path}")
    elif free < LEAST_FREE:
        yield Finding(WRONG, what, "make room, or name another place with hydra.run.dir=DIR")
    else:
        yield Finding(OK, what)
    if (kind := file_system(there)) in NETWORK_FILE_SYSTEMS:
        yield Finding(
            NOTE,
            f"{there} is on a network file system ({kind})",
            "its locks must be honoured on every machine: see docs/reliability.md",
        )


def file_system(path: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """The kind of file system that `path` is on; empty where the system does not tell."""
    if not mounts.exists():
        return ""
    kinds = [line.split()[1:3] for line in mounts.read_text().splitlines()]
    # The last mount on the longest path is the one that is seen.
    on = [(len(place), kind) for place, kind in kinds if path.resolve().is_relative_to(place)]
    return max(reversed(on), key=lambda each: each[0])[1] if on else ""


def tracker() -> list[Finding]:
    """Whether runs go to Weights & Biases, as `tracking=wandb` would find out."""
    from chord.tracking.wandb_access import unreachable

    reason = unreachable()
    if not reason:
        return [Finding(OK, "W&B: logged in, and the server answers")]
    return [Finding(OK, f"W&B: {reason}; with tracking=wandb runs are recorded on this disk")]


def terminal(encoding: str | None) -> list[Finding]:
    """Whether what is printed can be shown."""
    name = (encoding or locale.getpreferredencoding(False)).lower()
    if name.replace("-", "") == "utf8":
        return [Finding(OK, "the terminal takes UTF-8")]
    what = f"the terminal takes {name}: characters that it lacks are printed as '?'"
    return [Finding(NOTE, what, "export PYTHONIOENCODING=utf-8")]


def variables(values: Mapping[str, str]) -> list[Finding]:
    """The environment's variables that change how a run goes."""
    found = {name: values[name] for name in sorted(values) if VARIABLES.fullmatch(name)}
    if not found:
        return [Finding(OK, "no environment variable changes how a run goes")]
    shown = ", ".join(f"{name}={value}" for name, value in found.items())
    return [Finding(NOTE, f"environment variables that change how a run goes: {shown}")]
