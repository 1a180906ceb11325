"""The evaluation of a model that belongs to no run, with settings as `chord.train` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf, flag_override

from chord.config.composing import checked, compose_typed, reading_conf
from chord.config.consistency import check_amounts
from chord.config.overrides import given, parsed, setting
from chord.config.root import EvaluateConfig, TrainConfig
from chord.config.schemas import schema_names
from chord.data.jsonl import FilesConfig
from chord.errors import ConfigError
from chord.io.contents import mark
from chord.io.printing import say
from chord.io.reading import printable
from chord.io.signs import Signs
from chord.run.evaluated import Evaluated, digest_of_asked
from chord.run.summary import measures, shown_value

if TYPE_CHECKING:
    from chord.evaluation.report import Report

GROUPS = ("model", "data", "reward", "trainer")
"""What is chosen without a run, which otherwise has them."""
NOTHING_TRAINED = ("teacher=none", "schedule=rl_only", "tracking=off")


def words_alone(words: Sequence[str]) -> list[str]:
    """Those of the words that choose or set one of `GROUPS`."""
    found = [(word, parsed(word)) for word in words]
    return [
        word
        for word, override in found
        if override is not None and override.key_or_group.partition(".")[0] in GROUPS
    ]


def refuse_unchosen(words: Sequence[str]) -> list[str]:
    """The words; raises ConfigError for a setting of a group in which nothing is chosen."""
    alone = words_alone(words)
    chosen = {word.lstrip("+").partition("=")[0] for word in alone}
    for word in alone:
        group, dot, _ = word.lstrip("+~").partition("=")[0].partition(".")
        if dot and group not in chosen:
            raise ConfigError(
                f"{word}: is for the evaluation of a model without a run, and needs "
                f"{group}=OPTION; a run has its own settings"
            )
    return list(words)


def settings_alone(
    config: EvaluateConfig, words: Sequence[str]
) -> tuple[TrainConfig, dict[str, Any]]:
    """The configuration that a model is evaluated with, and its reward as it is saved.

    Raises ConfigError where something is missing, or would be ignored.
    """
    chosen = {word.lstrip("+").partition("=")[0] for word in words}
    if "model" not in chosen:
        raise ConfigError(f"{words[0]}: needs model=OPTION; without one, a run has its own")
    for name, value in {"run": config.run, "checkpoint": config.checkpoint}.items():
        if value is not None:
            raise ConfigError(f"{name}={value}: is of a run, and {words[0]} of none; give one")
    asked = []
    if config.problems is not None:
        if (option := given(words).get("data", "jsonl")) != "jsonl":
            raise ConfigError(
                f"problems={config.problems}: is read as data=jsonl; leave out data={option}"
            )
        own = [] if "data" in chosen else ["data=jsonl"]
        asked = [*own, setting("data.problems", config.problems), "data.validation=0"]
    elif "data" not in chosen:
        raise ConfigError(
            f"{words[0]}: needs problems=FILE, or data=OPTION with its own test split"
        )
    # Within a command of Hydra's, it reads what that command does.
    with nullcontext() if GlobalHydra.instance().is_initialized() else reading_conf():
        typed = [*NOTHING_TRAINED, *asked[:-2], *words, *asked[-2:]]
        cfg = compose_typed(typed)
        with flag_override(cfg, ["struct", "readonly"], False):
            found = checked(cfg, typed)
    if config.problems is not None:
        assert isinstance(found.data, FilesConfig)
        # It loads numpy, which takes a moment.
        from chord.data.asked import AskedConfig

        values = {each.name: getattr(found.data, each.name) for each in fields(found.data)}
        found.data = AskedConfig(**values)
    reward: Any = OmegaConf.to_container(cfg.reward, resolve=True)
    modules = {name: mark(content) for name, content in found.reward.contents().items()}
    option = schema_names(cfg)["reward"]
    return found, {"option": option, **reward, "modules": modules}


def evaluate_alone(config: EvaluateConfig, words: Sequence[str]) -> Report:
    """Evaluate a model, print its scores, and save them if `to` says where."""
    # Here and below: torch takes seconds to load; mistakes in arguments are said before.
    import torch
    from rich.console import Console

    from chord.data.lengths import OverlongError
    from chord.evaluation.progress import shown_progress
    from chord.run.build import evaluate_as, fit_data, open_data, placed, prepare_reward

    alone, reward = settings_alone(config, words)
    alone.evaluation = config.evaluation
    check_amounts(config.evaluation, alone.data)
    if config.to is None:
        say("the evaluation is only printed; to=DIR saves it")
    torch.set_num_threads(config.threads or alone.threads)
    signs = Signs("loading the data and the model")
    with signs.shown(), open_data(alone) as data:
        policy = alone.model.build()
        try:
            fit_data(alone, data, policy)
        except OverlongError as error:
            if "data" in given(words):
                raise
            raise ConfigError(
                f"problems={config.problems}: {error.fault}; data=jsonl data.overlong=drop leaves "
                "them out"
            ) from error
        prepare_reward(alone, data)
        with (
            placed(alone, alone.trainer.device(), policy),
            shown_progress("model", Console(), signs) as on_progress,
        ):
            report = evaluate_as(
                alone,
                policy,
                data,
                split=config.split,
                alpha=0.0,
                samples=config.samples,
                temperature=config.temperature,
                on_progress=on_progress,
            )
        asked = digest_of_asked(data, config.evaluation, config.split)
    for line in scores(report, config):
        say(printable(line))
    if config.to is None:
        say("not saved; to=DIR saves it")
        return report
    files = alone.model.files()
    model = files.get("model.start", files.get("model.path", ""))
    found = Evaluated(config, reward, asked, None, 0, report, None, model)
    path, _ = found.save(None, (), Path(config.to))
    say(f"saved: {path}")
    return report


def scores(report: Report, config: EvaluateConfig) -> list[str]:
    """The lines of the scores, with the number of problems."""
    known = {name: value for name, value in report.metrics.items() if "balance" not in name}
    lines = [
        f"{measure.label:<44} {shown_value(measure, known[measure.key]):>9}"
        for measure in measures(known, 0.0, config.temperature)
        if measure.key in known and shown_value(measure, known[measure.key]) != "-"
    ]
    cut = sum(each.cut_off for each in report.answers)
    total = len(report.answers)
    return [*lines, f"{'target: greedy responses without an end':<44} {f'{cut} of {total}':>9}"]
