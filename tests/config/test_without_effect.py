"""A setting that was changed and that nothing reads is refused, never silently ignored."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import compose_config
from pairs.factors import options

from chord.config.consistency import check_training, unread_teacher, without_effect
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.config.trainer import DECIDED, SUPPORTED, WITHOUT_EFFECT
from chord.sweep.beforehand import _looked_at

Build = Callable[..., TrainConfig]
PAIRED = "data=testbed_paired rollout.group_size=8"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("rollout.prefix_loss=nll", "rollout.prefix_loss=nll: no response has a prefix"),
        ("rollout.prefix_coef=.5", "rollout.prefix_coef=0.5: no response has a prefix"),
        ("rollout.prefix_initial=.5", "use rollout.prefix=binomial, uniform or staged"),
        ("rollout.prefix_final=.5", "rollout.prefix_final=0.5: "),
        ("rollout.prefix_until=.5", "rollout.prefix_until=0.5: "),
        ("rollout.prefix_samples=3 rollout.group_size=8", "rollout.prefix_samples=3: "),
        (f"{PAIRED} rollout=uft rollout.prefix=none", "with rollout.prefix=none"),
        (f"{PAIRED} rollout=uft rollout.prefix_samples=3", "needs rollout.prefix=uniform, not bin"),
        (f"{PAIRED} rollout=trapo rollout.prefix_samples=3", "not staged"),
        (f"{PAIRED} rollout=trapo rollout.prefix_initial=1", "prefix=staged has shares of its own"),
        (f"{PAIRED} rollout=trapo rollout.prefix_final=1", "rollout.prefix_final=1.0: "),
        (f"{PAIRED} rollout=trapo rollout.prefix_until=1", "rollout.prefix_until=1.0: "),
        ("rollout.correction_threshold=.1", "needs rollout.correct_native=true with"),
        ("rollout.correction_cap=5", "rollout.correction_cap=5.0: needs"),
        ("off_policy.apply_to=both", "off_policy.apply_to=both: must be sft"),
        ("+trainer.extra.limit_val_batches=2", "has no effect; a run evaluates by itself, on"),
        ("+trainer.extra.val_check_interval=2", "has no effect; a run evaluates by itself, ev"),
        ("+trainer.extra.barebones=true", "trainer.extra.barebones=True: has no effect; a run"),
        ("trainer.skip_limit=3", "trainer.skip_limit=3: needs trainer.on_nonfinite=skip, not stop"),
    ],
)
def test_what_nothing_would_read_is_refused_of_a_new_run(
    small_config: Build, settings: str, message: str
) -> None:
    config = small_config(*settings.split())
    with pytest.raises(ValueError, match=r"^[\w.]+=\S+: ") as caught:
        check_training(config)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    # A run that is there already goes on.
    resumed = dataclasses.replace(config, resume="outputs/run")
    with pytest.warns(UserWarning, match=r"^[\w.]+=\S+: "):
        check_training(resumed)
    # A sweep looks at each of its jobs that differs in it.
    assert _looked_at(config) != _looked_at(small_config())


@pytest.mark.parametrize(
    "settings",
    [
        f"{PAIRED} rollout=uft rollout.prefix_loss=none",
        f"{PAIRED} rollout=uft rollout.prefix_loss=advantage rollout.prefix_until=.3",
        f"{PAIRED} rollout=uft rollout.prefix=uniform rollout.prefix_samples=3",
        f"{PAIRED} rollout=trapo rollout.prefix_loss=advantage",
        "rollout.correct_native=true rollout.correction_threshold=.1 rollout.correction_cap=5",
        "rollout.engine=hf rollout.correction_threshold=.1 rollout.correction_cap=5",
        "weighting.apply_to=both",
        "trainer.on_nonfinite=skip trainer.skip_limit=3",
        # What a sweep goes through.
        "objective.kl.coef=0 objective.kl.estimator=k1",
        "objective.kl.direction=to_policy",
        "schedule=sft_only objective=dapo",
        "weighting@off_policy=rlplus",
    ],
)
def test_what_is_read_or_waits_is_not_refused(small_config: Build, settings: str) -> None:
    config = small_config(*settings.split())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_training(config)


@pytest.mark.parametrize("name", options("experiment"))
def test_no_preset_sets_what_nothing_reads(name: str) -> None:
    # Its package need not be installed.
    model = ["model=hf", "model.path=owner/name"] if name == "smollm2" else []
    assert without_effect(parse(compose_config(f"experiment={name}", *model), TrainConfig)) is None


@pytest.mark.parametrize("group", ["model", "teacher"])
def test_a_model_that_is_on_this_machine_has_no_revision(tmp_path: Path, group: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    for place in (str(tmp_path), "owner/name"):
        words = ["model=hf", "teacher=hf", f"model.path={place}", f"teacher.path={place}"]
        config = parse(compose_config(*words, f"{group}.revision=v1"), TrainConfig)
        said = without_effect(config)
        if place == "owner/name":
            assert said is None
        else:
            assert said is not None
            assert said.startswith(f"{group}.revision=v1: {group}.path={place} is on this machine")


def test_every_argument_of_lightnings_trainer_has_its_place() -> None:
    from lightning.pytorch import Trainer

    arguments = set(inspect.signature(Trainer).parameters)
    assert arguments <= {*SUPPORTED, *DECIDED, *WITHOUT_EFFECT}
    assert len({*SUPPORTED, *DECIDED, *WITHOUT_EFFECT}) == sum(
        map(len, (SUPPORTED, DECIDED, WITHOUT_EFFECT))
    )


def test_a_teacher_that_nothing_reads_is_said_not_to_be_loaded(small_config: Build) -> None:
    typed = "teacher.path=none.safetensors"
    said = unread_teacher(small_config("weighting=phi", typed))
    assert said == f"{typed}: nothing reads the teacher's distribution, so it is not loaded"
    assert unread_teacher(small_config("weighting=margin", typed)) is None
    assert unread_teacher(small_config("weighting=phi", "teacher=none")) is None
    assert unread_teacher(small_config("weighting=phi", "teacher.path=null")) is None
