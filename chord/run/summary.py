"""What a run achieved, on the terminal: base against trained, and answers side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chord.evaluation.settings import PARTS
from chord.io.reading import printable
from chord.rewards import FAILURES
from chord.tracking.base import shown

if TYPE_CHECKING:
    from chord.data.base import Data
    from chord.data.batch import Pair
    from chord.evaluation.report import Report

SOURCE = "source/"
MEAN = "target_mean"
"""How many samples it is the mean of follows."""
HIGHER, LOWER, NEITHER = 1, -1, 0  # what is better
FEWEST = 10
"""With fewer problems, a gain is shown without an interval: it would say next to nothing."""
_TWIN = "rl_reward"
"""Another name of the mean over the samples, and shown only where it differs."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One target problem with the expert's and both models' greedy answers."""

    key: int
    problem: str
    expert: str
    base: str
    base_right: bool | None
    base_finished: bool
    base_tokens: int
    trained: str
    trained_right: bool | None
    """None: the right answer is not known."""
    trained_finished: bool
    trained_tokens: int


def side_by_side(
    data: Data, split: str, base: Report, trained: Report, count: int = 6
) -> list[Sample]:
    """The first `count` target problems with the expert's and both models' greedy answers.

    Those come first to which an expert's response is held out.
    """
    answers = list(zip(base.answers, trained.answers, strict=True))
    pairs = data.held_out_pairs(PARTS[split])[: len(answers)]
    experts = {pair.problem.key: _first_response(pair) for pair in reversed(pairs)}
    answers.sort(key=lambda both: both[0].problem.key not in experts)
    return [
        Sample(
            key=before.problem.key,
            problem=before.problem.prompt,
            expert=experts.get(before.problem.key, ""),
            base=before.text,
            base_right=_right(before.score),
            base_finished=not before.cut_off,
            base_tokens=len(before.entropies),
            trained=after.text,
            trained_right=_right(after.score),
            trained_finished=not after.cut_off,
            trained_tokens=len(after.entropies),
        )
        for before, after in answers[:count]
    ]


def _first_response(pair: Pair) -> str:
    """The expert's response to what is asked; a conversation goes on after it."""
    return pair.turns[0].content if pair.turns else pair.response


def _right(score: float) -> bool | None:
    return None if math.isnan(score) else score >= 1


@dataclass(frozen=True)
class CutOff:
    """How many greedy responses of both models had no end when they were as long as one may be."""

    base: int
    trained: int
    of: int


def cut_off(base: Report, trained: Report) -> CutOff:
    """The responses to the target problems that were cut off."""
    before, after = (sum(each.cut_off for each in model.answers) for model in (base, trained))
    return CutOff(before, after, len(trained.answers))


def gains(base: Report, trained: Report) -> list[float]:
    """The trained model's greedy score less the base's, of each problem with a known answer."""
    answers = zip(base.answers, trained.answers, strict=True)
    found = [after.score - before.score for before, after in answers]
    return [each for each in found if not math.isnan(each)]


@dataclass(frozen=True)
class Measure:
    """A line of the table: a share, shown in percent, or a plain number."""

    key: str
    label: str
    better: int = HIGHER
    share: bool = True


def measures(
    keys: Iterable[str], alpha: float | None = None, temperature: float = 1.0
) -> list[Measure]:
    """The table's lines, in order; one for each retained skill and each source among `keys`."""
    keys = list(keys)
    prefix = "retained/"
    skills = sorted(
        key for key in keys if key.startswith(prefix) and key[len(prefix) :] not in ("mean", "min")
    )
    sources = sorted(key for key in keys if key.startswith(SOURCE))
    now = "current alpha" if alpha is None else f"alpha {alpha:.3g}"
    return [
        Measure("target_accuracy", "target: greedy accuracy"),
        *(
            Measure(key, f"target: mean@{key[len(MEAN) :]} at temperature {temperature:g}")
            for key in [key for key in keys if key.startswith(MEAN)] or [f"{MEAN}4"]
        ),
        Measure("rl_reward", "target: mean verifier score (rl_reward)"),
        Measure("retained/mean", "retained skills: mean"),
        Measure("retained/min", "retained skills: minimum"),
        *(Measure(key, f"  {key[len(prefix) :]}") for key in skills),
        *(Measure(key, f"target of {key[len(SOURCE) :]}") for key in sources),
        Measure("sft_accuracy", "expert tokens predicted (sft_accuracy)"),
        Measure("expert_nll", "expert tokens: nll", LOWER, share=False),
        Measure("expert_style", "responses in the expert's style", NEITHER),
        Measure("balance", f"balance at {now}"),
        Measure("balance_at_0.5", "balance at 0.5"),
    ]


