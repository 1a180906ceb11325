"""The memory of a run, part by part: sizes that follow from the settings, in bytes.

What autograd keeps for the backward is counted on a few rows of the step's own and scaled by
tokens; everything else is arithmetic. Sampling, training and evaluation do not overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from chord.data.batch import TokenBatch
from chord.models.scoring import PIECE, score
from chord.models.sharing import own_batches, share_prompts

if TYPE_CHECKING:
    from chord.config.root import TrainConfig
    from chord.models.models import Models
    from chord.models.policy import Policy

ALWAYS, SAMPLING, TRAINING, EVALUATION = "always", "sampling", "training", "evaluation"
# Of a row's distribution while a token is drawn: logits, log-probabilities, probabilities and
# their truncation in float32, the cumulative ones twice in float64.
DRAWING = 4 * 4 + 2 * 8
# Of a piece of logits in the backward: itself, log-softmax, its exponential, two gradients.
LOSS = 5 * 4
# Of a piece of logits that is only scored: itself and its log-softmax.
SCORED = 2 * 4


@dataclass
class Part:
    """Something that takes memory, and when."""

    name: str
    size: int
    when: str = ALWAYS


def peak(parts: Iterable[Part], *, reused: bool) -> int:
    """Bytes at the worst moment.

    `reused`: what one phase has freed serves the next, as on a GPU: 10 always, 5 while sampling and
    7 while training make 17. Main memory grows by all three, to 22: the C library keeps pieces of
    less than 32 MB for itself. SmolLM2's preset takes 5.9 GB so, and 3.8 GB where the library is
    told to give them back (MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_), in a third more time.
    """
    sizes = dict.fromkeys((ALWAYS, SAMPLING, TRAINING, EVALUATION), 0)
    for part in parts:
        sizes[part.when] += part.size
    return sizes.pop(ALWAYS) + (max if reused else sum)(sizes.values())


def of_models(config: TrainConfig, models: Models) -> list[Part]:
    """Weights, gradients and the optimizer's two moments, on one process.

    With `fsdp` a process keeps its share of them and puts the policy together: whole while it
    samples and evaluates, a layer at a time, weights and gradients, while it trains.
    """
    policy, trainer = models.policy, config.trainer
    trained = [p for p in policy.parameters() if p.requires_grad]
    count = sum(p.numel() * p.element_size() for p in trained)
    optimizers = 1 if config.sft_optimizer is None else 2
    share = trainer.processes if trainer.strategy == "fsdp" else 1
    parts = [
        Part("policy", weights(policy) // share),
        Part("gradients", count // share),
        Part("optimizer", 2 * count * optimizers // share),
    ]
    if share > 1:
        rest = weights(policy) - weights(policy) // share
        layers = [weights(layer) for layer in policy.layers()]
        # What is around the layers stays together beside the largest of them.
        gathered = weights(policy) - sum(layers) + max(layers, default=0)
        parts += [
            Part(f"policy, put together ({SAMPLING})", rest, SAMPLING),
            Part(f"a layer, put together ({TRAINING})", 2 * gathered, TRAINING),
            Part(f"policy, put together ({EVALUATION})", rest, EVALUATION),
        ]
    for name, model in (("teacher", models.teacher), ("reference", models.reference)):
        if model is not None and weights(model):
            parts.append(Part(name, weights(model)))
    return parts


def weights(model: nn.Module) -> int:
    """Bytes of all parameters and buffers, shared ones once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())


def of_sampling(policy: Policy, rows: int, length: int, *, when: str = SAMPLING) -> list[Part]:
    """Of `rows` at a time: keys and values, and the distributions that tokens are drawn from."""
    return [
        Part(f"key-value cache ({when})", rows * length * policy.cache_bytes, when),
        Part(f"distributions ({when})", rows * policy.vocab_size * DRAWING, when),
    ]


def of_training(policy: Policy, batches: Iterable[TokenBatch], micro_batch: int) -> list[Part]:
    """What the largest micro-batch keeps for its backward, and its logits."""
    most, tokens = max(_micro_batches(policy, batches, micro_batch), default=(0, 0))
    return [
        Part("activations", most, TRAINING),
        Part("logits", _piece(policy, tokens) * LOSS, TRAINING),
    ]


def of_scoring(policy: Policy, batch: TokenBatch, micro_batch: int) -> Part:
    """Of held-out pairs: a layer's activations at a time, as nothing is kept, and their logits."""
    most, tokens = max(_micro_batches(policy, [batch], micro_batch), default=(0, 0))
    layer = most // max(1, len(policy.layers()))
    size = layer + _piece(policy, tokens) * SCORED
    return Part(f"held-out pairs ({EVALUATION})", size, EVALUATION)


def _piece(policy: Policy, tokens: int) -> int:
    """How many logits exist at a time."""
    return min(tokens, max(1, PIECE // policy.vocab_size)) * policy.vocab_size


def _micro_batches(
    policy: Policy, batches: Iterable[TokenBatch], size: int
) -> Iterator[tuple[int, int]]:
    """The bytes that each micro-batch keeps for its backward, and its response tokens."""
    for batch in batches:
        for index in own_batches(policy, batch, size):
            if not len(index):
                continue  # the step's rows are all with other processes
            piece = batch.select(index)
            # As many rows as are beside each other, or a shared prompt would look cheaper.
            few = piece.select(slice(0, min(len(index), 8)))
            here = int(kept(policy, few) / computed(policy, few) * computed(policy, piece))
            yield here, int(piece.mask.sum())


def computed(policy: Policy, batch: TokenBatch) -> int:
    """Tokens that go through the model for these rows, padding included."""
    shared = share_prompts(batch) if policy.shares_prompts else None
    return batch.input_ids[:, 1:].numel() if shared is None else shared.input_ids.numel()


def kept(policy: Policy, batch: TokenBatch) -> int:
    """Bytes of the features' graph, weights left out."""
    own = {tensor.data_ptr() for tensor in (*policy.parameters(), *policy.buffers())}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = score(policy, batch).features
    return sum(found.values()) + features.numel() * features.element_size()
