"""Evaluations that `chord.evaluate` has saved, in place of the runs' own final scores.

Only evaluations on the same problems with the same settings are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chord.compare.grouping import METRICS
from chord.compare.model import LeftOut, Run
from chord.compare.record import finite, no_share
from chord.errors import ConfigError
from chord.io.reading import depth, read_json
from chord.run.evaluated import EVALUATED
from chord.run.files import FINISHED, read_status

SETTINGS = ("samples", "temperature", "checkpoint", "max_new_tokens")
"""Those that a name can be followed by."""
DEEPEST = 10
FLAG = "--evaluation"


@dataclass(frozen=True)
class SavedScores:
    """One saved evaluation: what has to agree, when it was made, and both models' metrics."""

    settings: Mapping[str, str]
    step: Any
    evaluated: str
    base: Mapping[str, float]
    trained: Mapping[str, float]


def with_evaluation(runs: Sequence[Run], wanted: str) -> tuple[list[Run], list[LeftOut]]:
    """The runs with the scores of the evaluation `NAME [SETTING=VALUE ...]` as their final ones.

    Runs that are not finished stay as they are. Returns also those finished runs that have none,
    and what can't be read. Raises ConfigError where no run has one, or it is not known which
    evaluations belong together.
    """
    name, chosen = _parsed(wanted)
    left_out: list[LeftOut] = []
    found: list[tuple[Run, dict[tuple[str, ...], SavedScores]]] = []
    for run in (each for each in runs if each.status == FINISHED):
        known, troubles = _evaluations(run, name, chosen)
        left_out += troubles
        if known:
            found.append((run, known))
        else:
            reason = f"has no saved evaluation {wanted} of its final model or chosen checkpoint"
            left_out.append(LeftOut(what=f"{run.path} ({run.name})", reason=reason))
    if not found:
        others = (run for run in runs if run.status != FINISHED)
        if having := next((run for run in others if any(_files(run, name))), None):
            raise ConfigError(
                f"{FLAG} {wanted}: only finished runs are compared, and {having.path} is "
                f"{having.status}; finish it with resume={having.path}, and evaluate it again"
            )
        raise ConfigError(
            f"{FLAG} {wanted}: no finished run has it; save it with python -m chord.evaluate RUN"
        )
    key = _shared(found, wanted)
    scored = [_scored(run, name, known[key]) for run, known in found]
    return [*scored, *(run for run in runs if run.status != FINISHED)], left_out


def metrics_of(runs: Sequence[Run]) -> list[str]:
    """The metrics of such runs that a comparison shows unless others are asked for."""
    known = dict.fromkeys(key for run in runs if run.status == FINISHED for key in run.final)
    order = [*METRICS]
    order[1:1] = [name for name in map(_bare, known) if name.startswith("target_mean")]
    chosen = [key for name in dict.fromkeys(order) for key in known if _bare(key) == name]
    return chosen + sorted(key for key in known if _bare(key).startswith("source/"))


def _bare(key: str) -> str:
    return key.partition("/")[2]


def _parsed(wanted: str) -> tuple[str, dict[str, str]]:
    name, *words = wanted.split()
    chosen = {}
    for word in words:
        setting, _, value = word.partition("=")
        if setting not in SETTINGS or not value:
            raise ConfigError(
                f"{FLAG} {wanted}: {word} must be SETTING=VALUE, with one of {', '.join(SETTINGS)}"
            )
        chosen[setting] = value
    return name, chosen


def _evaluations(
    run: Run, name: str, chosen: Mapping[str, str]
) -> tuple[dict[tuple[str, ...], SavedScores], list[LeftOut]]:
    """A run's evaluations of that name, the newest of several with the same settings."""
    found: dict[tuple[str, ...], SavedScores] = {}
    left_out = []
    fingerprint = read_status(Path(run.path)).get("fingerprint")
    for file in _files(run, name):
        try:
            saved = _read(file, fingerprint)
        except (OSError, ValueError) as error:
            left_out.append(LeftOut(what=str(file), reason=str(error)))
            continue
        # Without a choice it is of the model that there was, which may have been trained further.
        is_final = saved.settings["checkpoint"] != "None" or saved.step == run.planned_steps
        if not is_final or any(saved.settings[key] != value for key, value in chosen.items()):
            continue
        key = tuple(saved.settings.values())
        if key not in found or found[key].evaluated < saved.evaluated:
            found[key] = saved
    return found, left_out


