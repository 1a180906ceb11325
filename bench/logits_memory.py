"""Peak memory of a loss over a large vocabulary, with all logits at once and with logits in pieces.

python bench/logits_memory.py

The model has width 64 and a vocabulary of 150,000 tokens; the batch has 16 rows of 256 response
tokens. Each way is measured in its own process, as the resident memory beyond the model's.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

VOCAB, WIDTH, ROWS, LENGTH = 150_000, 64, 16, 256
WAYS = ("model alone", "all at once", "in pieces")


def main() -> None:
    """Measure all ways and print memory, seconds and gradient norm of each."""
    found = {}
    for way in WAYS:
        command = [sys.executable, __file__, way]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[way] = [float(number) for number in output.split()]
    base = found["model alone"][0]
    for way in WAYS[1:]:
        peak, seconds, gradient = found[way]
        print(f"{way}: {peak - base:.0f} MB, {seconds:.1f} s, gradient norm {gradient:.9g}")


def measure(way: str) -> None:
    """Measure one way; print peak MB, seconds and the gradient's norm."""
    import torch

    from chord.data.batch import collate
    from chord.models import scoring
    from chord.models.config import TransformerConfig
    from chord.models.scoring import score
    from chord.models.transformer import Transformer

    torch.manual_seed(0)
    torch.set_num_threads(1)
    sizes = TransformerConfig(vocab_size=VOCAB, width=WIDTH, layers=1, heads=2, context=512)
    policy = Transformer(sizes)
    for parameter in policy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    answers = torch.randint(VOCAB, (ROWS, LENGTH)).tolist()
    batch = collate([[1, 2]] * ROWS, answers, pad_id=0)
    began = time.perf_counter()
    if way != "model alone":
        if way == "all at once":
            scoring.PIECE = sys.maxsize
        stats = score(policy, batch).stats(batch.targets[batch.mask])
        (stats.logprobs * (1 - stats.max_prob)).mean().backward()
    seconds = time.perf_counter() - began
    gradient = torch.stack([p.grad.norm() for p in policy.parameters() if p.grad is not None])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(peak, seconds, float(gradient.double().norm()))


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
