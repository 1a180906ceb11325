"""Bases that use the expert's response style more or less often: the first axis of the map.

    python experiments/map/bases.py    # outputs/map/bases/*.safetensors and bases.csv

Each shipped base is trained further for a short while on its own pre-training mixture, with only
the split of the target problems between the two response styles changed. That changes how often the
model uses each style, but hardly how good it is in it. Every base is scored on every problem size,
and the map is drawn from these scores.
"""

from __future__ import annotations

import csv
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE.parent.parent / "outputs" / "map" / "bases"
SEEDS = (0, 1, 2)
SHARES = (0.005, 0.03, 0.15, 0.5)
"""Shares of worked-out target problems."""
STEPS = 500
RATE = 5e-4
SIZES = {
    "small": ((1000, 9999), (11, 29)),
    "default": ((3000, 9999), (13, 99)),
    "large": ((5000, 9999), (41, 99)),
}
"""Ranges of the operands: the second axis, how reliable the model is in the style."""


def name(seed: int, share: float) -> str:
    """A base's file."""
    return f"base{seed}_share{share:g}"


def make(seed: int, share: float) -> list[dict[str, object]]:
    """Train one base further and score it on every size; what exists is not made again."""
    import torch

    from chord.data.testbed import Sizes, TestbedConfig
    from chord.models.storage import load_policy, save_policy
    from chord.models.tiny import ASSETS, base_name
    from chord.pretrain.recipe import BASE
    from chord.pretrain.scores import greedy_score, target_scores
    from chord.pretrain.training import flushing_denormals, train_step

    torch.set_num_threads(1)
    path = OUT / f"{name(seed, share)}.safetensors"
    if path.exists():
        model = load_policy(path)
    else:
        model = load_policy(ASSETS / base_name(seed))
        target = BASE.mixture.direct + BASE.mixture.worked
        mixture = replace(BASE.mixture, direct=target * (1 - share), worked=target * share)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98))
        optimizer.param_groups[0]["peak"] = RATE
        for step in range(STEPS):
            rng = random.Random(f"map/{seed}/{step}")
            documents = mixture.documents("pretrain", BASE.batch, rng)
            with flushing_denormals():
                train_step(
                    model, [optimizer], documents, rate=1 - step / STEPS, clip=BASE.clip_norm
                )
        save_policy(model, path, {"pretraining_seed": seed, "worked_share": share})
    rows: list[dict[str, object]] = []
    for size, ranges in SIZES.items():
        first, second = Sizes(*ranges)
        testbed = TestbedConfig(
            min_first=first[0], max_first=first[1], min_second=second[0], max_second=second[1]
        ).build()
        scores = target_scores(model, testbed.held_out("validation"))
        rows.append({"seed": seed, "share": share, "size": size, **scores})
    retained = testbed.retained("validation")
    mean = sum(greedy_score(model, problems) for problems in retained.values()) / len(retained)
    whole = [row | {"retained": mean} for row in rows]
    return [{key: _short(value) for key, value in row.items()} for row in whole]


def _short(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Every base, two at a time."""
    OUT.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(make, seed, share) for seed in SEEDS for share in SHARES]
    rows = [row for job in jobs for row in job.result()]
    with (HERE / "bases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
