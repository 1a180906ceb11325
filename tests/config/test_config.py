"""The registry, the YAML options and the checks between them and a run."""

from __future__ import annotations

import re
import shlex
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from conftest import compose_anew, compose_config
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pairs.factors import schema_of
from rows.needs import ELSEWHERE, needs_package, with_needs

from chord.config.composing import composed
from chord.config.location import CONF_DIR
from chord.config.messages import one_line
from chord.config.parse import parse
from chord.config.registry import SCHEMAS
from chord.config.root import TrainConfig
from chord.errors import ConfigError, check_choice, nearest, suggest
from chord.losses import Cispo, Grpo, Gspo, Objective, Reinforce

OPTIONS = [
    (group, path.stem) for group in SCHEMAS for path in sorted((CONF_DIR / group).glob("*.yaml"))
]
PRESETS = sorted(path.stem for path in (CONF_DIR / "experiment").glob("*.yaml"))


# Values that a YAML file chooses for the test bed and its runs; the class has the paper's.
CHOSEN = {
    ("schedule", "warmup"),
    ("schedule", "decay"),
    ("gate", "size"),
    ("rollout", "max_new_tokens"),
    ("rollout", "total_steps"),
}


def parsed(*overrides: str) -> TrainConfig:
    return parse(compose_config(*overrides), TrainConfig)


def error_line(*overrides: str) -> str:
    with pytest.raises((ConfigError, HydraException, OmegaConfBaseException)) as caught:
        parse(compose_config(*overrides), TrainConfig)
    return one_line(caught.value)


def schema(group: str, option: str) -> type:
    return SCHEMAS[group][schema_of(group, option)]


@pytest.mark.parametrize(
    "overrides",
    [
        "",
        "experiment=chord_phi schedule=cosine schedule.final=.1 seed=3",
        "+trainer.extra.max_time=3 ~trainer.extra.max_time objective=rloo advantage=grpo",
        "reward=weighted +reward@reward.parts.brief=length +reward.weights.brief=.5",
        "weighting@off_policy=rlplus optimizer@sft_optimizer=adamw sft_optimizer.lr=3e-3",
        "data=sums data.task_config.max_terms=3 ++rollout.vllm={a:[1,2]}",
    ],
)
def test_remembered_options_compose_as_hydra_does(overrides: str) -> None:
    words = overrides.split()
    for _ in range(2):
        remembered, anew = compose_config(*words), compose_anew(*words)
        assert remembered == anew
        assert OmegaConf.to_yaml(remembered) == OmegaConf.to_yaml(anew)
        assert OmegaConf.is_struct(remembered) == OmegaConf.is_struct(anew) is True
        types = {group: OmegaConf.get_type(remembered[group]) for group in SCHEMAS}
        assert types == {group: OmegaConf.get_type(anew[group]) for group in SCHEMAS}


@pytest.mark.parametrize(
    "words", ["schedule=cosin", "schedule.inital=1", "steps=a", "~seeds", "a=["]
)
def test_what_is_refused_is_refused_as_by_hydra(words: str) -> None:
    lines = []
    for composing in (compose_config, compose_anew):
        with pytest.raises((HydraException, OmegaConfBaseException)) as caught:
            composing("objective=rloo", words)
        lines.append((type(caught.value), str(caught.value)))
    assert lines[0] == lines[1]


def test_every_schema_has_an_option_and_every_option_a_schema() -> None:
    used = {f"{group}/{schema_of(group, option)}" for group, option in OPTIONS}
    known = {f"{group}/{name}" for group, names in SCHEMAS.items() for name in names}
    assert used == known


def test_every_file_opens_with_one_comment_line() -> None:
    for path in CONF_DIR.rglob("*.yaml"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("# @")]
        assert re.match(r"# \S", lines[0]), f"{path} says nothing about itself"


