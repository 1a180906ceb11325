"""Rebuild the shipped bases and teacher, their scores and card: `python -m chord.pretrain`."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from chord.command_line.arguments import Arguments, Number, refuse_output
from chord.command_line.ending import ending
from chord.io.outputs import Kind, begins, json_with, refuse_other, safetensors_with
from chord.io.printing import say
from chord.io.writing import write_atomically
from chord.models.tiny import ASSETS, SEEDS
from chord.pretrain.recipe import BASE, TEACHER, checkpoint_name, micro, scores_path, state_name
from chord.run.lock import held

if TYPE_CHECKING:
    from chord.pretrain.recipe import Recipe

WORK = Path("outputs/pretrain")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = Arguments("pretrain", __doc__)
    options.add_argument(
        "--to",
        type=Path,
        default=ASSETS,
        help="directory for checkpoints and card (default: chord/assets)",
    )
    options.add_argument(
        "--work",
        type=Path,
        default=WORK,
        help="directory for the state to resume from (default: outputs/pretrain)",
    )
    options.add_argument(
        "--only", choices=("base", "teacher"), help="pre-train only this model, and write no card"
    )
    options.add_argument(
        "--seeds",
        action=Number,
        whole=True,
        least=0,
        nargs="+",
        default=list(SEEDS),
        help="seeds of the bases (default: 0 1 2); seeds other than 0 are written to "
        "base-SEED.safetensors",
    )
    options.add_argument(
        "--fresh", action="store_true", help="delete the saved state and start over"
    )
    options.add_argument(
        "--micro", action="store_true", help="pre-train tiny models, to try out the command"
    )
    return options


@ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run `chord-pretrain`."""
    run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> None:
    """Pre-train the requested models, two at a time, and write the card.

    Raises `ConfigError` if a run cannot be resumed from its saved state.
    """
    recipes = [replace(BASE, seed=seed) for seed in options.seeds] + [TEACHER]
    recipes = [recipe for recipe in recipes if options.only in (None, recipe.name)]
    if options.micro:
        recipes = [micro(recipe) for recipe in recipes]
    # One thread each, so that the result does not depend on the number of cores.
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    jobs = [(recipe, options.to, options.work, options.fresh) for recipe in recipes]
    for name, kinds in (
        ("to", _shipped(recipes, card=options.only is None)),
        ("work", _kept(recipes, options.work)),
    ):
        place = getattr(options, name)
        refuse_output(place / "any", f"--{name} {place}")
        for file, kind in kinds.items():
            refuse_other(place / file, f"--{name} {place}: {file} in it", kind)
    with held(options.work, "--work"), context.Pool(min(2, len(jobs))) as pool:
        pool.starmap(_build, jobs, chunksize=1)
    if options.only is None:
        # Here and below: torch takes seconds to load; mistakes in arguments are said before.
        from chord.pretrain.card import write_card

        say(write_card(options.to, recipes, options.work))


def _shipped(recipes: Sequence[Recipe], *, card: bool) -> dict[str, Kind]:
    """The files that are written into `--to`."""
    page = Kind("a card of chord.pretrain", begins(b"# The shipped checkpoints\n"))
    model = Kind("a model of chord", safetensors_with("chord"))
    models = {checkpoint_name(recipe): model for recipe in recipes}
    return models | ({"README.md": page} if card else {})


def _kept(recipes: Sequence[Recipe], work: Path) -> dict[str, Kind]:
    """The files that are written into `--work`, or deleted there."""
    state = Kind("a state of chord.pretrain", begins(b"PK"))
    numbers = Kind("a file of chord.pretrain", json_with("curve", "scores"))
    return {state_name(recipe): state for recipe in recipes} | {
        scores_path(recipe, work).name: numbers for recipe in recipes
    }


def _build(recipe: Recipe, to: Path, work: Path, fresh: bool) -> None:
    """Pre-train, save and score one model, and write its numbers to `work` for the card."""
    import torch

    from chord.pretrain.scores import scores
    from chord.pretrain.training import pretrain, ship, state_path

    torch.set_num_threads(1)
    if fresh:
        state_path(recipe, work).unlink(missing_ok=True)
    model, curve, seconds = pretrain(recipe, work, report=lambda line: say(line, flush=True))
    ship(model, recipe, to / checkpoint_name(recipe))
    numbers = {
        "minutes": seconds / 60,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "curve": curve,
        "scores": scores(model, "test", limit=recipe.scored_problems),
    }
    write_atomically(scores_path(recipe, work), json.dumps(numbers, indent=1).encode() + b"\n")
