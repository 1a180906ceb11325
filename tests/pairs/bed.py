"""A very small task that an untrained model is sometimes right at, so that groups differ.

The answers are 0, 1 or 10; the model's head prefers these digits and the end token. Experts answer
in several lengths, and not always rightly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from chord.data.base import Data
from chord.data.batch import Pair, Problem
from chord.data.tasks import ALPHABET
from chord.data.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer(ALPHABET)
EXPERTS = ("0", "r1=0", "1", "2-1=1", "10", "s0=0;0=0", "5=5", "1;10=1", "1=1", "4-4=0")
ANSWERS = ("0", "0", "1", "1", "10", "0", "1", "1", "1", "0")
PROBLEMS = 3
"""In a round of a step."""
# Logits, about, of what the model is to say more often than the rest.
LIKED = {"<end>": 3.0, "0": 3.2, "1": 3.0, "=": 1.4}


def problem(number: int) -> Problem:
    """Prompts of three and four tokens."""
    return Problem(f"{number}+{number % 3}="[number % 2 :], ANSWERS[number % 10], key=100 + number)


class PairsData(Data):
    """Ten problems with an expert's response, ten without."""

    def __init__(self, pairing: str) -> None:
        self.tokenizer = TOKENIZER
        self.pairing = pairing
        self.round = 0
        """The round of a step's problems that was drawn last."""
        self.expert_pairs = [Pair(problem(n), EXPERTS[n]) for n in range(10)]

    @property
    def longest_prompt(self) -> int:
        return 4

    def problems(self, step: int, seed: int, n: int) -> list[Problem]:
        self.round = n // PROBLEMS - 1
        first, count = {"paired": (0, 10), "separate": (10, 10), "all": (0, 20)}[self.pairing]
        # Within a step's further rounds problems come again.
        return [problem(first + (seed + 3 * step + place * 7) % count) for place in range(n)]

    def held_out(self, split: str) -> Sequence[Problem]:
        return [problem(30)]

    def held_out_pairs(self, split: str) -> Sequence[Pair]:
        return []

    def retained(self, split: str) -> Mapping[str, Sequence[Problem]]:
        return {}


def make_models(directory: Path) -> Path:
    """`base.safetensors` and `teacher.safetensors`, of about 2,000 weights each."""
    import torch

    from chord.models.config import TransformerConfig
    from chord.models.storage import save_policy
    from chord.models.transformer import Transformer

    directory.mkdir(parents=True, exist_ok=True)
    names = TOKENIZER.pieces(range(TOKENIZER.vocab_size))
    size = TransformerConfig(
        vocab_size=TOKENIZER.vocab_size, width=16, layers=1, heads=2, context=24
    )
    for seed, name in enumerate(("base", "teacher")):
        torch.manual_seed(seed)
        model = Transformer(size)
        with torch.no_grad():
            # One channel is the same wherever it is read: what the head gives it is a bias.
            model.embedding.weight[:, 0] = 8.0
            model.head.weight.mul_(12)
            for token, logit in LIKED.items():
                model.head.weight[names.index(token), 0] += logit / 3
        save_policy(model, directory / f"{name}.safetensors")
    return directory
