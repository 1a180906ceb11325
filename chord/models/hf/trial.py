"""What a loaded model can do, tried out on a few tokens, because only its code knows.

Model families differ in what their layers read. A recurrent or convolutional layer has no mask for
pairs of tokens, some attention counts columns instead of positions, and a few models have their own
kind of cache. Their results would be wrong without an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chord.data.batch import TokenBatch, collate, left_pad
from chord.errors import ConfigError, first_line
from chord.models.hf.fused import Fused
from chord.models.hf.policy import HFPolicy
from chord.models.scoring import score
from chord.models.sharing import share_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ON_GPU = ("flash_attention_2",)
"""Attention that has no kernels for a CPU."""
# Two prompts of different lengths, each with two responses whose last token is not fed: few tokens,
# because large models in half precision are slow in main memory.
PROMPTS = ([0, 1, 2, 3, 4], [5, 6, 7])
ANSWERS = ([8, 0], [9, 0], [10, 0], [11, 0])
GROUP = 2


@dataclass
class Found:
    """What a model can do."""

    shares: bool
    """Rows that share one copy of their prompt give the same results as separate rows."""
    fused: bool
    """Chord's decoder gives the same results as transformers."""


@torch.no_grad()
def try_out(
    model: PreTrainedModel, setting: str, *, samples: bool, recomputed: bool = False
) -> Found:
    """Whether rows can share one copy of their prompt, and whether chord's decoder can be used.

    `samples`: the model also has to generate. `recomputed`: its layers are computed again in the
    backward pass. Raises ConfigError, which begins with `setting`, if the features are not finite,
    if the output layer is not the only part after them, or if the cache or a gradient changes them.
    """
    policy, name = HFPolicy(model, context=2**31), type(model).__name__
    shares = _looks_alike(model)
    batch = collate(
        [_known(prompt, policy) for prompt in PROMPTS for _ in range(GROUP)],
        [_known(answer, policy) for answer in ANSWERS],
        pad_id=0,
    )
    with _on_cpu(model):
        try:
            features = policy.hidden(batch.input_ids[:, :-1])
            parts = policy.head(features[:1])
            whole = model(input_ids=batch.input_ids[:1, :-1]).logits
            expected = features[batch.mask]
            cached = _cached(policy, batch) if samples else expected
            trained = _trained(policy, batch) if recomputed else expected
        except Exception as error:  # of the model's own code
            raise ConfigError(f"{setting}: {name} can't be used ({first_line(error)})") from error
        shares = shares and _shares(policy, batch, expected)
        fused = _fused(model, batch, expected)
    if not expected.isfinite().all() or whole.isnan().any():
        raise ConfigError(
            f"{setting}: {name} computes NaN or infinity for ordinary tokens, so its weights are "
            "damaged or too large for model.dtype"
        )
    if not torch.allclose(whole.float(), parts.float(), atol=1e-3, rtol=1e-3):
        raise ConfigError(
            f"{setting}: {name} changes its logits behind the output layer in a way that is "
            "not supported"
        )
    if not _near(cached, expected, half=0.5):
        raise ConfigError(f"{setting}: {name} answers otherwise with a cache than without one")
    if not _near(trained, expected, half=0.5):
        raise ConfigError(
            f"{setting}: {name} computes otherwise in training than in scoring with "
            "model.gradient_checkpointing=true; use model.gradient_checkpointing=false"
        )
    return Found(shares, fused)


def _looks_alike(model: PreTrainedModel) -> bool:
    """Whether all layers have the same full attention, masked by transformers' own code.

    A sliding window would matter only in rows longer than it, and so not in this trial.
    """
    settings = model.config.get_text_config()
    kinds = set(getattr(settings, "layer_types", None) or ["full_attention"])
    return (
        settings._attn_implementation in ("sdpa", "eager")
        and model._supports_sdpa
        and getattr(settings, "sliding_window", None) is None
        and kinds == {"full_attention"}
    )


def _shares(policy: HFPolicy, batch: TokenBatch, expected: Tensor) -> bool:
    shared = share_prompts(batch)
    assert shared is not None, "the prompts are long enough"
    try:
        found = policy.hidden_shared(shared.input_ids, shared.positions, shared.allowed)
    except Exception:  # of the model's own code, which takes no such mask
        return False
    # If in doubt, no: separate rows are never wrong.
    return _near(found.flatten(0, 1)[shared.places], expected, half=0.1)


def _fused(model: PreTrainedModel, batch: TokenBatch, expected: Tensor) -> bool:
    if not Fused.knows(model):
        return False
    room = 2**10
    policy = HFPolicy(model, context=room, fused=Fused(model, context=room), packs=True)
    try:
        found = (score(policy, batch).features, _cached(policy, batch))
    except Exception:  # a model that only looks like one of its family
        return False
    return all(_near(each, expected, half=0.1) for each in found)


def _cached(policy: HFPolicy, batch: TokenBatch) -> Tensor:
    """The features that `batch.mask` selects, with rows that change places before the second."""
    prompts, mask = left_pad([_known(prompt, policy) for prompt in PROMPTS], pad_id=0)
    answers = batch.targets[batch.mask].reshape(len(ANSWERS), -1)
    cache = policy.new_cache(len(PROMPTS), prompts.shape[1] + answers.shape[1] - 1)
    first = policy.hidden(prompts, mask, cache=cache)[:, -1].repeat_interleave(GROUP, dim=0)
    cache, turned = cache.expand(GROUP), torch.arange(len(ANSWERS)).flip(0)
    cache.select(turned)
    second = policy.hidden(answers[turned, :1], cache=cache)[turned, -1]
    return torch.stack([first, second], dim=1).flatten(0, 1)


def _trained(policy: HFPolicy, batch: TokenBatch) -> Tensor:
    """The features that `batch.mask` selects, as they are computed for a gradient."""
    with torch.enable_grad():
        return policy.hidden(batch.input_ids[:, :-1])[batch.mask].detach()


def _known(ids: list[int], policy: HFPolicy) -> list[int]:
    return [token % policy.vocab_size for token in ids]


def _near(found: Tensor, expected: Tensor, *, half: float) -> bool:
    """Equal up to rounding: vectors differ by less than 1 % of their length, or by `half`.

    Thirty layers in bfloat16 were seen to differ by 12 %, unrelated vectors differ by 100 %.
    """
    off = (found.float() - expected.float()).norm(dim=-1) / expected.float().norm(dim=-1)
    return bool((off < (0.01 if expected.dtype == torch.float32 else half)).all())


@contextmanager
def _on_cpu(model: PreTrainedModel) -> Iterator[None]:
    """Context in which a model in main memory uses attention that a CPU can compute."""
    own = model.config._attn_implementation
    if own in ON_GPU:
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        if own in ON_GPU:
            model.set_attn_implementation(own)