def _files(run: Run, name: str) -> Iterator[Path]:
    """The files of a run's evaluations of that name."""
    for file in sorted((Path(run.path) / EVALUATED).glob("*.json")):
        if file.stem.rsplit("-", 2)[0] == name:
            yield file


def _read(file: Path, fingerprint: object) -> SavedScores:
    """Raises OSError or ValueError where a file holds no evaluation of the run."""
    facts = read_json(file)
    if depth(facts) > DEEPEST:
        raise ValueError("is nested too deeply")
    try:
        settings = {
            "problems": facts["asked"],
            "reward": facts["reward"],
            "samples": facts["samples"],
            "temperature": facts["temperature"],
            "checkpoint": facts["which"],
            "max_new_tokens": facts["evaluation"]["max_new_tokens"],
        }
        base, trained, step = facts["base"], facts["trained"], facts["step"]
    except (KeyError, TypeError) as missing:
        raise ValueError(f"is no evaluation of this version of chord ({missing})") from missing
    if fingerprint is not None and facts.get("fingerprint") != fingerprint:
        raise ValueError("is of a run with other settings: its fingerprint is another one")
    return SavedScores(
        {name: _text(value) for name, value in settings.items()},
        step,
        str(facts.get("evaluated")),
        _numbers(base),
        _numbers(trained),
    )


def _text(value: object) -> str:
    """A value as it is compared; the order of a mapping does not matter."""
    if isinstance(value, Mapping):
        return str({key: _text(value[key]) for key in sorted(value)})
    return f"{value:g}" if isinstance(value, float) else str(value)


def _numbers(metrics: object) -> dict[str, float]:
    """Raises ValueError where a share is below 0 or above 1."""
    if not isinstance(metrics, Mapping):
        return {}
    if (trouble := no_share(metrics)) is not None:
        raise ValueError(trouble)
    return {key: float(value) for key, value in metrics.items() if finite(value)}


def _shared(
    found: Sequence[tuple[Run, Mapping[tuple[str, ...], SavedScores]]], wanted: str
) -> tuple[str, ...]:
    """The settings of the one evaluation that all runs have."""
    common = [key for key in found[0][1] if all(key in known for _, known in found)]
    if len(common) == 1:
        return common[0]
    if common:
        differing = _differing(found[0][1][key].settings for key in common)
        raise ConfigError(
            f"{FLAG} {wanted}: the runs share {len(common)} of them, which differ in {differing}; "
            f"name one, as in {FLAG} '{wanted} samples=8'"
        )
    first, known = found[0]
    other, its = next((run, its) for run, its in found if not known.keys() & its.keys())
    settings = [each.settings for each in (*known.values(), *its.values())]
    raise ConfigError(
        f"{FLAG} {wanted}: those of {first.path} and {other.path} can't be compared, because they "
        f"differ in {_differing(settings)}; evaluate all runs alike"
    )


def _differing(settings: Any) -> str:
    """The settings that are not the same everywhere, with their values if these are short."""
    every = list(settings)
    parts = []
    for name in every[0]:
        values = list(dict.fromkeys(each[name] for each in every))
        if len(values) > 1:
            short = all(len(value) <= 12 for value in values)
            parts.append(f"{name} ({', '.join(values)})" if short else name)
    return ", ".join(parts)


def _scored(run: Run, name: str, saved: SavedScores) -> Run:
    """The run with these scores alone; the responses on record are of other evaluations."""
    base, trained = (
        {f"{name}/{key}": value for key, value in scores.items()}
        for scores in (saved.base, saved.trained)
    )
    return replace(run, final=trained, base=base, answers=(), base_answers=())
