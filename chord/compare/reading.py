"""Run directories -> runs, and what could not be read.

Each row is parsed once and reduced immediately to what a comparison needs. A damaged line is
skipped and reported; a directory that cannot be read as a run is reported with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chord.compare.model import LeftOut, Run, ShownAnswer
from chord.compare.record import Record, is_count, numbered, stride
from chord.compare.settings import (
    flat_settings,
    read_choices,
    read_contents,
    read_origin,
    recorded_choices,
)
from chord.errors import ConfigError
from chord.io.reading import parse_json, read_bytes, read_json, read_lines, read_yaml
from chord.run.files import (
    EVALUATIONS,
    FAILED,
    FINISHED,
    INTERRUPTED,
    METRICS,
    RUNNING,
    SAMPLES,
    TIMINGS,
    read_status,
)
from chord.run.identity.agreement import contradiction
from chord.run.identity.histories import newer_format, version_histories
from chord.run.shapes import misfit

STATES = (FINISHED, FAILED, INTERRUPTED, RUNNING)
# The file that each total is summed from.
SUMS = {"tokens": METRICS, "seconds": TIMINGS}


def read_runs(paths: Sequence[Path]) -> tuple[list[Run], list[LeftOut]]:
    """Return the runs in these directories, in order, and everything that could not be read."""
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    for path in paths:
        run, troubles = read_run(path)
        left_out += troubles
        if run is not None:
            runs.append(run)
    return runs, left_out


def read_run(path: Path) -> tuple[Run | None, list[LeftOut]]:
    """Read a run directory; the run is None if its configuration cannot be read.

    Damaged files never raise. Without a `status.json` a run counts as finished if it has an
    evaluation of the trained model after the last planned step, and as interrupted otherwise.
    """
    status, error = _status(path)
    try:
        facts = read_json(path / "run.json")
        if (newer := newer_format(facts)) is not None:
            raise ConfigError(newer)
        for part in ("name", "overrides", "schemas"):
            if part not in facts:
                raise ConfigError(f"run.json has no {part}, as every run's has")
        config = _config(path / "config.yaml")
        if (said := contradiction(path, facts, resolve=False)) is not None:
            raise ConfigError(f"{said}: it is not known which run this is")
    except (OSError, ValueError) as reason:
        said = f"{_said(status, error)}; " if status else ""
        return None, [LeftOut(what=str(path), reason=f"{said}{_reason(reason)}")]
    record = Record(stride(config["steps"]))
    left_out = [
        *_take(path / METRICS, record.train),
        *_take(path / TIMINGS, record.timing),
        *_take(path / EVALUATIONS, record.evaluation),
    ]
    if (disagreement := record.disagreement()) is not None:
        left_out.append(LeftOut(what=str(path / EVALUATIONS), reason=disagreement))
    planned = config["steps"]
    final = record.final(planned)
    if final:
        left_out += _partial(path, record, planned)
    split = "test" if any(key.startswith("test/") for key in final) else "val"
    best, best_step = record.best()
    base_answers, answers, troubles = _answers(path / SAMPLES, split)
    overrides = _texts(facts.get("overrides"))
    run = Run(
        path=str(path),
        name=str(facts.get("name") or path.name),
        seed=config["seed"],
        status=status or (FINISHED if _complete(config, final) else INTERRUPTED),
        steps=record.steps,
        planned_steps=planned,
        settings=flat_settings(config, facts),
        choices=_choices(path, facts, overrides),
        versions=version_histories(facts.get("versions"), facts.get("changes")),
        final=final,
        base=record.base(),
        best=best,
        best_step=best_step,
        curves=record.curves(),
        answers=answers,
        base_answers=base_answers,
        seconds=record.seconds,
        tokens=record.tokens,
        error=error,
        overrides=overrides,
        source=_source(config),
        origin=read_origin(config),
        contents=read_contents(config, facts),
    )
    return run, [*left_out, *troubles]


def _source(config: Mapping[str, Any]) -> str | None:
    """The hash of the checkpoint that a fork started from."""
    lineage = config.get("lineage")
    digest = lineage.get("sha256") if isinstance(lineage, Mapping) else None
    return digest if isinstance(digest, str) else None


def _status(path: Path) -> tuple[str | None, str | None]:
    """The status and error that the run last recorded; None for each that cannot be read."""
    said = read_status(path)
    state, error = said.get("status"), said.get("error")
    if not isinstance(state, str) or state not in STATES:
        return None, None
    return state, error if isinstance(error, str) else None


def _said(status: str, error: str | None) -> str:
    return f"{status}: {_first_line(error)}" if error else status


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _complete(config: Mapping[str, Any], final: Mapping[str, float]) -> bool:
    wants_test = _mapping(config.get("evaluation")).get("test", True)
    return any(key.startswith("test/" if wants_test else "val/") for key in final)


def _config(path: Path) -> dict[str, Any]:
    """The resolved configuration; ConfigError unless it has `steps` and `seed`."""
    config = read_yaml(path)
    if not isinstance(config, dict):
        raise ConfigError(f"{path.name} is not a mapping")
    for key in ("steps", "seed"):
        if not is_count(config.get(key)):
            raise ConfigError(f"{path.name} has no {key}")
    return config


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"it has no {Path(error.filename).name}"
    if isinstance(error, OSError):
        return f"{Path(error.filename).name} can't be read ({error.strerror})"
    return str(error)


def _choices(path: Path, facts: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, str]:
    """The options of the config groups as recorded by Hydra, or else by the run."""
    try:
        content = read_bytes(path / ".hydra" / "hydra.yaml")
        found = read_choices(content.decode(errors="replace"))
    except (OSError, ValueError):
        found = {}
    return found or recorded_choices(facts, overrides)


def _take(path: Path, use: Callable[[dict[str, Any]], str | None]) -> list[LeftOut]:
    """Pass each row to `use`; return the lines that were left out, one entry per reason.

    A last line without a line break was still being written when the run was read or stopped.
    """
    bad: dict[str, list[int]] = {}
    unread = []
    try:
        for number, line in enumerate(read_lines(path), start=1):
            if (trouble := _trouble(path.name, line, use)) is not None:
                bad.setdefault(trouble, []).append(number)
    except (OSError, ValueError) as error:
        unread = [LeftOut(what=str(path), reason=_reason(error))]
    return unread + [
        LeftOut(what=f"{path}, {numbered('line', numbers)}", reason=f"{reason}: left out")
        for reason, numbers in bad.items()
    ]


def _trouble(file: str, line: bytes, use: Callable[[dict[str, Any]], str | None]) -> str | None:
    if not line.endswith(b"\n"):
        return "half-written last line"
    try:
        row = parse_json(line, exact=False)
    except ValueError:
        row = None
    return misfit(file, row) or use(row)


def _partial(path: Path, record: Record, steps: int) -> list[LeftOut]:
    """Drop what a finished run only recorded for some of its steps, and report it."""
    found = []
    for sums, held in record.drop_partial(steps).items():
        file, what = path / SUMS[sums], sums
        if sums == "tokens" and record.steps < steps:
            record.forget_curves()
            what = "tokens and training curves"
        # A missing file is reported elsewhere.
        if file.exists():
            reason = f"holds {held} of {steps} steps: {what} are left out"
            found.append(LeftOut(what=str(file), reason=reason))
    return found


def _answers(
    path: Path, split: str
) -> tuple[tuple[ShownAnswer, ...], tuple[ShownAnswer, ...], list[LeftOut]]:
    """Responses of the base and the trained model on `split`; older runs have none."""
    if not path.exists():
        return (), (), []
    base: list[ShownAnswer] = []
    trained: list[ShownAnswer] = []

    def use(row: Mapping[str, Any]) -> str | None:
        try:
            asked = ShownAnswer(
                problem=str(row["problem"]), expert=str(row["expert"]), text="", right=False
            )
            before = replace(asked, text=str(row["base"]), right=bool(row["base_right"]))
            after = replace(asked, text=str(row["trained"]), right=bool(row["trained_right"]))
        except KeyError as missing:
            return f"has no {missing.args[0]}"
        if row.get("split") == split:
            base.append(before)
            trained.append(after)
        return None

    troubles = _take(path, use)
    return tuple(base), tuple(trained), troubles


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()
