"""Typed batches: problems, expert demonstrations, and the padded tokens a policy is scored on."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


AT_START = 5_000
"""The number of rows of a source that are checked, or scored, at the start of a run."""
AT_ONCE = 1024
"""The number of pairs that are padded together when all pairs of a file are processed."""


@dataclass(frozen=True)
class Turn:
    """A message of a conversation; ``role`` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Problem:
    """A question with its known answer; ``key`` is a stable id that seeds its samples.

    ``turns``: for conversations, the turns that the response continues; empty if the prompt is the
    only turn. ``details``: what the verifier needs besides the answer. ``answer``: empty if it is
    not known. ``others``: further answers that are right too. ``source``: where the problem is
    from. ``conversational``: whether the data have it as messages, even if that is only one.
    """

    prompt: str
    answer: str
    key: int
    skill: str = "target"
    turns: tuple[Turn, ...] = ()
    details: Any = field(default=None, compare=False, repr=False)
    others: tuple[str, ...] = ()
    source: str = ""
    conversational: bool = field(default=False, compare=False, repr=False)

    def each_answer(self) -> list[Problem]:
        """The problem with each of its right answers as the only one."""
        if not self.others:
            return [self]
        answers = (self.answer, *self.others)
        return [replace(self, answer=answer, others=()) for answer in answers]


@dataclass(frozen=True)
class Pair:
    """A problem with an expert's response to it (text only, without an end token).

    ``turns``: the turns after the problem's, if there is more than one response: the assistant's
    turns, which are imitated, and others between them, which are not. The last turn is the
    assistant's and holds ``response``.
    """

    problem: Problem
    response: str
    turns: tuple[Turn, ...] = ()


class Tokenizer(Protocol):
    """Converts text to tokens, and tokens to text."""

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        ...

    @property
    def pad_id(self) -> int:
        """The token that pads shorter rows on the right."""
        ...

    @property
    def eos_id(self) -> int:
        """The token that ends a response."""
        ...

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end a sampled response, including `eos_id`."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without an end token."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text before the first end token, without padding."""
        ...

    def written(self, text: str) -> str:
        """A text as it comes back from its tokens, for comparing it with responses."""
        ...

    def notes(self) -> list[str]:
        """Lines on how texts become tokens, for the start of a run."""
        ...

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token; end and other special tokens by name."""
        ...

    def prompt(self, problem: Problem) -> list[int]:
        """The prompt of a problem, the same for expert responses and for samples."""
        ...

    def response(self, pair: Pair) -> tuple[list[int], list[bool]]:
        """The tokens after the prompt, including the end token, and which ones the expert wrote."""
        ...


def at_start(numbers: Iterable[int], taken: int = 0) -> list[int]:
    """What is looked at at the start of a run: all of these numbers, or a random sample, sorted.

    The sample is the same in every run, and smaller by what is `taken` already.
    """
    numbers = list(numbers)
    return sorted(random.Random("checks").sample(numbers, min(AT_START - taken, len(numbers))))


def whole_length(tokenizer: Tokenizer, pair: Pair) -> int:
    """Length in tokens of a prompt with the expert's response."""
    return len(tokenizer.prompt(pair.problem)) + len(tokenizer.response(pair)[0])


@dataclass
class TokenBatch:
    """B right-padded sequences of prompt and response, L tokens wide.

    Token-level tensors of a loss are aligned to ``targets``, so T = L - 1. Only ``response_mask``
    decides which positions count, never the value of a token, so an end token that is also used as
    padding does no harm.
    """

    input_ids: Tensor
    """(B, L) int64."""
    response_mask: Tensor
    """(B, L) bool, True on response tokens including the first end token."""
    attention_mask: Tensor
    """(B, L) bool, True on everything except padding."""

    def __post_init__(self) -> None:
        shapes = {
            tuple(tensor.shape)
            for tensor in (self.input_ids, self.response_mask, self.attention_mask)
        }
        assert len(shapes) == 1, f"input_ids and masks differ in shape: {shapes}"

    @property
    def targets(self) -> Tensor:
        """(B, T) the token that follows each position."""
        return self.input_ids[:, 1:]

    @property
    def mask(self) -> Tensor:
        """(B, T) bool, True if the target belongs to the response."""
        return self.response_mask[:, 1:]

    def within(self, keep: Tensor) -> TokenBatch:
        """The same tokens, with only those response tokens in the mask that (B, T) `keep` marks."""
        response_mask = self.response_mask.clone()
        response_mask[:, 1:] &= keep
        return replace(self, response_mask=response_mask)

    def to(self, device: torch.device) -> TokenBatch:
        """The same tokens on a device."""
        return TokenBatch(
            input_ids=self.input_ids.to(device),
            response_mask=self.response_mask.to(device),
            attention_mask=self.attention_mask.to(device),
        )

    def select(self, rows: Tensor | slice) -> TokenBatch:
        """Return the given rows, trimmed to the longest of them (at least one column)."""
        attention_mask = self.attention_mask[rows]
        used = attention_mask.any(dim=0).nonzero()
        width = int(used[-1]) + 1 if len(used) else 1
        return TokenBatch(
            input_ids=self.input_ids[rows, :width],
            response_mask=self.response_mask[rows, :width],
            attention_mask=attention_mask[:, :width],
        )


