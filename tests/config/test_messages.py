"""Wrong settings are named in one line, with the value and with what is allowed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from conftest import compose_config
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from chord.config.foreign_names import NAMES, meant
from chord.config.messages import one_line
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError, check_choice, nearest, suggest


def parsed(*overrides: str) -> TrainConfig:
    return parse(compose_config(*overrides), TrainConfig)


def error_line(*overrides: str) -> str:
    with pytest.raises((ConfigError, HydraException, OmegaConfBaseException)) as caught:
        parse(compose_config(*overrides), TrainConfig)
    return one_line(caught.value)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["schedule=cosin"], ["schedule=cosin", "'cosine'", "linear"]),
        (["shedule=cosine"], ["shedule=cosine", "'schedule'"]),
        (["schedule=cosine", "schedule.inital=1"], ["schedule.inital=1", "'initial'", "final"]),
        (["stepz=3"], ["stepz=3", "'steps'"]),
        (["+foo=1"], ["foo=1", "no such setting"]),
        (["+schedule.foo=1"], ["schedule.foo=1", "allowed: peak"]),
        (["++weighting.normalise=mean1"], ["weighting.normalise=mean1", "'normalize'"]),
        (["++objective.kl.coeff=1"], ["objective.kl.coeff=1", "'coef'"]),
        (["steps=many"], ["steps=many", "a whole number"]),
        (["schedule.peak=abc"], ["schedule.peak=abc", "a number"]),
        (["schedule.peak=-0.1"], ["schedule.peak=-0.1", "[0, 1]"]),
        (["rollout.group_size=1"], ["rollout.group_size=1", "at least 2"]),
        (["weighting=margin", "teacher=none"], ["teacher=none", "margin", "one_hot"]),
        (["data.expert_batch=0"], ["data.expert_batch=0", "alpha > 0"]),
        (["objective.kl.estimator=k1", "objective.kl.coef=.1"], ["kl.estimator=k1", "reward"]),
        (["objective.dual_clip=1"], ["objective.dual_clip=1", "> 1"]),
        (["objective.delta=1.2"], ["objective.delta=1.2", "> 1 + objective.clip_high = 1.2"]),
        (["objective.entropy_coef=-1"], ["objective.entropy_coef=-1", ">= 0"]),
        (["objective.overlong=drop"], ["objective.overlong=drop", "keep, mask"]),
        (["objective.resample=-1"], ["objective.resample=-1", ">= 0"]),
        (["objective=cispo", "objective.clip_low=.1"], ["objective.clip_low", "ratio_max"]),
        (["weighting.normalize=mean2"], ["weighting.normalize=mean2", "none, mean1"]),
        (["experiment=chord_my"], ["experiment=chord_my", "'chord_mu'"]),
        (["optimizer.lr=???"], ["optimizer.lr", "no value"]),
        (["+trainer.extra.max_stepz=3"], ["trainer.extra.max_stepz=3", "no such", "profiler"]),
        (["trainer.extra.profiler=simple"], ["+trainer.extra.profiler=simple"]),
        (["schedule=step", "schedule.phase.lr=[1]"], ["schedule.phase.lr=[1", "two"]),
        (["trainer.devices=2"], ["trainer.devices=2", "trainer=ddp or trainer=fsdp"]),
        (["trainer.devices=0"], ["trainer.devices=0", "at least 1"]),
        (["trainer.num_nodes=2"], ["trainer.num_nodes=2", "trainer=ddp"]),
        (["trainer=fsdp", "trainer.devices=1"], ["trainer.strategy=fsdp", "nothing to shard"]),
        (["trainer.strategy=deepspeed"], ["auto, ddp, fsdp", "its engine", "strategy=fsdp"]),
        (["trainer.accelerator=tpu"], ["trainer.accelerator=tpu", "cpu, gpu, auto"]),
        (["trainer.precision=bf16-true"], ["bf16-mixed", "model.dtype=bfloat16"]),
        (["+trainer.extra.strategy=ddp"], ["trainer.extra.strategy=ddp", "own settings"]),
        (["seed=-1"], ["seed=-1", "within [0, "]),
        (["model.pretraining_seed=3"], ["model.pretraining_seed=3", "one of 0, 1, 2"]),
        (["model.pretraining_seed=1", "model.path=a"], ["pretraining_seed=1", "model.path=a"]),
        (["data.manner=spoken"], ["data.manner=spoken", "worked, tens_first, direct"]),
        (
            ["data.manner=direct", "weighting=margin"],
            ["data.manner=direct: weighting=margin", "weighting.expert=one_hot"],
        ),
        (["threads=0"], ["threads=0", "within [1, "]),
    ],
)
def test_bad_input_is_one_line_with_setting_value_and_what_is_allowed(
    overrides: list[str], parts: list[str]
) -> None:
    line = error_line(*overrides)
    assert "\n" not in line
    for part in parts:
        assert part in line, line


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        (
            ["schedule=null"],
            "schedule=null: no such option (allowed: cosine, ",
        ),
        (["schedule=1"], "schedule=1: no such option (allowed: chord_mu, "),
        (["schedule={a:1}"], "schedule={a:1}: no such option (allowed: chord_mu, "),
        (["weighting@off_policy=nope"], "weighting@off_policy=nope: no such option (allowed: "),
        (["=3"], "=3: must be SETTING=VALUE"),
        (["steps"], "steps: must be SETTING=VALUE"),
        (["steps="], "steps=: must be a whole number"),
        (["a b=3"], "a b=3: can't be read ("),
        (["resume=~/x"], "resume=~/x: ~ is not your home directory here; use resume=$HOME/x"),
        (["steps=null"], "steps=null: must be a whole number"),
        (["tracking.tags=null"], "tracking.tags=null: must be a list, as in [a,b]"),
        (["trust=maybe"], "trust=maybe: must be true or false"),
        (["resume=[a]"], "resume=[a]: must be a text"),
        (["trainer.extra=1"], "trainer.extra=1: must be settings, as in {a: 1}"),
        (["schedule.peak.x=1"], "schedule.peak.x=1: schedule.peak: must be a number"),
        (["~schedule.peak"], "~schedule.peak: a setting of an option can't be removed"),
        (["~nope"], "~nope: no such setting"),
        (["seed=1,2"], "seed=1,2: several values need -m"),
        (["seed=${oc.env:NOPE}"], "seed=${oc.env:NOPE}: the environment variable NOPE is not set"),
        (["seed=${nope}"], "seed=${nope}: there is no setting nope"),
        (["seed=${seed}"], "seed=${seed}: refers to itself"),
        (["seed=${nope:1}"], "seed=${nope:1}: there is no resolver nope"),
        (["~steps"], "~steps: a setting can't be removed"),
        (["~data"], "~data: can't be left out; data=OPTION chooses another"),
        (["outputs=x"], "outputs=x: no such setting (allowed: "),
        (["lr=1"], "lr=1: no such setting; did you mean 'optimizer.lr'? (allowed: "),
        (["model.lr=1"], "model.lr=1: no such setting; did you mean 'optimizer.lr'? (allowed: "),
        (
            ["max_new_tokens=9"],
            "max_new_tokens=9: no such setting; did you mean 'evaluation.max_new_tokens' or "
            "'rollout.max_new_tokens'? (allowed: ",
        ),
        (["beta=.1"], "beta=.1: no such setting; did you mean 'objective.kl.coef'?"),
        (
            ["reward=my_reward:compute_score"],
            "reward=my_reward:compute_score: no such option; for a function of your own write "
            "reward=function reward.function=my_reward:compute_score",
        ),
        (["reward=reasoning_gym", "reward.tolerance=1"], "reward=reasoning_gym has no reward."),
        (["steps==5"], "steps==5: has two equals signs; write steps=5"),
        (["seed=0,"], "seed=0,: ends in a comma; write seed=0"),
        (["seed=choice()"], "seed=choice(): can't be read (a character is not expected); put quo"),
        (["data=jsonl", "data.problems="], "data.problems=: must be a file, or a list of files"),
        (["data=jsonl", "data.problems=a", "data.test="], "data.test=: must be a file or a share"),
        (
            ["trainer.keep.best=target_accuracy"],
            "trainer.keep.best=target_accuracy: must be a validation metric; did you mean 'val/tar",
        ),
        (
            ["tracking=off", "tracking.mode=online"],
            "tracking=off has no tracking.mode; add tracking=",
        ),
        (
            ["data.min_first=9999", "data.max_first=3000"],
            "data.min_first=9999: must be at most data.",
        ),
        (["hydra.searchpath=[/nope]"], "hydra.searchpath=/nope: no such directory"),
        (["hydra.searchpath=[pkg://nope]"], "hydra.searchpath=pkg://nope: no such package"),
        (
            ["hydra.verbose=nope"],
            "hydra.verbose=nope: must be true, false or the name of an install",
        ),
    ],
)
def test_what_hydra_would_not_name_is_named_with_what_is_allowed(
    mistake: list[str], line: str
) -> None:
    said = error_line(*mistake)
    assert said.startswith(line)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (["+steps=3"], "steps=3"),
        (["+tracking.mode=offline"], "tracking.mode=offline"),
        (["trainer.extra.profiler=simple"], "+trainer.extra.profiler=simple"),
        (["rollout=vllm", "rollout.vllm.a.b=1"], "+rollout.vllm.a.b=1"),
        (["reward=weighted", "reward.parts.x.y=1"], "+reward@reward.parts.x=exact"),
    ],
)
def test_what_is_hinted_at_works(mistake: list[str], hint: str) -> None:
    *before, wrong = mistake
    assert error_line(*mistake).startswith(f"{wrong}: ")
    assert error_line(*mistake).endswith(f" {hint}")
    weight = ["+reward.weights.x=1"] if "reward@" in hint else []
    parsed(*before, hint, *weight)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.prompt_template", "Answer with a number. {problem}"),
        ("data.prompt_template", '{problem} Don\'t "guess", say: x={y}'),
        ("model.system", "Be brief, {and} kind"),
    ],
)
def test_quotes_that_the_shell_removed_are_hinted_at(name: str, text: str) -> None:
    said = error_line("data=jsonl", "model=hf", f"{name}={text}")
    assert said.startswith(f"{name}={text}: can't be read (")
    _, _, hint = said.partition("; the shell removes the outer quotes; write ")
    (argument,) = shlex.split(hint)
    cfg = compose_config("data=jsonl", "model=hf", argument)
    assert OmegaConf.select(cfg, name) == text


def test_a_setting_of_another_option_names_that_option() -> None:
    assert error_line("data.problems=F") == "data=testbed has no data.problems; add data=jsonl"
    assert error_line("schedule=cosine", "schedule.tau=.5").startswith(
        "schedule=cosine has no schedule.tau; add schedule="
    )
    parsed("schedule=reward_gap", "schedule.tau=.5")


def test_a_schema_is_no_option_for_a_preset(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    preset = tmp_path / "experiment" / "mine.yaml"
    preset.write_text("# @package _global_\ndefaults:\n  - /schema/reward/function@reward\n")
    said = error_line(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
    assert said.startswith("reward/function: its values can't be merged into the option that is ch")


def test_a_misspelt_key_in_an_experiment_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    experiment = tmp_path / "experiment" / "mine.yaml"
    for text, parts in [
        ("schedule:\n  vally: 0.3\n", ["schedule.vally", "'valley'"]),
        ("stepz: 3\n", ["stepz", "'steps'"]),
        ("defaults:\n  - override /shedule: cosine\n", ["shedule", "'schedule'"]),
        ("defaults:\n  - override /schedule: cosin\n", ["schedule=cosin", "'cosine'"]),
    ]:
        experiment.write_text("# @package _global_\n# mine\n" + text)
        line = error_line(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
        for part in parts:
            assert part in line, line


def test_names_of_other_libraries_lead_to_settings_that_exist() -> None:
    cfg = compose_config()
    names = [*NAMES, "rollout.num_generations", "objective.epsilon", "optimizer.learning_rate"]
    for name in names:
        assert all(OmegaConf.select(cfg, each) is not None for each in meant(name)), name
        wanted = " or ".join(map(repr, meant(name)))
        assert f"{name}=1: no such setting; did you mean {wanted}?" in error_line(f"{name}=1")


def test_suggestions_name_the_nearest_and_all() -> None:
    assert (
        suggest("cosin", ["linear", "cosine"])
        == "; did you mean 'cosine'? (allowed: linear, cosine)"
    )
    assert suggest("zzz", ["a"]) == " (allowed: a)"
    assert suggest("b", ["a"], ["x.b"]) == "; did you mean 'x.b'? (allowed: a)"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("stpes", "steps"),
        ("Steps", "steps"),
        ("allow-changed", "allow_changed"),
        ("n_steps", "steps"),
        ("temp", "temperature"),
        ("outputs", None),
        ("foo", None),
        ("checkpoints_dir", None),
        ("t", None),
    ],
)
def test_only_a_name_that_is_near_is_suggested(typed: str, meant: str | None) -> None:
    assert nearest(typed, ["fork", "trust", "steps", "allow_changed", "temperature"]) == meant


@pytest.mark.parametrize(
    ("group", "text", "said"),
    [
        (
            "evaluation",
            "defaults: [/schema/schedule/cosine@_here_]",
            "schedule/cosine: an option's file refers to it, but is in the place of options of the "
            "kind Evaluation; begin that file with 'defaults: [/schema/",
        ),
        ("schedule", "initial: 1", "schedule.initial: the file of the option does not say which"),
        ("schedule", "null", "schedule: the file of the option does not say which class it is of"),
    ],
)
def test_a_file_of_another_kind_is_no_option(
    group: str, text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / group).mkdir()
    (tmp_path / group / "evil.yaml").write_text(text)
    assert error_line(f"hydra.searchpath=[file://{tmp_path}]", f"{group}=evil").startswith(said)


def test_of_many_names_the_nearest_are_shown_and_where_all_are() -> None:
    names = [f"{first}{second}" for first in "abcde" for second in "xyz"]
    assert suggest("eyy", names, where="--help lists all") == (
        "; did you mean 'ey'? (allowed: cy, dy, ex, ey, ez and 10 more; --help lists all)"
    )
    assert "more" not in suggest("eyy", names[:12], where="--help lists all")
    with pytest.raises(ConfigError, match=r"^a=q: must be one of ax, ay, az, bx, by and 10 more$"):
        check_choice("a", "q", names)
