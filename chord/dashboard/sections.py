"""What the dashboard shows: sections of charts, by the metric names of docs/run-directory.md."""

from __future__ import annotations

from dataclasses import dataclass

from chord.data.tasks import RETAINED

LINE, BAR, SCATTER = "line", "bar", "scatter"
SMOOTH = 0.7  # values measured on the few rollouts of one step are noisy


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart. `kind`: a line over the train steps, bars of final values, or two final values
    against each other, the first on the x-axis. `low` and `high` bound the axis of the metrics."""

    title: str
    metrics: tuple[str, ...]
    kind: str = LINE
    smoothing: float = 0.0
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Section:
    """Charts under a heading, with a sentence on how to read them."""

    name: str
    text: str
    charts: tuple[Chart, ...]


def _share(title: str, metric: str, *, smoothing: float = 0.0) -> Chart:
    return Chart(title=title, metrics=(metric,), smoothing=smoothing, low=0, high=1)


def _noisy(title: str, metric: str) -> Chart:
    return Chart(title=title, metrics=(metric,), smoothing=SMOOTH)


def _bars(title: str, *metrics: str) -> Chart:
    return Chart(title=title, metrics=metrics, kind=BAR, low=0, high=1)


_ALPHA = Section(
    name="Alpha",
    text="alpha is the share of SFT in the loss: 1 is pure SFT, 0 is pure RL.",
    charts=(
        _share("alpha", "alpha"),
        Chart(title="learning rate", metrics=("lr",)),
        _share("share of problems that a gate gives to SFT", "gate/share", smoothing=SMOOTH),
    ),
)
_REWARDS = Section(
    name="Rewards",
    text="Rewards of the rollouts of each train step. The scores of a problem with only right or "
    "only wrong rollouts give no signal. A run that is pure SFT has no rewards.",
    charts=(
        _share("verifier's score", "rollout/score", smoothing=SMOOTH),
        _noisy("reward", "rollout/reward"),
        _noisy("standard deviation of the rewards", "rollout/reward_std"),
        _share("problems with only right rollouts", "rollout/all_right", smoothing=SMOOTH),
        _share("problems with only wrong rollouts", "rollout/all_wrong", smoothing=SMOOTH),
    ),
)
_LOSSES = Section(
    name="Losses",
    text="The value of the RL loss says little; the gradients show which branch moves the policy.",
    charts=(
        _noisy("SFT loss, weighted", "loss/sft"),
        _noisy("nll of the expert tokens, unweighted", "expert/nll"),
        _noisy("RL loss", "loss/rl"),
        _noisy("loss", "loss/total"),
        _noisy("SFT's part of the loss", "loss/sft_share"),
        _noisy("RL's part of the loss", "loss/rl_share"),
        _noisy("gradient norm", "grad/norm"),
        _noisy("cosine of the branches' gradients", "grad/cosine"),
        _noisy("KL to the sampling policy, estimated", "rl/approx_kl"),
    ),
)
_RETAINED = Section(
    name="Retained skills",
    text="Greedy accuracy on skills that are not trained. Lines: validation, where step 0 is the "
    "base; bars: test split.",
    charts=(
        _share("mean over the skills", "val/retained/mean"),
        _share("the worst skill", "val/retained/min"),
        *(_share(skill, f"val/retained/{skill}") for skill in RETAINED),
        _bars("test split", "test/retained/mean", "test/retained/min"),
    ),
)
_WEIGHTS = Section(
    name="Token weights",
    text="Weights of the expert tokens, after normalize. The effective sample size is 1 if all "
    "weights are equal; p is the policy's probability of the token.",
    charts=(
        _noisy("mean weight", "weight/mean"),
        _share("effective sample size", "weight/ess", smoothing=SMOOTH),
        _share("mean p of the expert tokens", "expert/mean_p", smoothing=SMOOTH),
        _noisy("mean weight, p below .01", "weight/p_0.00_0.01"),
        _noisy("mean weight, p from .01 to .1", "weight/p_0.01_0.10"),
        _noisy("mean weight, p from .1 to .5", "weight/p_0.10_0.50"),
        _noisy("mean weight, p from .5 to .9", "weight/p_0.50_0.90"),
        _noisy("mean weight, p from .9", "weight/p_0.90_1.00"),
    ),
)
_ANSWERS = Section(
    name="Rollouts and style",
    text="How the policy responds during training: in which style, how long, with what entropy.",
    charts=(
        _share("rollouts in the expert's style", "rollout/expert_style", smoothing=SMOOTH),
        _noisy("length in tokens", "rollout/length"),
        _share("rollouts that are cut off", "rollout/no_eos", smoothing=SMOOTH),
        _noisy("entropy", "rollout/entropy"),
    ),
)
_VALIDATION = Section(
    name="Evaluations: validation",
    text="At step t: the model after t train steps. Use these to choose settings.",
    charts=(
        _share("target, greedy", "val/target_accuracy"),
        _share("target, mean of 4 samples", "val/target_mean4"),
        _share("balance at alpha = .5", "val/balance_at_0.5"),
        _share("verifier's score", "val/rl_reward"),
        _share("responses in the expert's style", "val/expert_style"),
        _share("expert tokens that are the most probable", "val/sft_accuracy"),
        Chart(title="nll of held-out expert tokens", metrics=("val/expert_nll",)),
    ),
)
_TEST = Section(
    name="Evaluations: test",
    text="The test split is used once, after training. Scores under base/ are those of the model "
    "before training.",
    charts=(
        Chart(
            title="target against retained skills",
            metrics=("test/retained/mean", "test/target_accuracy"),
            kind=SCATTER,
        ),
        _bars("target, greedy", "test/target_accuracy", "base/test/target_accuracy"),
        _bars("target, mean of 4 samples", "test/target_mean4", "base/test/target_mean4"),
        _bars("retained skills, mean", "test/retained/mean", "base/test/retained/mean"),
        _bars("responses in the expert's style", "test/expert_style", "base/test/expert_style"),
    ),
)
SECTIONS = (
    _ALPHA, _REWARDS, _LOSSES, _RETAINED, _WEIGHTS, _ANSWERS, _VALIDATION, _TEST,
)  # fmt: skip
COLUMNS = ("val/balance_at_0.5", "test/target_accuracy", "test/retained/mean", "test/retained/min")
"""Metrics next to the name of each run in the table of runs."""
