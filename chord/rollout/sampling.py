"""Batched sampling with a key-value cache.

A prompt is computed once for its whole group, a sequence that ends leaves the batch at once, and
each row has its own random numbers, so that the rest of the batch cannot change it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chord.data.batch import left_pad
from chord.errors import ConfigError
from chord.rollout.choice import Sampler

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from chord.models.policy import Policy

    Uniforms = NDArray[np.float64]


@dataclass
class Samples:
    """Responses in prompt-major order: row ``p * group_size + k`` is response k to prompt p."""

    responses: list[list[int]]
    """Sampled tokens, including the end token if it was reached."""
    logprobs: Tensor
    """(N,) log-probability of each token at logits / temperature, row after row."""
    entropies: Tensor
    """(N,) entropy in nats of each token's sampling distribution, at the same temperature."""
    entropies_at_one: Tensor
    """(N,) the same at temperature 1."""
    finished: list[bool]
    """False if a response was cut off at max_new_tokens."""
    sampler_logprobs: Tensor | None = None
    """(N,) the engine's log-probabilities, if the engine is not the policy."""


def draw_uniforms(
    seed: int,
    step: int,
    *,
    keys: Sequence[int],
    group_size: int,
    max_new_tokens: int,
    first: int = 0,
) -> Uniforms:
    """Return the random numbers of a batch, (len(keys) * group_size, max_new_tokens), in [0, 1).

    Each row is seeded by (seed, step, problem key, number of the sample) alone. If a problem is in
    the batch twice, its samples are numbered consecutively, as its two groups would otherwise be
    identical; numbers start at `first`.
    """
    # Here and below: numpy and torch take seconds to load, and settings are read without them.
    import numpy as np

    seen: Counter[int] = Counter()
    rows = np.empty((len(keys) * group_size, max_new_tokens))
    for index, key in enumerate(keys):
        for k in range(group_size):
            generator = np.random.default_rng([seed, step, key, first + seen[key] + k])
            rows[index * group_size + k] = generator.random(max_new_tokens)
        seen[key] += group_size
    return rows


