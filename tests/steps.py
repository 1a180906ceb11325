"""Single steps of a small module outside Lightning's loop, in float64, with scores of our choice.

The expected gradients are written as plain loops over rows and tokens: each row is run through the
policy alone and without padding, and every term is added up one by one.
"""

from __future__ import annotations

import math
import multiprocessing
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import seed_everything
from torch import Tensor, nn

from chord.config.root import TrainConfig
from chord.data.batch import TokenBatch
from chord.distributed.strategies import shard
from chord.models.policy import Policy
from chord.models.scoring import score
from chord.rollout.rollouts import Rollouts
from chord.run.build import build_data, build_models
from chord.run.loop import StepLoader
from chord.step.demonstrations import open_cache
from chord.step.module import ChordModule
from chord.step.plan import Plan

PAIRED = ("trainer.precision=64-true", "data.pairing=paired")


def module_of(config: TrainConfig) -> ChordModule:
    """The module of a run that can take gradients without a trainer."""
    seed_everything(config.seed, verbose=False)
    data, models = build_data(config), build_models(config)
    models.cache = open_cache(config, data)
    module = ChordModule(config, data, models)
    module.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign,assignment]
    module.on_train_start()
    return module


def metrics_of(config: TrainConfig) -> list[dict[str, float]]:
    """The rows of a run of `config`, by the module alone: no evaluation, no files."""
    seed_everything(config.seed, verbose=False)
    module = ChordModule(config, build_data(config), build_models(config))
    rows: list[dict[str, float]] = []
    trainer = config.trainer.build(max_steps=config.steps * config.rollout.updates, callbacks=[])
    update = module.update

    def remember(step: int, plan: Plan) -> Any:
        seen = update(step, plan)
        rows.append(module.metrics)
        return seen

    module.update = remember  # type: ignore[method-assign]
    trainer.fit(module, StepLoader(config.steps))
    return rows


def response_logits(policy: Policy, batch: TokenBatch) -> Tensor:
    """Logits (N, V) of all response tokens at once."""
    return policy.head(score(policy, batch).features)


def gradient(policy: nn.Module) -> Tensor:
    """All gradients in one vector."""
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
            for p in policy.parameters()
        ]
    )


def plan_gradient(module: ChordModule, plan: Plan, step: int = 0) -> Tensor:
    """The gradient that a plan puts into the parameters."""
    module.add_gradients(step, plan)
    return gradient(module.policy).clone()


def loss_gradient(policy: nn.Module, loss: Tensor) -> Tensor:
    """The gradient of a loss that was added up by hand."""
    for parameter in policy.parameters():
        parameter.grad = None
    loss.backward()
    return gradient(policy).clone()


def with_scores(rollouts: Rollouts, advantage: Any, scores: Sequence[Sequence[float]]) -> Rollouts:
    """The same answers, scored as we say; those of them that are the policy's own are observed."""
    table = torch.tensor(scores, dtype=torch.float64)
    advantages = advantage(table)
    rows, seen = replace(rollouts.rows, advantages=advantages.flatten()), rollouts.observed
    if len(seen.scores) == len(table):
        own = table[:, : seen.scores.shape[1]]
        among = advantages[:, : seen.scores.shape[1]]
        seen = replace(seen, scores=own, rewards=own, advantages=among)
    return replace(rollouts, scores=table, rewards=table, rows=rows, observed=seen)


def some_of(rollouts: Rollouts, first: int, last: int) -> Rollouts:
    """The groups `first` to `last`, as a rank that has drawn these would hold them."""
    size = rollouts.scores.shape[1]
    seen = rollouts.observed
    spans = seen.lengths.sum(dim=1).tolist()
    tables = {
        name: torch.cat(value.split(spans)[first:last])
        if name.startswith("entropies")
        else value[first:last]
        for name, value in vars(seen).items()
    }
    return replace(
        rollouts,
        rows=rollouts.rows.select(torch.arange(size * first, size * last)),
        problems=rollouts.problems[size * first : size * last],
        scores=rollouts.scores[first:last],
        rewards=rollouts.rewards[first:last],
        observed=replace(seen, **tables),
        places=list(range(last - first)),
    )


def score_as(module: ChordModule, scores: Callable[[int], Sequence[Sequence[float]]]) -> None:
    """Let every step of the module be scored by `scores(step)` (P, K)."""
    collect, advantage = module.collect, module.config.advantage
    module.collect = lambda step: with_scores(  # type: ignore[assignment]
        collect(step), advantage, scores(step)
    )


def row_tokens(
    policy: nn.Module, tokens: TokenBatch, row: int, *, temperature: float = 1.0
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Place, log-probability and distribution (V,) of each token of a row's response."""
    length = int(tokens.attention_mask[row].sum())
    ids = tokens.input_ids[row, :length]
    logprobs = (policy(ids[None])[0, :-1] / temperature).log_softmax(-1)
    for place in range(length - 1):
        if tokens.mask[row, place]:
            yield place, logprobs[place, ids[place + 1]], logprobs[place]


def count(tokens: TokenBatch) -> int:
    """Response tokens of all rows."""
    return int(tokens.mask.sum())


def on_two_ranks(tmp_path: Path, work: Callable[[int], list[Tensor]]) -> list[Tensor]:
    """What `work(rank)` returns on two gloo processes, averaged as DistributedDataParallel does."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    ranks = [
        context.Process(target=_rank, args=(rank, str(tmp_path / "store"), work, results))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    try:
        found = _result(results, ranks)
        for process in ranks:
            process.join(timeout=300)
    finally:
        for process in ranks:
            process.kill()
    return [torch.from_numpy(each) for each in found]


def _result(results: Any, ranks: list[Any]) -> Any:
    """What rank 0 has found; fails at once where a rank did, and where they wait for each other."""
    for _ in range(300):
        try:
            return results.get(timeout=1)
        except queue.Empty:
            assert all(process.exitcode in (None, 0) for process in ranks), "a rank has failed"
    raise AssertionError("the ranks wait for each other")


def _rank(rank: int, path: str, work: Any, results: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    found = []
    for each in work(rank):
        dist.all_reduce(each)
        found.append((each / 2).numpy())
    if rank == 0:
        results.put(found)
    dist.barrier()
    dist.destroy_process_group()


def sharded(module: ChordModule) -> None:
    """Shard the policy over two ranks, as trainer=fsdp does."""
    from torch.distributed.device_mesh import init_device_mesh

    module.policy.before_sharding()
    shard(module.policy, module.policy.layers(), init_device_mesh("cpu", (2,)))


def poison(model: Any, name: str, value: float = math.nan) -> None:
    """One number of a model's weight."""
    with torch.no_grad():
        dict(model.named_parameters())[name].view(-1)[3] = value
