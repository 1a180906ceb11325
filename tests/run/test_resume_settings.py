"""What is typed with `resume=` goes on top of the run's own choices, and messages name these."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import compose_config
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from trusting import begun

from chord.config.composing import reading_conf, register
from chord.errors import ConfigError
from chord.run.directory import RunDirectory
from chord.run.resuming import refuse_settings, resume_run
from chord.sweep.points import check_points
from chord.train import refuse_directories

CHOSEN = {
    "schedule": "cosine",
    "weighting": "margin",
    "objective": "rloo",
    "reward": "numeric",
    "data": "sums",
    "optimizer": "adamw_low",
    "rollout": "hf",
    "target": "soft",
    "evaluation": "quick",
    "model": "hf",
}
OWN = [f"{group}={option}" for group, option in CHOSEN.items() if group not in ("model", "rollout")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of other options than the defaults."""
    path = tmp_path_factory.mktemp("run") / "run"
    config = compose_config(*OWN, "seed=4", "tracking=off")
    options = {**CHOSEN, "weighting@off_policy": "luffy", "tracking": "off"}
    return begun(RunDirectory(path, config, "run", options=options))


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logged") / "run"
    config = compose_config("tracking=wandb", "tracking.project=mine", "trainer=ddp", *OWN)
    options = {"tracking": "wandb", "trainer": "ddp"}
    return begun(RunDirectory(path, config, "run", options=options))


@pytest.mark.parametrize("group", CHOSEN)
@pytest.mark.parametrize("word", ["{0}.{1}=0", "{0}=typo", "+{0}.{1}=0", "~{0}"])
def test_a_setting_of_any_group_is_refused_with_the_option_that_the_run_has(
    run: Path, group: str, word: str
) -> None:
    # A name that neither the run's option nor the default has is refused for the same reason.
    for setting in ("final", "lr", "nothing"):
        typed = word.format(group, setting)
        with pytest.raises(ConfigError) as refused:
            refuse_directories([f"resume={run}", typed])
        text = f"{typed}: can't be changed in a resumed run, which has {group}={CHOSEN[group]}; "
        assert str(refused.value).startswith(text)


def test_other_settings_are_named_with_what_the_run_has(run: Path) -> None:
    own_weights = "weighting@off_policy=luffy"
    for word, own in (
        ("seed=3", "seed=4"),
        ("weighting@off_policy=phi", own_weights),
        ("off_policy.normalize=mean1", own_weights),
    ):
        with pytest.raises(ConfigError, match=f"^{word}: .* run, which has {own}; with resume="):
            refuse_settings([f"resume={run}", word])
    # Hydra and the checks of a composed run say what is wrong with the others.
    refuse_settings([f"resume={run}", "steps=200", "stepps=3", "trainer.devices=2", "dry_run=true"])


def test_a_setting_of_another_tracker_than_the_runs_is_refused(run: Path, logged: Path) -> None:
    said = (
        r"^tracking\.mode=offline: the run has tracking=off, without that setting; give tracking=wa"
    )
    with pytest.raises(ConfigError, match=said):
        refuse_settings([f"resume={run}", "tracking.mode=offline"])
    for words in (["tracking=wandb", "tracking.mode=offline"], ["tracking.modus=offline"]):
        refuse_settings([f"resume={run}", *words])
    refuse_settings([f"resume={logged}", "tracking.mode=offline"])


def test_a_setting_of_the_tracker_or_trainer_leaves_the_others_as_the_run_has_them(
    logged: Path,
) -> None:
    words = [f"resume={logged}", "tracking.mode=offline", "trainer.devices=3"]
    config = resume_run(logged, compose_config(*words), words).config
    assert (config.tracking.project, config.tracking.mode) == ("mine", "offline")
    assert (config.trainer.strategy, config.trainer.devices) == ("ddp", 3)
    words = [f"resume={logged}", "tracking=wandb", "tracking.mode=offline"]
    config = resume_run(logged, compose_config(*words), words).config
    assert (config.tracking.project, config.tracking.mode) == (None, "offline")


def test_a_sweep_of_one_job_that_goes_on_with_a_run_is_checked_as_that_run(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    register()
    with reading_conf():
        place = "hydra.sweep.dir=sweep"
        master = compose("train", overrides=[place], return_hydra_config=True)
        HydraConfig.instance().set_config(master)
        job = [place, f"resume={run}", "steps=200"]
        (point,) = check_points([job[1:]], master, GlobalHydra.instance().config_loader())
    assert point.config is not None
    assert type(point.config.schedule).__name__ == "Cosine"
    assert (point.config.seed, point.config.steps) == (4, 200)
