"""A search: what it may vary, how its trials become jobs, and how it goes on."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import compose_config
from omegaconf import OmegaConf
from sweeps import Command, command, damaged, interrupt_at

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.config.search import SearchConfig
from chord.errors import ConfigError
from chord.sweep.space import Choice, Range, choose, corners, dimension, read_settings

__all__ = ["command"]
optuna = pytest.importorskip("optuna")
SEARCH = [
    "-m",
    "hydra.sweeper.trials=4",
    "hydra.sweeper.startup=2",
    "schedule=linear",
    "schedule.final=interval(0.0,0.5)",
    "weighting=uniform,phi",
]


def jobs(command: Command, sweep: str) -> list[dict[str, Any]]:
    return list(json.loads((command.where / sweep / "sweep.json").read_text())["jobs"])


def values(command: Command, sweep: str) -> list[float | None]:
    storage = f"sqlite:///{command.where}/{sweep}/study.db"
    study = optuna.load_study(study_name="chord", storage=storage)
    return [trial.value for trial in study.trials]


def test_a_search_leaves_jobs_and_a_study_and_goes_on_if_it_is_interrupted(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [*SEARCH, "sweep_metric=val/expert_nll"]
    assert command(*typed, "hydra.sweep.dir=s") == 0, command.err
    found = jobs(command, "s")
    assert [job["job"] for job in found] == [0, 1, 2, 3]
    assert len({tuple(job["varied"].values()) for job in found}) == 4
    for job in found:
        assert job["varied"]["weighting"] in ("uniform", "phi")
        assert 0 <= float(job["varied"]["schedule.final"]) <= 0.5
        assert command.status(f"s/{job['job']}")["status"] == "finished"
    told = values(command, "s")
    shown = [row[4] for row in command.rows()[:4]]
    assert shown == [f"{value:.4f}" for value in told]
    assert f"best of 4: {max(v for v in told if v):.4f}" in command.out

    # An interrupted one proposes what it would have.
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)  # the second step of the second trial
        assert command(*typed, "hydra.sweep.dir=cut") == 130
    assert "resume_sweep=cut" in command.err
    assert len(jobs(command, "cut")) == 2
    assert command(*typed[:-2], typed[-1], "weighting=uniform", "resume_sweep=cut") == 1
    assert command.err.startswith("error: resume_sweep=cut: belongs to another command: python -m")
    assert command(*typed, "resume_sweep=cut") == 0
    assert jobs(command, "cut") == jobs(command, "s")
    assert values(command, "cut") == values(command, "s")


def test_a_failed_trial_counts_stops_no_other_and_is_run_again_as_it_was(
    command: Command, small_models: Path
) -> None:
    model = damaged(small_models, command.where)
    paths = f"model.path=choice({model},{small_models}/base.safetensors)"
    typed = [*SEARCH[:-1], paths, "hydra.sweeper.seed=1", "weighting=phi"]
    assert command(*typed, "hydra.sweep.dir=s") == 1
    failed = [job["varied"]["model.path"] == str(model) for job in jobs(command, "s")]
    assert any(failed)
    assert not all(failed)
    assert [value is None for value in values(command, "s")] == failed
    assert command.err.endswith(f"error: {sum(failed)} of 4 jobs failed\n")
    before, old = jobs(command, "s"), values(command, "s")
    assert command(*typed, "resume_sweep=s") == 1
    assert command.err.endswith(f"error: {sum(failed)} of 4 jobs failed\n")
    shutil.copy(small_models / "base.safetensors", model)
    assert command(*typed, "resume_sweep=s") == 0, command.err
    assert jobs(command, "s") == before
    assert [command.status(f"s/{n}")["status"] for n in range(4)] == ["finished"] * 4
    # Each failed trial twice more: the second time it fails again, the third it has a value.
    new = values(command, "s")
    assert new[:4] == old
    assert [value is None for value in new[4:]] == [True] * sum(failed) + [False] * sum(failed)
    assert "best of 4: " in command.out
    # They count once: the search is at its end.
    assert command(*typed, "resume_sweep=s") == 0
    assert values(command, "s") == new


@pytest.mark.parametrize("refused", [False, True])
def test_a_trial_writes_over_no_file_of_somebody_else(
    command: Command, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    mine = command.where / "s" / "0" / "status.json"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")

    def refuse(*_: object, **__: object) -> None:
        raise ConfigError("refused")

    if refused:
        monkeypatch.setattr("chord.sweep.study.check_points", refuse)
    assert command(*SEARCH, "hydra.sweep.dir=s") == 1
    line = "error: hydra.sweep.dir=s: 0: status.json in it is not a run's and would be written over"
    assert command.err.startswith(line), command.err
    assert mine.read_text() == "mine"


def test_what_a_search_cannot_do_is_said_before_it_starts(command: Command) -> None:
    for typed, line in {
        ("seed=0,1",): "seed=0,1: a search would pick the luckiest seed",
        ("schedule.final=interval(2,1)",): "schedule.final=interval(2,1): must end above",
        ("steps=choice(2,0)",): "schedule.final=0 weighting=uniform steps=0: steps=0: must be",
        ("hydra.sweeper.direction=up",): "hydra.sweeper.direction=up: must be maximize or",
        ("hydra.sweeper.trial=3",): "hydra.sweeper.trial=3: no such setting; did you mean 'tri",
        ("sweep_metric=test/rl_reward",): "sweep_metric=test/rl_reward: choose settings on",
    }.items():
        assert command(*SEARCH, *typed, "hydra.sweep.dir=s") == 1
        assert command.err.startswith(f"error: {line}"), command.err
        assert not (command.where / "s").exists()
    assert command("hparams_search=alpha_optuna") == 1
    assert command.err == "error: hparams_search: a search is a sweep; give -m\n"


@pytest.mark.parametrize(
    ("conditional", "line"),
    [
        (
            {"schedule=sine": {"x": "1,2"}},
            "schedule=sine: never applies; schedule is one of linear",
        ),
        (
            {"weighting=phi": {"x": "1,2"}},
            "weighting=phi: never applies; weighting is not in param",
        ),
        ({"schedule=cosine": {"x": 1}}, "schedule=cosine: x=1: must be an interval, choice or ran"),
        ({"schedule=cosine": {"seed": "1,2"}}, "schedule=cosine: seed=1,2: a search would pick th"),
        ({"schedule=cosine": {"steps": "1,2"}}, "schedule=cosine: steps=1,2: is already varied by"),
        ({"schedule=cosine": "x"}, "schedule=cosine=x: must be settings, each with what it is"),
    ],
)
def test_what_a_search_would_never_vary_is_refused(conditional: dict[str, Any], line: str) -> None:
    params = {"schedule": "linear,cosine", "steps": "range(1,3)"}
    settings = SearchConfig(trials=1, params=params, conditional=conditional)
    with pytest.raises(ConfigError) as caught:
        read_settings([], settings)
    assert str(caught.value).startswith(f"hydra.sweeper.conditional.{line}")


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("choice(1,2)", "choice(1,2)", True),
        ("choice(1,2)", "choice(1,3)", False),
        ("choice(1,2)", "interval(1,2)", False),
        ("int(interval(1,2))", "interval(1,2)", False),
        ("interval(0.1,2)", "tag(log,interval(0.1,2))", False),
        ("interval(0.1,2)", "interval(0.2,3)", True),
    ],
)
def test_a_setting_is_varied_in_one_way_beside_all_choices(
    one: str, other: str, agree: bool
) -> None:
    conditional = {"schedule=linear": {"x": one}, "schedule=cosine": {"y": "1,2", "x": other}}
    settings = SearchConfig(trials=1, params={"schedule": "linear,cosine"}, conditional=conditional)
    if agree:
        read_settings([], settings)
        return
    with pytest.raises(ConfigError) as caught:
        read_settings([], settings)
    assert str(caught.value) == (
        "hydra.sweeper.conditional.schedule=cosine: x is not varied in the same way as with "
        "schedule=linear; give both the same choices, or ranges of the same kind"
    )


def search_file(where: Path, text: str) -> str:
    """A `--config-dir` with a search, `hparams_search=mine`."""
    (where / "mine" / "hparams_search").mkdir(parents=True)
    (where / "mine/hparams_search/mine.yaml").write_text(f"# @package _global_\n# mine\n{text}")
    return "--config-dir=mine"


def test_a_search_without_trials_or_ranges_is_refused(command: Command) -> None:
    own = search_file(
        command.where, "hydra: {sweeper: {params: {weighting: 'choice(uniform,phi)'}}}\n"
    )
    for mode in (["-m"], []):
        assert command(own, *mode, "hparams_search=mine", "seed=0") == 1
        said = "hydra.sweeper.trials=0: must be at least 1 to search weighting; for a grid, leave"
        assert command.err.startswith(f"error: {said if mode else 'hparams_search: a search is a'}")
    assert command("-m", "hydra.sweeper.trials=3") == 1
    assert command.err.startswith("error: hydra.sweeper.trials=3: nothing is varied; give a range")


def test_the_best_trial_is_run_on_the_test_split_by_the_command_that_is_shown(
    command: Command,
) -> None:
    own = search_file(
        command.where,
        "defaults: [{override /objective: dapo}]\n"
        "optimizer: {lr: 3.0e-05}\n"
        "hydra: {sweeper: {trials: 1, params: {weighting: 'choice(uniform,phi)'}}}\n",
    )
    few = [word for word in command.small if word != "evaluation=quick"]
    typed = ["hparams_search=mine", "evaluation=selection", *few, "schedule=linear"]
    assert command(own, "-m", *typed, "hydra.sweep.dir=s", own=False) == 0, command.err
    said = command.out.strip().splitlines()[-1]
    words = shlex.split(said.partition("on the test split: ")[2])
    assert words[:5] == ["python", "-m", "chord.train", "--config-dir", "mine"]
    assert command("--config-dir=mine", *words[5:], "hydra.run.dir=r", own=False) == 0, command.err
    assert "test/target_accuracy" in (command.where / "r" / "evaluations.jsonl").read_text()
    trial, run = (OmegaConf.load(command.where / path / "config.yaml") for path in ("s/0", "r"))
    assert run.evaluation.test
    assert run.optimizer.lr == trial.optimizer.lr == 3e-5
    assert run.objective == trial.objective


def test_without_optuna_it_says_what_to_install(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chord.sweep.search.find_spec", lambda name: None)
    assert command(*SEARCH) == 1
    assert command.err.endswith("needs Optuna; pip install 'optuna>=4.5'\n")


def test_ranges_and_choices_are_read_as_hydra_has_them() -> None:
    assert dimension("a.b=interval(0,1.5)") == Range(0, 1.5)
    assert dimension("a=int(interval(1,5))") == Range(1, 5, whole=True)
    assert dimension("a=tag(log,interval(1e-5,1e-3))") == Range(1e-5, 1e-3, log=True)
    assert dimension("a=range(1,4)") == dimension("a=1,2,3") == Choice(("1", "2", "3"))
    assert dimension("a=3") is None
    with pytest.raises(ConfigError, match=r"^a=glob\(\*\): can't be searched"):
        dimension("a=glob(*)")


def test_a_setting_beside_a_choice_is_searched_only_there() -> None:
    settings = SearchConfig(
        trials=1,
        params={"schedule": "choice(linear,constant)", "steps": 3, "x": "interval(0.0,1.0)"},
        conditional={"schedule=constant": {"schedule.value": "interval(0.1,0.9)"}},
    )
    fixed, space, conditional = read_settings(["x=.5"], settings)
    assert fixed == ["steps=3", "x=.5"]
    assert space == {"schedule": Choice(("linear", "constant"))}
    assert conditional == {"schedule=constant": {"schedule.value": Range(0.1, 0.9)}}
    assert choose(space, conditional, lambda name, d: d.ends()[-1]) == {
        "schedule": "constant",
        "schedule.value": "0.9",
    }
    # Both schedules and both ends, the first choice for what is left open.
    assert corners(space, conditional) == [
        {"schedule": "linear"},
        {"schedule": "constant", "schedule.value": "0.1"},
        {"schedule": "constant", "schedule.value": "0.1"},
        {"schedule": "constant", "schedule.value": "0.9"},
    ]
    only = read_settings(["schedule=constant"], settings)
    assert only[2] == {"schedule=constant": {"schedule.value": Range(0.1, 0.9)}}
    assert choose(only[1], only[2], lambda name, d: d.ends()[0])["schedule.value"] == "0.1"


@pytest.mark.slow
def test_every_end_of_the_shipped_search_can_be_run() -> None:
    from hydra import compose

    from chord.config.composing import reading_conf

    with reading_conf():
        cfg = compose("train", ["hparams_search=alpha_optuna"], return_hydra_config=True)
    sweeper = cfg.hydra.sweeper
    settings = SearchConfig(
        trials=1, params=dict(sweeper.params), conditional=dict(sweeper.conditional)
    )
    fixed, space, conditional = read_settings(["hparams_search=alpha_optuna"], settings)
    assert len(conditional) == len(settings.conditional)
    for chosen in corners(space, conditional):
        config = parse(
            compose_config(*fixed, *(f"{name}={value}" for name, value in chosen.items())),
            TrainConfig,
        )
        assert not config.evaluation.test
