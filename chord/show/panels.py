"""The panels of `chord.show`: alpha over the train steps, and a weighting's weight over p."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chord.show.terminal import Line, Panel, nice_top

if TYPE_CHECKING:
    from chord.config.root import TrainConfig
    from chord.schedules import Schedule
    from chord.weightings import Weighting

AT = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99)
# Shares of the run at which alpha is listed, in addition to its last step.
SHARES = (0, 0.05, 0.1, 0.25, 0.5, 0.75)


def schedule_panel(
    configs: Sequence[tuple[str, TrainConfig]], options: argparse.Namespace
) -> Panel:
    """Return alpha at every train step; for a closed loop, a note with its range and inputs."""
    longest = max(config.steps for _, config in configs)
    panel = Panel(
        title="alpha, the share of SFT: 1 is pure SFT, 0 is pure RL",
        x_name="train step",
        left=0,
        right=longest,
        top=1.0,
        at=sorted({*(round(share * longest) for share in SHARES), longest - 1} - {longest}),
        whole=True,
    )
    for name, config in configs:
        note = closed_loop(name, config.schedule, config.steps)
        if note:
            panel.notes.append(note)
        else:
            steps = range(config.steps)
            alphas = [config.schedule(step) for step in steps]
            panel.lines.append(Line(name, steps, alphas, jumps=config.schedule.jumps))
    if panel.lines and len(panel.at) < longest:
        panel.notes.append(f"the table has {len(panel.at)} of the {longest} steps")
    return panel


def closed_loop(name: str, schedule: Schedule, steps: int) -> str:
    """Return a note on a controller, which has no curve before training; empty for an open loop."""
    # Here and below: only weightings and closed loops need it.
    from chord.schedules import Controller

    if not isinstance(schedule, Controller):
        return ""
    low, high = schedule.bounds(steps)
    drivers = ", ".join(sorted(schedule.needs)).replace("_", " ")
    return (
        f"{name}: a closed loop, driven by {drivers}; it has no curve before training, but alpha "
        f"stays within [{low:g}, {high:g}]"
    )


def weighting_panel(
    configs: Sequence[tuple[str, TrainConfig]], options: argparse.Namespace
) -> Panel:
    """Return the weight, before `normalize`, at p = .001, .002, ... .999."""
    grid = [place / 1000 for place in range(1, 1000)]
    panel = Panel(
        title="w, the weight of an expert token",
        x_name="p, the policy's probability of the token",
        left=0,
        right=1,
        top=1.0,
        at=AT,
        notes=["assumes a vocabulary of two tokens (p, 1 - p) and responses of one token"],
    )
    said: dict[str, list[str]] = {}
    for name, config in configs:
        weights = raw_weights(config.weighting, grid, options)
        panel.lines.append(Line(name, grid, weights))
        for note in assumptions(config.weighting, options):
            said.setdefault(note, []).append(name)
    panel.notes += [f"{', '.join(names)}: {note}" for note, names in said.items()]
    panel.top = nice_top(max(max(line.y) for line in panel.lines))
    return panel


def raw_weights(
    weighting: Weighting, grid: Sequence[float], options: argparse.Namespace
) -> list[float]:
    """Return the weights before `normalize`; each p is a row of one token, out of two."""
    import torch

    from chord.weightings import TokenStats, WeightInputs, token_stats

    def stats(p: torch.Tensor, top_k: int | None = None) -> TokenStats:
        logits = torch.stack([p, 1 - p], dim=-1).log()
        return token_stats(logits, torch.zeros_like(p, dtype=torch.int64), top_k=top_k)

    p = torch.tensor(grid, dtype=torch.float64).unsqueeze(-1)
    at = WeightInputs(
        policy=stats(p, weighting.top_k),
        mask=torch.ones_like(p, dtype=torch.bool),
        expert=stats(torch.full_like(p, options.teacher)),
        reference=torch.full_like(p, options.reference).log(),
        signal=torch.full_like(p[:, 0], options.signal),
    )
    with torch.no_grad():
        return [float(weight) for weight in weighting.raw(at).flatten()]


def assumptions(weighting: Weighting, options: argparse.Namespace) -> list[str]:
    """Return the assumptions that are needed to draw the weight as a function of p alone."""
    found = []
    if weighting.needs_teacher:
        found.append(f"assumes that the teacher's p is {options.teacher:g} (--teacher)")
    if weighting.needs_reference:
        found.append(f"assumes that the reference's p is {options.reference:g} (--reference)")
    if weighting.needs_signal:
        found.append(f"assumes that the response's signal n is {options.signal:g} (--signal)")
    if weighting.ranks_tokens:
        found.append("ranks the tokens of a step; here, one token at each p = .001, .002, ... .999")
    if weighting.normalize != "none":
        setting = f"weighting.normalize={weighting.normalize}"
        mean = f"{setting} divides by a mean that is only known in a run"
        found.append(f"shows the raw rule, because {mean}")
    return found