def sample(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    *,
    group_size: int,
    max_new_tokens: int,
    stop_ids: Collection[int],
    pad_id: int,
    uniforms: Uniforms | None = None,
    greedy: bool = False,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    rows_at_a_time: int = 256,
    limits: Sequence[int] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Samples:
    """Sample ``group_size`` responses to each prompt.

    Each token is the first one whose cumulative probability exceeds the row's next uniform, or with
    ``greedy`` the most probable one. Even with top_k and top_p, log-probabilities and entropies are
    those of the whole distribution at logits / temperature: the ratio to the trained policy is then
    1 before its first update, and truncation biases only the choice of samples.

    Args:
        uniforms: (len(prompts) * group_size, at least max_new_tokens), see `draw_uniforms`.
        stop_ids: the tokens that end a response.
        pad_id: pads shorter prompts on the left; masked from attention, so any id will do.
        limits: for each prompt, the length at which its responses are cut off, 1 to max_new_tokens.
        rows_at_a_time: responses computed at once, even for one prompt. Samples do not depend on
            it, except for ties within floating-point error.
        on_progress: called with the number of responses after each `rows_at_a_time` of them.

    The policy is put into evaluation mode and back; nothing has a gradient. Raises ConfigError if a
    prompt is empty, or if prompt and response do not fit into the policy's context.
    """
    import torch

    if greedy == (uniforms is not None):
        raise ValueError("sampling needs either uniforms or greedy=True, and not both")
    limits = [max_new_tokens] * len(prompts) if limits is None else limits
    check_lengths(prompts, limits, max_new_tokens, policy.context)
    rows = len(prompts) * group_size
    draws = None
    if uniforms is not None:
        draws = torch.as_tensor(uniforms, dtype=torch.float64, device=policy.device)
        if len(draws) != rows or draws.shape[1] < max_new_tokens:
            raise ValueError(
                f"uniforms of shape {tuple(draws.shape)}: need ({rows}, {max_new_tokens})"
            )
    shape, device = (rows, max_new_tokens), policy.device
    table = _Table(
        tokens=torch.full(shape, pad_id, device=device),
        logprobs=torch.zeros(shape, dtype=policy.dtype, device=device),
        entropies=torch.zeros(shape, dtype=policy.dtype, device=device),
        entropies_at_one=torch.zeros(shape, dtype=policy.dtype, device=device),
        lengths=torch.tensor(limits, device=device).repeat_interleave(group_size),
        finished=torch.zeros(rows, dtype=torch.bool, device=device),
    )
    stops = torch.tensor(sorted(stop_ids), device=device)
    sampler = Sampler(stops=stops, temperature=temperature, top_k=top_k, top_p=top_p)
    with torch.no_grad(), evaluating(policy):
        for chunk in _chunks(prompts, max(1, rows_at_a_time // group_size)):
            tokens, attention_mask = left_pad([prompts[i] for i in chunk], pad_id=pad_id)
            tokens = tokens.to(device)
            if attention_mask is not None:
                attention_mask = attention_mask.to(device)
            first = torch.tensor(chunk)[:, None] * group_size
            for members in torch.arange(group_size).split(rows_at_a_time):
                places = (first + members).flatten().to(device)
                _generate(policy, tokens, attention_mask, places, draws, table, sampler)
                if on_progress is not None:
                    on_progress(len(places))
    return table.samples()


@dataclass
class _Table:
    """The tensors that rows write their tokens into, wherever they are in the batch at the time."""

    tokens: Tensor
    logprobs: Tensor
    entropies: Tensor
    entropies_at_one: Tensor
    lengths: Tensor
    finished: Tensor

    def samples(self) -> Samples:
        import torch

        columns = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        written = columns < self.lengths[:, None]
        lengths: list[int] = self.lengths.tolist()
        return Samples(
            responses=[row[:n] for row, n in zip(self.tokens.tolist(), lengths, strict=True)],
            logprobs=self.logprobs[written].cpu(),
            entropies=self.entropies[written].cpu(),
            entropies_at_one=self.entropies_at_one[written].cpu(),
            finished=self.finished.tolist(),
        )


def _generate(
    policy: Policy,
    prompts: Tensor,
    attention_mask: Tensor | None,
    places: Tensor,
    uniforms: Tensor | None,
    table: _Table,
    sampler: Sampler,
) -> None:
    """Sample one chunk: row r of the expanded prompts is written to row ``places[r]``.

    A row's entry in ``table.lengths`` is its limit until its end is known.
    """
    import torch

    max_new_tokens = int(table.lengths[places].max())
    group_size = len(places) // len(prompts)
    # The last token of a response is never fed back.
    cache = policy.new_cache(len(prompts), prompts.shape[1] + max_new_tokens - 1)
    features = policy.hidden(prompts, attention_mask, cache=cache)[:, -1]
    features = features.repeat_interleave(group_size, dim=0)
    cache = cache.expand(group_size)
    for position in range(max_new_tokens):
        draws = None if uniforms is None else uniforms[places, position]
        tokens, logprobs, entropies, at_one = sampler(policy.head(features), draws)
        table.tokens[places, position] = tokens
        table.logprobs[places, position] = logprobs
        table.entropies[places, position] = entropies
        table.entropies_at_one[places, position] = at_one
        ended = torch.isin(tokens, sampler.stops)
        leaving = ended | (table.lengths[places] == position + 1)
        if bool(leaving.any()):
            table.lengths[places[ended]] = position + 1
            table.finished[places[ended]] = True
            kept = fill_holes(~leaving)
            if not len(kept):
                return
            cache.select(kept)
            places, tokens = places[kept], tokens[kept]
        if position + 1 < max_new_tokens:
            features = policy.hidden(tokens[:, None], cache=cache)[:, -1]


def fill_holes(alive: Tensor) -> Tensor:
    """Return the n rows that stay, (n,), with those beyond n moved into the places of leaving rows.

    Few rows change places, so few are copied. Worked value: [no, yes, no, yes] gives [3, 1].
    """
    import torch

    count = int(alive.sum())
    rows = torch.arange(count, device=alive.device)
    rows[~alive[:count]] = alive[count:].nonzero()[:, 0] + count
    return rows


@contextmanager
def evaluating(policy: nn.Module) -> Iterator[None]:
    """Context in evaluation mode (no dropout); restores each module's own mode afterwards."""
    modes = [(module, module.training) for module in policy.modules()]
    policy.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _chunks(prompts: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Yield the indices of prompts to compute together, of similar lengths to save padding."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def check_lengths(
    prompts: Sequence[Sequence[int]], limits: Sequence[int], max_new_tokens: int, context: int
) -> None:
    """Raise ConfigError if a prompt is empty, or if prompt and response do not fit the context."""
    if not all(prompts):
        raise ConfigError("a prompt is empty: it must hold at least one token")
    assert all(1 <= limit <= max_new_tokens for limit in limits), "a limit is out of range"
    for prompt, limit in zip(prompts, limits, strict=True):
        if len(prompt) + limit > context:
            raise ConfigError(
                f"rollout.max_new_tokens={limit}: with a prompt of {len(prompt)} tokens must fit "
                f"into model.context={context}"
            )
