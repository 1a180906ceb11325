"""The recipes of the shipped checkpoints, which must not change."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from chord.data.tasks import ALPHABET
from chord.models.config import TransformerConfig
from chord.models.tiny import base_name
from chord.pretrain.mixture import Mixture


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one model is pre-trained: Muon for the matrices of the blocks, AdamW for the rest.

    Both learning rates rise over `warmup` steps and stay at their peak. Between the shares
    `decay_from` and `decay_to` of the run they fall along a half cosine to `floor` times the peak,
    and stay there. The validation loss of that last part shows whether the model has converged.
    """

    name: str
    mixture: Mixture
    seed: int = 0
    width: int
    layers: int = 4
    heads: int = 4
    context: int = 64
    steps: int
    batch: int = 160
    warmup: int = 200
    decay_from: float = 0.35
    decay_to: float = 0.9
    floor: float = 0.01
    muon_lr: float = 0.02
    adamw_lr: float = 0.002
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    validation_documents: int = 3000
    validation_every: int = 200
    scored_problems: int = 1000
    """At most this many problems of each kind are used for a score on the card."""

    @property
    def model(self) -> TransformerConfig:
        return TransformerConfig(
            vocab_size=len(ALPHABET) + 2,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            context=self.context,
        )

    def rate(self, step: int) -> float:
        """Return the learning rate at a step as a share of its peak."""
        start, end = self.decay_from * self.steps, self.decay_to * self.steps
        q = min(1.0, max(0.0, (step - start) / (end - start)))
        decayed = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * q))
        return min(1.0, (step + 1) / self.warmup, decayed)


BASE = Recipe(
    name="base",
    mixture=Mixture(direct=0.15, worked=0.005),
    width=48,
    steps=16000,
    validation_every=400,
)
TEACHER = Recipe(name="teacher", mixture=Mixture(direct=0.0, worked=0.5), width=96, steps=2000)
RECIPES = {recipe.name: recipe for recipe in (BASE, TEACHER)}


def micro(recipe: Recipe) -> Recipe:
    """Return the same recipe, small enough for a test."""
    return replace(
        recipe,
        width=16,
        layers=1,
        heads=2,
        steps=8,
        batch=16,
        warmup=2,
        validation_documents=64,
        validation_every=4,
        scored_problems=4,
    )


def checkpoint_name(recipe: Recipe) -> str:
    """Return the file name of a model."""
    return base_name(recipe.seed) if recipe.name == "base" else f"{recipe.name}.safetensors"


def state_name(recipe: Recipe) -> str:
    """Return what the file of a run's state is called."""
    return f"{recipe.name}-{recipe.seed}.pt"


def scores_path(recipe: Recipe, work: Path) -> Path:
    """Return where a model's curve and scores are kept for the card."""
    return work / f"{recipe.name}-{recipe.seed}.json"
