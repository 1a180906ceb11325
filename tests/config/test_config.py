"""The registry, the YAML options and the checks between them and a run."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields

import pytest
from conftest import compose_anew, compose_config
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pairs.factors import schema_of
from rows.needs import ELSEWHERE, needs_package, with_needs

from chord.config.composing import composed
from chord.config.location import CONF_DIR
from chord.config.parse import parse
from chord.config.registry import SCHEMAS
from chord.config.root import TrainConfig
from chord.errors import ConfigError
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


def test_zero_expert_pairs_are_fine_where_alpha_is_zero() -> None:
    assert parsed("data.expert_batch=0", "schedule=rl_only").data.expert_batch == 0


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
