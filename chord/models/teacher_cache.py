"""A teacher's likeliest tokens on expert responses, on disk: `python -m chord.cache_teacher`.

A safetensors file with `digests` (P,) of the pairs' tokens, `lengths` (P,) of their responses
including the end token and, for all response tokens in that order, `ids` (N, K) and `logprobs`
(N, K + 1), whose last column is the mass of all other tokens ((N, K) if K is the whole vocabulary).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from chord.data.batch import TokenBatch
from chord.errors import ConfigError
from chord.io.reading import parse_json
from chord.losses.distillation import TeacherTokens, keep_likeliest
from chord.models.policy import Policy
from chord.models.scoring import score
from chord.models.sharing import own_batches
from chord.models.storage import write_tensors

_ENTRY = "chord_teacher"
FORMAT = 2
"""The first format identified pairs by their last texts alone."""


def digests(tokens: TokenBatch) -> list[int]:
    """A 63-bit digest of each row: of its tokens and which of them count, without padding."""
    columns = torch.stack([tokens.input_ids, tokens.response_mask.long()], dim=-1).cpu()
    rows = zip(columns, tokens.attention_mask.cpu(), strict=True)
    hashes = (hashlib.sha256(row[real].numpy().tobytes()).digest() for row, real in rows)
    return [int.from_bytes(name[:8]) >> 1 for name in hashes]


@torch.no_grad()
def write_cache(
    path: Path, teacher: Policy, batches: Iterable[TokenBatch], *, k: int, micro_batch: int = 0
) -> dict[str, float]:
    """Score batch after batch, `micro_batch` rows at a time (0: all at once), and write the file
    atomically.

    Returns what the truncation leaves out: mean and largest mass beyond the K tokens kept.
    """

    def likeliest(logits: Tensor) -> tuple[Tensor, Tensor]:
        kept = keep_likeliest(logits.log_softmax(dim=-1), k)
        assert kept.ids is not None
        return kept.ids.to(torch.int32), kept.logprobs.float()

    names: list[int] = []
    rows: list[tuple[Tensor, ...]] = []
    for tokens in batches:
        found: list[tuple[Tensor, ...]] = [()] * len(tokens.mask)
        for index in own_batches(teacher, tokens, micro_batch):
            piece = tokens.select(index)
            lengths = piece.mask.sum(dim=1).tolist()
            scored = score(teacher, piece).map(likeliest)
            columns = [column.cpu().split(lengths) for column in scored]
            for row, *kept in zip(index.tolist(), *columns, strict=True):
                found[row] = tuple(kept)
        names += digests(tokens)
        rows += found
    ids, logprobs = (torch.cat(columns) for columns in zip(*rows, strict=True))
    tensors = {
        "digests": torch.tensor(names, dtype=torch.int64),
        "lengths": torch.tensor([len(kept) for kept, _ in rows]),
        "ids": ids,
        "logprobs": logprobs,
    }
    header = {"format": FORMAT, "vocab_size": teacher.vocab_size, "k": ids.shape[-1]}
    write_tensors(path, tensors, {_ENTRY: json.dumps(header)})
    if logprobs.shape == ids.shape:
        return {"mean": 0.0, "largest": 0.0}
    rest = logprobs[:, -1].exp()
    return {"mean": float(rest.mean()), "largest": float(rest.max())}


@dataclass
class TeacherCache:
    """The opened file: `rows` gives the teacher's tables for some rows of tokens."""

    path: str
    vocab_size: int
    format: int
    ids: Tensor
    logprobs: Tensor
    spans: dict[int, slice]

    @classmethod
    def open(cls, path: str) -> TeacherCache:
        """Read the file; a one-line ConfigError if it is missing, damaged or of another format."""
        made = "make one with python -m chord.cache_teacher"
        if not Path(path).is_file():
            raise ConfigError(f"target.cache={path}: no such file; {made}")
        try:
            with safe_open(path, framework="pt") as file:
                header = parse_json(file.metadata()[_ENTRY].encode())
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            ends = found["lengths"].cumsum(dim=0).tolist()
            starts = [0, *ends[:-1]]
            spans = {
                name: slice(start, end)
                for name, start, end in zip(found["digests"].tolist(), starts, ends, strict=True)
            }
            # The first format has no number.
            numbers = int(header["vocab_size"]), int(header.get("format", 1))
            return cls(path, *numbers, found["ids"].long(), found["logprobs"], spans)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"target.cache={path}: is no teacher cache; {made}") from error

    def check(self, batches: Iterable[TokenBatch], vocab_size: int) -> None:
        """Refuse a cache that was made for other tokens or another vocabulary."""
        again = "make it again with python -m chord.cache_teacher"
        if self.format != FORMAT:
            raise ConfigError(
                f"target.cache={self.path}: has the format {self.format}, which is no longer read; "
                f"{again}"
            )
        if self.vocab_size != vocab_size:
            raise ConfigError(
                f"target.cache={self.path}: holds a vocabulary of {self.vocab_size}, the data has "
                f"{vocab_size}; {again}"
            )
        names = [name for tokens in batches for name in digests(tokens)]
        absent = sum(name not in self.spans for name in names)
        if absent:
            raise ConfigError(
                f"target.cache={self.path}: lacks {absent} of the {len(names)} expert pairs in "
                f"this model's tokens; {again}"
            )

    def rows(self, tokens: TokenBatch, dtype: torch.dtype) -> TeacherTokens:
        """Tables (B, T, K) and (B, T, K + 1) aligned to the responses' `mask` (B, T)."""
        mask, spans = tokens.mask, [self.spans[name] for name in digests(tokens)]
        # Without rows, as on a rank that has none, there is nothing to concatenate.
        index = torch.cat([torch.arange(0), *(torch.arange(s.start, s.stop) for s in spans)])
        device = mask.device
        ids = self.ids.new_zeros((*mask.shape, self.ids.shape[-1]), device=device)
        logprobs = torch.zeros((*mask.shape, self.logprobs.shape[-1]), dtype=dtype, device=device)
        ids[mask] = self.ids[index].to(device)
        logprobs[mask] = self.logprobs[index].to(device, dtype)
        return TeacherTokens(logprobs, ids)