def print_summary(
    console: Console,
    base: Mapping[str, float],
    trained: Mapping[str, float],
    samples: Sequence[Sample],
    run_dir: str | Path,
    *,
    split: str,
    alpha: float,
    problems: str | None = None,
    temperature: float = 1.0,
    gained: Sequence[float] = (),
    cut_off: CutOff | None = None,
    warnings: Sequence[str] = (),
    picture: Path | None = None,
) -> None:
    """Print the comparison, the samples, and where everything lies.

    `base` and `trained` are evaluation metrics of `split`, or of a file of `problems`; `alpha` is
    the SFT share that `balance` was taken at, `temperature` that of the samples; `gained` are the
    gains on the target problems,
    `cut_off` says how many responses had no end, `warnings` what was said before, `picture` was
    drawn now. Model text is shown as it is, never read as markup.
    """
    console.print()
    title = f"{split} split" if problems is None else printable(f"problems={problems}")
    console.print(_comparison(base, trained, title, alpha, temperature, cut_off))
    if len(gained) > 1:
        console.print(Text(_gain(gained)), soft_wrap=True)
    if samples:
        console.print()
        console.print(_answers(samples))
    console.print()
    lines = [*warnings, *_failures("base", base), *_failures("trained", trained)]
    lines.append(f"run directory: {shown(Path(run_dir))}")
    if picture is not None:
        lines.append(f"curves: {shown(picture)}")
    for line in lines:
        # Whole lines: a path that was broken in two can't be copied.
        console.print(Text(printable(line)), soft_wrap=True)


def _gain(gained: Sequence[float]) -> str:
    """The mean gain with its interval; of the problems, as there is one run."""
    if len(gained) < FEWEST:
        mean = 100 * sum(gained) / len(gained)
        return (
            f"target, greedy: {mean:+.1f} points on {len(gained)}, too few problems for an interval"
        )
    # It imports scipy, which takes a second and is needed at the end.
    from chord.evaluation.statistics import t_interval

    found = t_interval(gained)
    mean, low, high = (100 * value for value in (found.mean, found.low, found.high))
    return (
        f"target, greedy: {mean:+.1f} points, {low:+.1f} to {high:+.1f} (95 %, paired over "
        f"{len(gained)} problems; another seed may gain more or less)"
    )


def _failures(model: str, metrics: Mapping[str, float]) -> list[str]:
    """A line where answers have no score of their own."""
    timeouts, errors = (int(metrics.get(name, 0)) for name in FAILURES)
    if not timeouts + errors:
        return []
    return [
        f"{model}: answers that count as wrong because their verifier failed: {timeouts + errors}, "
        f"of them {timeouts} that took too long"
    ]


def _comparison(
    base: Mapping[str, float],
    trained: Mapping[str, float],
    title: str,
    alpha: float,
    temperature: float,
    cut_off: CutOff | None,
) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    table.add_column("")
    for name in ("base", "trained", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for measure in _shown(base, trained, alpha, temperature):
        before = base.get(measure.key, math.nan)
        after = trained.get(measure.key, math.nan)
        cells = [shown_value(measure, before), shown_value(measure, after)]
        table.add_row(measure.label, *cells, _change(measure, before, after))
    if cut_off is not None:
        table.add_row("target: greedy responses without an end", *_counts(cut_off))
    return table


def _shown(
    base: Mapping[str, float], trained: Mapping[str, float], alpha: float, temperature: float
) -> Iterator[Measure]:
    """The measures that one of both models has, each quantity once."""
    means = [key for key in {**base, **trained} if key.startswith(MEAN)]
    for measure in measures({**base, **trained}, alpha, temperature):
        taken = [metrics.get(measure.key, math.nan) for metrics in (base, trained)]
        if not any(map(math.isfinite, taken)):
            continue
        same = any(all(m.get(key) == m.get(_TWIN) for m in (base, trained)) for key in means)
        if measure.key != _TWIN or not same:
            yield measure


def _counts(cut_off: CutOff) -> list[str]:
    cells = [f"{count} of {cut_off.of}" for count in (cut_off.base, cut_off.trained)]
    change = cut_off.trained - cut_off.base
    return [*cells, f"{change:+d}" if change else "0"]


def shown_value(measure: Measure, value: float) -> str:
    """A value as the table has it."""
    if not math.isfinite(value):
        return "-"
    return f"{100 * value:.1f} %" if measure.share else f"{value:.4f}"


def _change(measure: Measure, before: float, after: float) -> Text:
    """The difference (of shares: in points), green where better, red and so called where worse."""
    if not (math.isfinite(before) and math.isfinite(after)):
        return Text("-", style="dim")
    text = f"{100 * (after - before):+.1f}" if measure.share else f"{after - before:+.4f}"
    if float(text) == 0:
        return Text("0", style="dim")
    if measure.better == NEITHER:
        return Text(text)
    if (after > before) == (measure.better == HIGHER):
        return Text(text, style="green")
    return Text(f"worse {text}", style="red")


def _answers(samples: Sequence[Sample]) -> Table:
    # The marks have columns of their own, or a long answer would leave its mark alone on a line.
    table = Table(
        title="sample responses",
        title_justify="left",
        title_style="bold",
        box=HORIZONTALS,
        show_lines=True,
        pad_edge=False,
    )
    imitated = any(sample.expert for sample in samples)
    for name in ("problem", *["expert"] * imitated, "", "base", "", "trained"):
        table.add_column(name, overflow="fold")
    for sample in samples:
        table.add_row(
            visible(sample.problem),
            *[visible(sample.expert)] * imitated,
            _mark(sample.base_right),
            visible(sample.base),
            _mark(sample.trained_right),
            visible(sample.trained),
        )
    return table


def _mark(right: bool | None) -> Text:
    if right is None:
        return Text("")
    return Text("✓", style="bold green") if right else Text("✗", style="bold red")


def visible(text: str) -> Text:
    """Any text of a model as printable text: control characters are written out, nothing is read
    as markup or as a terminal command."""
    return Text(printable(text)) if text else Text("(empty)", style="dim")