# `test_every_option_takes_its_steps` has the others.
@pytest.mark.parametrize(
    ("group", "option"),
    [each for each in OPTIONS if (word := "=".join(each)) in ELSEWHERE or needs_package(word)],
)
def test_every_option_that_takes_no_step_here_composes_and_parses(group: str, option: str) -> None:
    config = parsed(*with_needs(f"{group}={option}").split())
    assert type(getattr(config, group)) is schema(group, option)


def crossed(preset: str, share: slice) -> None:
    """Compose a share of all schedules and weightings over a preset; begin where others do not."""
    schedules = [option for group, option in OPTIONS if group == "schedule"]
    weightings = [option for group, option in OPTIONS if group == "weighting"]
    given = with_needs(f"experiment={preset}").split()
    count, first = max(len(schedules), len(weightings)), 2 * PRESETS.index(preset)
    for number in range(count)[share]:
        schedule = schedules[(first + number) % len(schedules)]
        weighting = weightings[(first + number) % len(weightings)]
        config = parsed(*given, f"schedule={schedule}", f"weighting={weighting}")
        assert type(config.schedule) is schema("schedule", schedule)
        assert type(config.weighting) is schema("weighting", weighting)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_schedule_and_weighting_goes_over_presets(preset: str) -> None:
    crossed(preset, slice(2))  # 21 presets: each option meets two of them or more


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_every_schedule_and_weighting_goes_over_every_preset(preset: str) -> None:
    crossed(preset, slice(2, None))


def test_advantage_follows_the_objective_unless_it_is_given() -> None:
    assert parsed("objective=reinforce").advantage.baseline == "batch"
    assert parsed("objective=reinforce", "advantage=grpo").advantage.baseline == "group"
    # Through a preset, and from a file that starts from another one.
    assert parsed("experiment=srft", "advantage=grpo").advantage.baseline == "group"
    assert parsed("experiment=rl", "objective=unified").advantage.baseline == "batch"


@pytest.mark.parametrize(
    ("option", "objective", "advantage"),
    [
        ("grpo", Grpo(), ("group", "group")),
        ("reinforce", Reinforce(), ("batch", "none")),
        ("dr_grpo", Grpo(aggregation="constant"), ("group", "none")),
        ("dapo", Grpo(clip_high=0.28, overlong="mask", resample=3), ("group", "group")),
        ("gspo", Gspo(aggregation="sequence", clip_low=3e-4, clip_high=4e-4), ("group", "group")),
        ("cispo", Cispo(ratio_max=2.0), ("group", "group")),
        ("rloo", Reinforce(), ("rloo", "none")),
        ("reinforce++", Grpo(), ("group", "whiten")),
    ],
)
def test_named_objectives_are_what_their_papers_say(
    option: str, objective: Objective, advantage: tuple[str, str]
) -> None:
    config = parsed(f"objective={option}")
    assert config.objective == objective
    assert (config.advantage.baseline, config.advantage.scale) == advantage


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


def test_zero_expert_pairs_are_fine_where_alpha_is_zero() -> None:
    assert parsed("data.expert_batch=0", "schedule=rl_only").data.expert_batch == 0


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


@pytest.mark.parametrize(
    ("group", "option"), [each for each in OPTIONS if each[1] in SCHEMAS[each[0]]]
)
def test_an_option_named_like_its_class_has_the_defaults_of_the_class(
    group: str, option: str
) -> None:
    words = with_needs(f"{group}={option}").split()
    config, typed = getattr(parsed(*words), group), {word.partition("=")[0] for word in words}
    for item in fields(config):
        chosen = (group, item.name) in CHOSEN or f"{group}.{item.name}" in typed
        if item.default is not MISSING and not chosen:
            assert getattr(config, item.name) == item.default, f"{group}.{item.name}"


def test_what_takes_no_step_goes_on_with_no_run() -> None:
    with pytest.raises(
        ConfigError, match=r"^resume=outputs/x: only chord.train goes on with a run"
    ):
        composed(["resume=outputs/x"])


@pytest.mark.parametrize("setting", ["model.path", "teacher.path"])
def test_an_empty_path_is_no_choice_of_the_shipped_model(setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{setting}=: must name a checkpoint, or be null"):
        composed([f"{setting}="])
