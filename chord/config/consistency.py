"""Settings that contradict each other, each refused in one sentence that says what to do."""

from __future__ import annotations

import warnings

from chord.config.lineage import check_lineage
from chord.config.root import TrainConfig
from chord.config.schemas import registered_name
from chord.data.base import SPLITS, Data, DataConfig
from chord.distributed.launch import first
from chord.errors import ConfigError
from chord.evaluation.settings import Evaluation
from chord.losses.targets import ReverseKl
from chord.models.base import NoTeacher
from chord.models.hf.config import HFModel, HFTeacher
from chord.models.hf.source import find


def check(config: TrainConfig) -> None:
    """Refuse what can't be run, or would be ignored; raises `ConfigError`."""
    check_source(config)
    check_expert_stream(config)
    check_teacher(config)
    check_pairing(config)
    check_gate(config)
    check_scale(config)
    check_target(config)
    check_amounts(config.evaluation, config.data)
    check_validation(config)
    config.trainer.keep.check(config.evaluation.every, validates=config.data.validates)


def check_source(config: TrainConfig) -> None:
    """What a run takes from another one is looked up in that run."""
    run, start = (getattr(config.model, name, None) for name in ("run", "start"))
    check_lineage(
        config.fork,
        run,
        config.lineage,
        config.checkpoint,
        fresh_optimizer=config.fresh_optimizer,
    )
    if start is not None and run is None:
        raise ConfigError(f"model.start={start}: is looked up in a run; give model.run=RUN")


def check_training(config: TrainConfig) -> None:
    """Refuse what can be asked, but not trained, or not on this machine; raises ConfigError."""
    config.trainer.check_machine()
    check_trainable(config)
    config.tracking.check_environment()


def check_trainable(config: TrainConfig) -> None:
    """Refuse what can be asked, but not trained on any machine; raises ConfigError."""
    config.model.check_trained()
    objection = refused_at_first(config)
    if objection is not None and config.resume is None:
        raise ConfigError(objection)
    if objection is not None and first():
        # A run that was begun when this was not refused may end as it began.
        warnings.warn(objection, stacklevel=2)


def refused_at_first(config: TrainConfig) -> str | None:
    """What is refused of a new run, in a sentence, and said of one that goes on; None: nothing."""
    return stale_samples(config) or without_effect(config) or config.trainer.unread


def without_effect(config: TrainConfig) -> str | None:
    """A setting that nothing reads and that has another value than its default; None: none."""
    for setting, instead in unread(config).items():
        group, _, name = setting.partition(".")
        options = getattr(config, group)
        value, default = getattr(options, name), type(options).__dataclass_fields__[name].default
        if value != default:
            return f"{setting}={value}: {instead}"
    return None


def unread(config: TrainConfig) -> dict[str, str]:
    """Settings that nothing reads because of what is chosen, with what to do.

    Not those that wait for a number above 0, for a branch that runs or for a model that is asked:
    sweeps and presets go through these, and docs/refusals.md says what they wait for.
    """
    rollout = config.rollout
    found = {
        "off_policy.apply_to": "must be sft; the policy's own tokens are scaled by "
        "weighting.apply_to=both alone"
    }
    lengths = ("rollout.prefix_initial", "rollout.prefix_final", "rollout.prefix_until")
    losses = ("rollout.prefix_loss", "rollout.prefix_coef")
    if rollout.prefix == "none":
        instead = (
            "no response has a prefix with rollout.prefix=none; use rollout.prefix=binomial, "
            "uniform or staged, or rollout=native"
        )
        found |= dict.fromkeys((*losses, *lengths, "rollout.prefix_samples"), instead)
    elif rollout.prefix != "uniform":
        found["rollout.prefix_samples"] = f"needs rollout.prefix=uniform, not {rollout.prefix}"
    if rollout.prefix == "staged":
        instead = (
            "rollout.prefix=staged has shares of its own; use rollout.prefix=binomial or uniform, "
            "or rollout=trapo"
        )
        found |= dict.fromkeys(lengths, instead)
    if rollout.engine == "native" and not rollout.correct_native:
        instead = "needs rollout.correct_native=true with rollout.engine=native"
        found["rollout.correction_threshold"] = found["rollout.correction_cap"] = instead
    if config.trainer.on_nonfinite == "stop":
        found["trainer.skip_limit"] = "needs trainer.on_nonfinite=skip, not stop"
    models: tuple[tuple[str, object], ...] = (("model", config.model), ("teacher", config.teacher))
    for group, model in models:
        if isinstance(model, HFModel | HFTeacher) and not find(group, model.path).on_hub:
            found[f"{group}.revision"] = (
                f"{group}.path={model.path} is on this machine and has none; use "
                f"{group}.revision=null"
            )
    return found