def collate(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    pad_id: int,
    written: Sequence[Sequence[bool]] | None = None,
) -> TokenBatch:
    """Join each prompt to its response and pad on the right.

    A response includes its own end token if it has one; a truncated one has none. ``written``
    marks the tokens of each response that count; by default, all do. Worked value: prompts
    [[5, 6], [7]] and responses [[8, 1], [9]] give input_ids [[5, 6, 8, 1], [7, 9, 0, 0]].

    Raises ValueError if the two lists differ in length or a prompt is empty (there would be nothing
    to predict its first response token from).
    """
    # Here and below: torch takes seconds to load, and settings are read without it.
    import torch

    if len(prompts) != len(responses):
        raise ValueError(f"{len(prompts)} prompts do not match {len(responses)} responses")
    if not all(prompts):
        raise ValueError("a prompt is empty: it must hold at least one token")
    sizes = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    width = max(sizes, default=1)
    rows = [
        [*prompt, *response, *[pad_id] * (width - size)]
        for prompt, response, size in zip(prompts, responses, sizes, strict=True)
    ]
    starts = torch.tensor([len(prompt) for prompt in prompts], dtype=torch.int64)[:, None]
    ends = torch.tensor(sizes, dtype=torch.int64)[:, None]
    columns = torch.arange(width)[None, :]
    attention_mask = columns < ends
    response_mask = attention_mask & (columns >= starts)
    if written is not None:
        marks = [mark for row in written for mark in row]
        response_mask[response_mask.clone()] = torch.tensor(marks, dtype=torch.bool)
    return TokenBatch(
        input_ids=torch.tensor(rows, dtype=torch.int64).reshape(len(rows), width),
        response_mask=response_mask,
        attention_mask=attention_mask,
    )


def micro_batches(
    tokens: TokenBatch, size: int, *, together: Tensor | None = None
) -> Iterator[Tensor]:
    """The `pieces` of the rows, equally many on all ranks: the last ones can be empty.

    A model that is sharded over the ranks has to be run by all of them or by none.
    """
    import torch

    from chord.distributed.collectives import all_max

    found = pieces(tokens, size, together=together)
    most = int(all_max(torch.tensor(len(found)))) if size > 0 else 1
    yield from [*found, *[found[0][:0]] * (most - len(found))]


def pieces(tokens: TokenBatch, size: int, *, together: Tensor | None = None) -> tuple[Tensor, ...]:
    """Row indices, shortest rows first to save padding; size 0: all rows at once.

    Rows with the same number in `together` (B,) stay next to each other, at the place of the
    longest of them.
    """
    import torch

    lengths = tokens.attention_mask.sum(dim=1)
    order = lengths.argsort(stable=True)
    if together is not None:
        longest = torch.zeros_like(lengths).scatter_reduce(0, together, lengths, "amax")[together]
        order = (longest * len(together) + together).argsort(stable=True)
    found: tuple[Tensor, ...] = order.split(size if size > 0 else max(1, len(lengths)))
    return found


def collated(pairs: Sequence[Pair], tokenizer: Tokenizer) -> Iterator[TokenBatch]:
    """`collate_pairs` for more pairs than fit into memory, in order, some at a time."""
    for start in range(0, len(pairs), AT_ONCE):
        yield collate_pairs(pairs[start : start + AT_ONCE], tokenizer)


def collate_pairs(pairs: Sequence[Pair], tokenizer: Tokenizer) -> TokenBatch:
    """Tokens of problems and their expert responses, each with its end token."""
    responses = [tokenizer.response(pair) for pair in pairs]
    return collate(
        [tokenizer.prompt(pair.problem) for pair in pairs],
        [tokens for tokens, _ in responses],
        pad_id=tokenizer.pad_id,
        written=[written for _, written in responses],
    )


def left_pad(prompts: Sequence[Sequence[int]], *, pad_id: int) -> tuple[Tensor, Tensor | None]:
    """Return tokens (B, L) and their mask, or None if all prompts have the same length."""
    import torch

    width = max(map(len, prompts))
    tokens = torch.tensor([[pad_id] * (width - len(p)) + list(p) for p in prompts])
    lengths = torch.tensor([len(p) for p in prompts])
    if bool((lengths == width).all()):
        return tokens, None
    return tokens, torch.arange(width) >= width - lengths[:, None]
