"""The memory of a run by part, in bytes.

What autograd saves for the backward pass is measured on a few rows of a step and scaled by the
number of tokens. Everything else is computed from the settings. Sampling, training and evaluation
do not overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from chord.data.batch import TokenBatch
from chord.models.packing import pack_rows
from chord.models.scoring import PIECE, score
from chord.models.sharing import own_batches, share_prompts

if TYPE_CHECKING:
    from chord.config.root import TrainConfig
    from chord.models.models import Models
    from chord.models.policy import Policy

ALWAYS, SAMPLING, TRAINING, EVALUATION = "always", "sampling", "training", "evaluation"
# Bytes per vocabulary entry while a token is drawn: logits, log-probabilities, probabilities and
# truncated probabilities in float32; cumulative ones in float64, twice.
DRAWING = 4 * 4 + 2 * 8
# Bytes per logit in the backward pass: logit, log-softmax, its exponential, two gradients.
LOSS = 5 * 4
# Bytes per logit that is only scored: logit and log-softmax.
SCORED = 2 * 4


@dataclass
class Part:
    """A part of the memory: its name, its size in bytes, and the phase that needs it."""

    name: str
    size: int
    when: str = ALWAYS


def peak(parts: Iterable[Part], *, reused: bool) -> int:
    """Return the peak memory in bytes.

    `reused`: memory freed by one phase serves the next, as on a GPU: 10 always, 5 while sampling
    and 7 while training make 17. Main memory grows by all three, to 22, because the C library keeps
    freed pieces below 32 MB. The preset for SmolLM2 thus takes 5.9 GB; it takes 3.8 GB, and a third
    more time, if the library is told to return them (MALLOC_TRIM_THRESHOLD_,
    MALLOC_MMAP_THRESHOLD_).
    """
    sizes = dict.fromkeys((ALWAYS, SAMPLING, TRAINING, EVALUATION), 0)
    for part in parts:
        sizes[part.when] += part.size
    return sizes.pop(ALWAYS) + (max if reused else sum)(sizes.values())


def of_models(config: TrainConfig, models: Models) -> list[Part]:
    """Return weights, gradients and the optimizer's two moments, for one process.

    With `fsdp` each process keeps its shard of them. It gathers the whole policy while it samples
    and evaluates, and one layer at a time, with weights and gradients, while it trains.
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
        # The modules around the layers stay gathered, next to the largest layer.
        gathered = weights(policy) - sum(layers) + max(layers, default=0)
        parts += [
            Part(f"gathered policy ({SAMPLING})", rest, SAMPLING),
            Part(f"gathered layer ({TRAINING})", 2 * gathered, TRAINING),
            Part(f"gathered policy ({EVALUATION})", rest, EVALUATION),
        ]
    for name, model in (("teacher", models.teacher), ("reference", models.reference)):
        if model is not None and weights(model):
            parts.append(Part(name, weights(model)))
    return parts


def weights(model: nn.Module) -> int:
    """Return the bytes of all parameters and buffers; shared ones count once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())


def of_sampling(policy: Policy, rows: int, length: int, *, when: str = SAMPLING) -> list[Part]:
    """Return the key-value cache, and the distributions to draw tokens from, of `rows` rows."""
    return [
        Part(f"key-value cache ({when})", rows * length * policy.cache_bytes, when),
        Part(f"distributions ({when})", rows * policy.vocab_size * DRAWING, when),
    ]


def of_training(policy: Policy, batches: Iterable[TokenBatch], micro_batch: int) -> list[Part]:
    """Return what the largest micro-batch keeps for its backward pass, and its logits."""
    most, tokens = max(_micro_batches(policy, batches, micro_batch), default=(0, 0))
    return [
        Part("activations", most, TRAINING),
        Part("logits", _piece(policy, tokens) * LOSS, TRAINING),
    ]


def of_scoring(policy: Policy, batch: TokenBatch, micro_batch: int) -> Part:
    """Return the memory for scoring held-out pairs: activations of one layer, and the logits."""
    most, tokens = max(_micro_batches(policy, [batch], micro_batch), default=(0, 0))
    layer = most // max(1, len(policy.layers()))
    size = layer + _piece(policy, tokens) * SCORED
    return Part(f"held-out pairs ({EVALUATION})", size, EVALUATION)


def _piece(policy: Policy, tokens: int) -> int:
    """How many logits exist at the same time."""
    return min(tokens, max(1, PIECE // policy.vocab_size)) * policy.vocab_size


def _micro_batches(
    policy: Policy, batches: Iterable[TokenBatch], size: int
) -> Iterator[tuple[int, int]]:
    """The bytes that each micro-batch keeps for its backward pass, and its response tokens."""
    for batch in batches:
        for index in own_batches(policy, batch, size):
            if not len(index):
                continue  # all rows of the step are on other processes
            piece = batch.select(index)
            # Several adjacent rows: with fewer, a shared prompt would look cheaper than it is.
            few = piece.select(slice(0, min(len(index), 8)))
            here = int(kept(policy, few) / computed(policy, few) * computed(policy, piece))
            yield here, int(piece.mask.sum())


def computed(policy: Policy, batch: TokenBatch) -> int:
    """Return the number of tokens that go through the model for these rows."""
    if policy.packs:
        return len(pack_rows(batch).tokens)
    shared = share_prompts(batch) if policy.shares_prompts else None
    return batch.input_ids[:, 1:].numel() if shared is None else shared.input_ids.numel()


def kept(policy: Policy, batch: TokenBatch) -> int:
    """Return the bytes that autograd saves to compute the features, without the weights."""
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