def check_amounts(evaluation: Evaluation, data: DataConfig) -> None:
    """Refuse an evaluation on more than the data hold out."""
    evaluation.check_amounts(data.held_out_sizes)


def check_validation(config: TrainConfig) -> None:
    """Without validation, the last report is on the test split."""
    if not config.data.validates and not config.evaluation.test:
        raise ConfigError(
            "data.validation=0: evaluation.test=false reports on the validation split, and there "
            "is none; use evaluation.test=true"
        )


def may_imitate(config: TrainConfig) -> bool:
    """Whether alpha is ever above 0, as the schedule itself says."""
    return any(alpha > 0 for alpha in config.schedule.values(config.steps))


def reads_teacher(config: TrainConfig) -> dict[str, str]:
    """The settings that read the teacher's distribution, with what else could be chosen."""
    reads: dict[str, str] = {}
    for name, weighting in (("weighting", config.weighting), ("off_policy", config.off_policy)):
        used = name == "weighting" or config.rollout.needs_expert_answers
        if used and weighting.needs_teacher:
            option = registered_name("weighting", weighting)
            setting = name if name == "weighting" else f"weighting@{name}"
            reads[f"{setting}={option}"] = f"{name}.expert=one_hot"
    kl = config.objective.kl
    if kl.coef > 0 and kl.to == "teacher":
        reads["objective.kl.to=teacher"] = "objective.kl.to=reference"
    target = config.target
    if target.needs_teacher and target.cache_path is None:
        reads[f"target={registered_name('target', target)}"] = "target=tokens"
    return reads


def unread_teacher(config: TrainConfig) -> str | None:
    """The teacher that was chosen and that nothing reads, in a sentence; None: none.

    It is not refused: a sweep chooses one teacher for all of its jobs.
    """
    path = getattr(config.teacher, "path", None)
    if path is None or reads_teacher(config):
        return None
    return f"teacher.path={path}: nothing reads the teacher's distribution, so it is not loaded"


def reads_reference(config: TrainConfig) -> bool:
    """Whether anything compares the policy with the model it started from."""
    kl, inside = config.objective.kl, config.rollout.needs_expert_answers
    return (
        config.weighting.needs_reference
        or (inside and config.off_policy.needs_reference)
        or (kl.coef > 0 and kl.to == "reference")
    )


def stale_samples(config: TrainConfig) -> str | None:
    """What would take answers for samples of the policy that has learned from them since.

    Losses without an importance ratio are then biased. Not those that are exact at each token, on
    whatever answers: an entropy, a divergence over the vocabulary. Nor k2 and k3, which GRPO and
    REINFORCE++ add without a ratio to several updates on a batch. None where nothing would.
    """
    updates, target = config.rollout.updates, config.target
    if updates == 1 and config.sft_optimizer is None:
        return None  # the policy learns once from a batch, and not before it has been read

    def ever(*branches: str) -> bool:
        """Whether a step may have all these branches."""
        # A long run has many steps, and most often the first will do.
        shares = map(config.mix, config.schedule.values(config.steps))
        return any(all(getattr(each, branch) > 0 for branch in branches) for each in shares)

    distils = target.own_share > 0 and target.on_policy
    again = "so all updates on a batch but the first would be biased"
    if updates > 1 and config.objective.on_policy and (config.gate.needs_experts or ever("rl")):
        return (
            f"rollout.updates={updates}: objective={registered_name('objective', config.objective)}"
            f" has no importance ratio, {again}; use objective=grpo or objective=cispo, with the "
            "same advantage, or rollout.updates=1"
        )
    if updates > 1 and distils and ever("sft"):
        return (
            f"rollout.updates={updates}: target.estimator=sampled has no importance ratio, {again};"
            " use target.estimator=exact or rollout.updates=1"
        )
    if config.sft_optimizer is not None and distils and ever("sft", "rl"):
        return (
            f"optimizer@sft_optimizer={registered_name('optimizer', config.sft_optimizer)}: its "
            "step comes after RL's, when target.estimator=sampled would be biased; use "
            "target.estimator=exact or optimizer@sft_optimizer=null"
        )
    return None


def imitates_experts(config: TrainConfig) -> bool:
    """Whether the SFT branch ever runs on expert pairs."""
    return may_imitate(config) and config.target.own_share != 1


def check_experts(config: TrainConfig, data: Data) -> None:
    """Data that were to have expert responses may turn out to have none."""
    if len(data.expert_pairs) == 0 and (
        imitates_experts(config) or config.data.pairing == "paired"
    ):
        raise ConfigError(
            "data.expert=null: the data have no expert responses of their own; name a file, or use "
            "schedule=rl_only with data.pairing=all"
        )


