"""Signs that a run learns nothing: each told once, by hand-made rows, and not in healthy runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from conftest import small_composed
from omegaconf import OmegaConf
from sweeps import Command, command, interrupt_at

from chord.compare.settings import flat_settings
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.run.health import CHECKS, Health
from chord.run.identity.settings import NO_NUMBER, telling
from chord.run.status import fingerprint

__all__ = ["command"]

HEALTHY = {
    "rollout/all_right": 0.25, "rollout/all_wrong": 0.5, "rollout/entropy": 0.2,
    "rollout/no_eos": 0.5, "rollout/length": 40.0, "rollout/reward": 0.4,
    "rollout/reward_std": 0.5,
}  # fmt: skip


def told(changes: Iterable[dict[str, Any]], *off: str) -> list[str]:
    """The warnings of steps that differ from healthy ones so."""
    health = Health(off)
    rows = [{"step": step, **HEALTHY, **change} for step, change in enumerate(changes)]
    return [line for row in rows for line in health.see(row)]


NO_SIGNAL = {"rollout/all_right": 0.25, "rollout/all_wrong": 0.75}
CUT_OFF = {"rollout/no_eos": 1.0}
SAME = {"rollout/reward": 0.0, "rollout/reward_std": 0.0}


@pytest.mark.parametrize(
    ("name", "bad", "window", "number", "setting"),
    [
        ("no_signal", NO_SIGNAL, 20, "all right 25%, all wrong 75%", "rollout.group_size"),
        ("cut_off", CUT_OFF, 20, "at 40 tokens", "rollout.max_new_tokens"),
        ("reward", SAME, 50, "the reward 0", "reward="),
    ],
)
def test_a_sign_that_lasts_is_told_once_with_number_and_setting(
    name: str, bad: dict[str, float], window: int, number: str, setting: str
) -> None:
    # One step short, then a good one, then as long as it takes and longer.
    steps = [bad] * (window - 1) + [{}] + [bad] * (2 * window)
    (line,) = told(steps)
    # The last of `window` bad steps in a row, counted from 0.
    assert line.startswith(f"warning: step {2 * window - 1}: ")
    assert number in line
    assert setting in line
    assert line.endswith(f"(trainer.warn_off=[{name}] silences this)")
    assert told(steps, name) == []


def test_an_entropy_that_has_collapsed_is_told() -> None:
    # From .2: a tenth is .02, but .01 is the limit. The mean of n steps at .004 and 20 - n at .2 is
    # below .01 from (20 - n) .2 + n .004 < .2, so for n = 20 alone.
    (line,) = told([{}] * 20 + [{"rollout/entropy": 0.004}] * 25)
    assert line.startswith("warning: step 39: the entropy has fallen to 0.004 nats a token")
    assert "from 0.2:" in line
    assert "objective.entropy_coef" in line
    # Low from the beginning is no collapse, and neither is a tenth of much.
    assert told([{"rollout/entropy": 0.004}] * 60) == []
    assert told([{"rollout/entropy": 3.0}] * 20 + [{"rollout/entropy": 0.05}] * 60) == []


def test_one_step_is_not_where_the_entropy_began() -> None:
    (line,) = told([{"rollout/entropy": 5.0}] + [{}] * 19 + [{"rollout/entropy": 0.004}] * 25)
    assert "from 0.44:" in line


def test_rewards_that_differ_between_steps_alone_are_no_sign() -> None:
    assert told([{**SAME, "rollout/reward": float(step % 2)} for step in range(100)]) == []


def test_steps_without_rollouts_and_numbers_that_are_missing_do_not_count() -> None:
    absent = dict.fromkeys(HEALTHY)
    assert told([NO_SIGNAL] * 19 + [absent] * 40) == []
    (line,) = told([NO_SIGNAL] * 19 + [absent] * 40 + [NO_SIGNAL])
    assert line.startswith("warning: step 59: ")


def test_a_healthy_run_is_told_nothing() -> None:
    assert told([{}] * 200) == []


def test_a_run_that_goes_on_neither_repeats_nor_misses_a_warning() -> None:
    rows = [{"step": step, **HEALTHY, **NO_SIGNAL} for step in range(30)]
    before = Health((), rows[:15])
    assert [line for row in rows[15:] for line in before.see(row)] == [
        line for row in rows for line in Health((), rows[: row["step"]]).see(row)
    ]
    after = Health((), rows[:25])
    assert [line for row in rows[25:] for line in after.see(row)] == []
    assert list(after.told) == ["no_signal"]


def test_a_name_that_is_none_is_refused(small_models: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^trainer\.warn_off=entropi: must be one of no_signal, "
    ):
        parse(small_composed(small_models, "trainer.warn_off=[entropi]"), TrainConfig)
    assert parse(
        small_composed(small_models, f"trainer.warn_off=[{','.join(CHECKS)}]"), TrainConfig
    ).trainer.warn_off == list(CHECKS)


def test_a_run_says_it_when_it_happens_and_once_more_at_the_end(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The answers of an untrained model are all wrong.
    settings = ["steps=22", "rollout.max_new_tokens=2", "evaluation.every=0",
                "trainer.checkpoint_every=21", "hydra.run.dir=run"]  # fmt: skip
    with monkeypatch.context() as patch:
        interrupt_at(patch, 22)
        assert command(*settings) == 130
    assert command.err.count("warning: step 19: no group of the last 20 steps had both") == 1
    assert command("resume=run", own=False) == 0, command.err
    assert "warning: step" not in command.err
    assert command.out.count("warning: step 19: no group of the last 20 steps") == 1


def test_what_changes_no_number_makes_no_other_run(small_models: Path) -> None:
    plain = small_composed(small_models)
    silent = small_composed(small_models, "trainer.warn_off=[reward]", "trainer.skip_limit=3")
    skips = small_composed(small_models, "trainer.on_nonfinite=skip")
    assert fingerprint(silent) == fingerprint(plain) != fingerprint(skips)
    # Neither what a command does with its run, nor where it is recorded, nor what it is judged by.
    words = ["tracking=off", "tracking.notes=x", "resume=x", "allow_changed=[x]", "resume_sweep=x"]
    words += ["skip_finished=true", "sweep_metric=x", "trust=true", "dry_run=true"]
    # A fork's own part is its lineage, which is looked up.
    words += ["checkpoint=x", "fresh_optimizer=true", "fork=null"]
    for word in words:
        assert fingerprint(small_composed(small_models, "tracking=wandb", word)) == fingerprint(
            plain
        )
    assert {re.split(r"[.=]", word)[0] for word in words} == set(NO_NUMBER)
    settings = [
        flat_settings(OmegaConf.to_container(cfg, resolve=True), {})  # type: ignore[arg-type]
        for cfg in (plain, silent, skips)
    ]
    assert settings[0] == settings[1]
    assert settings[2].items() - settings[0].items() == {("trainer.on_nonfinite", "skip")}
    # As before there were these settings.
    later = ("_off", "_limit", "nonfinite", "correct_native")
    assert not {name for name in settings[0] if name.endswith(later)}


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        (["reward=format"], "reward.on_failures"),
        (["reward=weighted"], "reward.parts.format.on_failures"),
        (["reward=weighted", "reward@reward.parts.answer=math"], "reward.parts.answer.on_failures"),
    ],
)
def test_what_is_done_with_a_scorer_that_always_fails_makes_no_other_run(
    small_models: Path, options: list[str], setting: str
) -> None:
    stops, counts = (
        small_composed(small_models, *options, f"{setting}={value}") for value in ("stop", "count")
    )
    assert OmegaConf.select(counts, setting) == "count"
    assert fingerprint(stops) == fingerprint(counts)
    compared = [
        flat_settings(OmegaConf.to_container(cfg, resolve=True), {})  # type: ignore[arg-type]
        for cfg in (stops, counts)
    ]
    assert compared[0] == compared[1]
    # Nor is a run of a time that had no such setting another one.
    assert not {name for name in compared[0] if name.endswith("on_failures")}


@pytest.mark.parametrize(
    ("options", "at"),
    [
        (["reward=function"], "reward"),
        (["reward=weighted", "reward@reward.parts.answer=function"], "reward.parts.answer"),
    ],
)
def test_settings_of_a_function_that_came_later_make_no_other_run_at_their_defaults(
    small_models: Path, options: list[str], at: str
) -> None:
    given = [*options, f"{at}.function=scorers:same"]
    plain, other = (
        flat_settings(
            OmegaConf.to_container(small_composed(small_models, *given, *more), resolve=True),
            {},  # type: ignore[arg-type]
        )
        for more in ([], [f"{at}.signature=verl", f"{at}.right_from=0"])
    )
    changed = {f"{at}.signature": "verl", f"{at}.right_from": 0.0}
    assert other.items() - plain.items() == changed.items()
    assert not plain.keys() & changed.keys()


def test_a_correction_that_came_later_makes_no_other_run_where_it_is_off(
    small_models: Path,
) -> None:
    off, on = (
        OmegaConf.to_container(
            small_composed(small_models, f"rollout.correct_native={value}"), resolve=True
        )
        for value in ("false", "true")
    )
    assert isinstance(off, dict)
    assert isinstance(on, dict)
    without = {**off, "rollout": {k: v for k, v in off["rollout"].items() if k != "correct_native"}}
    assert telling(off) == telling(without) != telling(on)
