"""A teacher's likeliest tokens on the expert's answers, on disk: `python -m chord.cache_teacher`.

A safetensors file: `digests` (P,) of the pairs, `lengths` (P,) of their responses with the end
token, and for all response tokens in that order `ids` (N, K) and `logprobs` (N, K + 1), the last
column the mass of all other tokens ((N, K) where K is the whole vocabulary).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from chord.data.batch import Pair, TokenBatch
from chord.losses.distillation import TeacherTokens, keep_likeliest
from chord.models.policy import Policy
from chord.models.scoring import score
from chord.models.storage import write_tensors

_ENTRY = "chord_teacher"


def digest(pair: Pair) -> int:
    """A 63-bit name of a pair's texts: another prompt or response has another one."""
    text = f"{pair.problem.prompt}\0{pair.response}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1


@torch.no_grad()
def write_cache(
    path: Path, teacher: Policy, pairs: Sequence[Pair], tokens: TokenBatch, *, k: int
) -> dict[str, float]:
    """Score all pairs (their rows in `tokens`) and write the file, all of it or nothing.

    Returns what the truncation leaves out: mean and largest mass beyond the K tokens kept.
    """

    def likeliest(logits: Tensor) -> tuple[Tensor, Tensor]:
        kept = keep_likeliest(logits.log_softmax(dim=-1), k)
        assert kept.ids is not None
        return kept.ids, kept.logprobs

    ids, logprobs = score(teacher, tokens).map(likeliest)
    tensors = {
        "digests": torch.tensor([digest(pair) for pair in pairs], dtype=torch.int64),
        "lengths": tokens.mask.sum(dim=1),
        "ids": ids.to(torch.int32),
        "logprobs": logprobs.float(),
    }
    header = json.dumps({"vocab_size": teacher.vocab_size, "k": ids.shape[-1]})
    write_tensors(path, tensors, {_ENTRY: header})
    if logprobs.shape == ids.shape:
        return {"mean": 0.0, "largest": 0.0}
    rest = logprobs[:, -1].exp()
    return {"mean": float(rest.mean()), "largest": float(rest.max())}


@dataclass
class TeacherCache:
    """The opened file: `rows` gives the teacher's tables for some pairs."""

    path: str
    vocab_size: int
    ids: Tensor
    logprobs: Tensor
    spans: dict[int, slice]

    @classmethod
    def open(cls, path: str) -> TeacherCache:
        """Read the file; ValueError in one line where it is missing, damaged or another format."""
        made = "make one with python -m chord.cache_teacher"
        if not Path(path).is_file():
            raise ValueError(f"target.cache={path}: no such file; {made}")
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads(file.metadata()[_ENTRY])
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            ends = found["lengths"].cumsum(dim=0).tolist()
            starts = [0, *ends[:-1]]
            spans = {
                name: slice(start, end)
                for name, start, end in zip(found["digests"].tolist(), starts, ends, strict=True)
            }
            return cls(
                path, int(header["vocab_size"]), found["ids"].long(), found["logprobs"], spans
            )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"target.cache={path}: is no teacher cache; {made}") from error

    def check(self, pairs: Sequence[Pair], vocab_size: int) -> None:
        """Refuse a cache that was made for other pairs or another vocabulary."""
        again = "make it again with python -m chord.cache_teacher"
        if self.vocab_size != vocab_size:
            raise ValueError(
                f"target.cache={self.path}: holds a vocabulary of {self.vocab_size}, the data has "
                f"{vocab_size}; {again}"
            )
        absent = sum(digest(pair) not in self.spans for pair in pairs)
        if absent:
            raise ValueError(
                f"target.cache={self.path}: lacks {absent} of the {len(pairs)} expert pairs; "
                f"{again}"
            )

    def rows(self, pairs: Sequence[Pair], mask: Tensor, dtype: torch.dtype) -> TeacherTokens:
        """Tables (B, T, K) and (B, T, K + 1) aligned to the response `mask` (B, T) of the pairs."""
        spans = [self.spans[digest(pair)] for pair in pairs]
        # Without a pair, as on a rank that has none, there is nothing to join.
        index = torch.cat([torch.arange(0), *(torch.arange(s.start, s.stop) for s in spans)])
        device = mask.device
        ids = self.ids.new_zeros((*mask.shape, self.ids.shape[-1]), device=device)
        logprobs = torch.zeros((*mask.shape, self.logprobs.shape[-1]), dtype=dtype, device=device)
        ids[mask] = self.ids[index].to(device)
        logprobs[mask] = self.logprobs[index].to(device, dtype)
        return TeacherTokens(logprobs, ids)