def check_answers_known(config: TrainConfig, data: Data) -> None:
    """Only a run that imitates and does nothing else needs no right answers."""
    if data.unanswered is not None and scores_answers(config):
        raise ConfigError(
            f"{data.unanswered}; a run needs right answers unless it is of SFT alone: "
            "schedule=sft_only"
        )


def scores_answers(config: TrainConfig) -> bool:
    """Whether any step samples responses, which are scored."""
    if config.schedule.needs_rollouts or config.gate.needs_experts or config.target.own_share > 0:
        return True
    return any(config.mix(alpha).rl > 0 for alpha in config.schedule.values(config.steps))


def check_expert_stream(config: TrainConfig) -> None:
    """The SFT branch needs expert pairs wherever it runs on them."""
    if not imitates_experts(config):
        return
    batch = "data.expert_batch=0" if config.data.expert_batch == 0 else None
    for setting in (batch, config.data.lacks_experts):
        if setting is not None:
            name, _, value = setting.partition("=")
            instead = f"{name}>=1" if value == "0" else f"{name}=FILE"
            raise ConfigError(
                f"{setting}: the schedule sets alpha > 0, so the SFT branch needs expert pairs; "
                f"use {instead} or schedule=rl_only"
            )


def check_teacher(config: TrainConfig) -> None:
    """What compares with a teacher needs one, which would answer as the expert does."""
    departs = config.data.teacher_departs
    for setting, instead in reads_teacher(config).items():
        if departs is not None and not setting.startswith("objective.kl"):
            raise ConfigError(
                f"{departs}: {setting} takes the teacher's distribution for the expert's, and this "
                f"expert responses in another style; use {instead}"
            )
    if not isinstance(config.teacher, NoTeacher):
        return
    for setting, instead in reads_teacher(config).items():
        raise ConfigError(
            f"teacher=none: {setting} reads the expert's distribution; use teacher=tiny or "
            f"{instead}"
        )


def check_pairing(config: TrainConfig) -> None:
    """What puts expert responses beside the RL problems needs them there."""
    lacks = config.data.lacks_experts
    if config.data.pairing == "paired" and lacks is not None:
        raise ConfigError(f"data.pairing=paired: needs expert responses, and {lacks} leaves none")
    if config.data.pairing == "paired":
        return
    readers = {
        f"gate={registered_name('gate', config.gate)}": config.gate.needs_experts,
        f"rollout.expert_in_group={config.rollout.expert_in_group}": config.rollout.expert_in_group
        > 0,
        f"rollout.prefix={config.rollout.prefix}": config.rollout.prefix != "none",
    }
    for setting, needs in readers.items():
        if needs:
            raise ConfigError(
                f"data.pairing={config.data.pairing}: {setting} needs the expert's response to "
                "each RL problem; use data.pairing=paired"
            )


def check_gate(config: TrainConfig) -> None:
    """A gate imitates the expert's responses to the problems it judges."""
    if config.gate.needs_experts and config.target.own_share > 0:
        raise ConfigError(
            f"target={registered_name('target', config.target)}: "
            f"gate={registered_name('gate', config.gate)} imitates the expert's responses, not the "
            "policy's own; use target=tokens or target=soft"
        )


def check_scale(config: TrainConfig) -> None:
    """A schedule that compares the reward with a share needs rewards on the scale of scores."""
    if "reward" in config.schedule.needs and config.reward.any_scale is not None:
        schedule = registered_name("schedule", config.schedule)
        raise ConfigError(
            f"{config.reward.any_scale}: schedule={schedule} compares the mean reward with "
            "schedule.tau, which is within [0, 1]; use another schedule, or rewards within [0, 1] "
            "and reward.right_from=null"
        )


def check_target(config: TrainConfig) -> None:
    """The sampled estimator is of the distribution that the samples came from."""
    target, temperature = config.target, config.rollout.temperature
    sampled = isinstance(target, ReverseKl) and target.estimator == "sampled"
    if sampled and isinstance(target, ReverseKl) and target.temperature != temperature:
        raise ConfigError(
            f"target.temperature={target.temperature}: must be rollout.temperature={temperature} "
            "with target.estimator=sampled; or use target.estimator=exact"
        )


def overlap_report(data: Data) -> str:
    """How many of the expert's problems occur elsewhere too, in a line for the start of a run.

    Raises `ConfigError` where one of them is held out: its score would be no measure any more.
    """
    counts = data.overlap()
    for split in SPLITS:
        if counts[split]:
            raise ConfigError(
                f"data: {counts[split]} of {len(data.expert_pairs)} expert problems are also in "
                f"{split}; there must be none"
            )
    shared = f", {counts['rl']} of them to problems of RL" if "rl" in counts else ""
    return f"expert responses for training: {len(data.expert_pairs)}{shared}"
