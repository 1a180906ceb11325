"""Two train steps of a configuration, seen from outside, and once more with a kill between them."""

from __future__ import annotations

import multiprocessing
import os
import queue
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, seed_everything
from omegaconf import DictConfig

from chord.config.root import TrainConfig
from chord.models.checkpoints import load_weights
from chord.run.build import build_models
from chord.run.checkpoint import CHECKPOINT, read_checkpoint
from chord.run.checkpointing import Checkpointing
from chord.run.directory import RunDirectory
from chord.run.loop import StepLoader
from chord.run.opening import open_run
from chord.run.random_states import restore_random_states
from chord.step.module import ChordModule
from pairs.bed import PairsData
from pairs.reference.rollouts import Sampled
from pairs.reference.step import Recorded, Update


def copies(parameters: Sequence[torch.nn.Parameter]) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


class Watch(Callback):
    """Notes what each step began with, sampled, made of its gradient, and showed."""

    def __init__(self) -> None:
        self.steps: list[Recorded] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.parameters = list(pl_module.policy.parameters())
        for number, optimizer in enumerate(trainer.optimizers):
            self.watch(number, optimizer)
        engine = pl_module.engine
        sample = engine.sample

        def watched(policy: Any, prompts: Any, **given: Any) -> Any:
            found = sample(policy, prompts, **given)
            at = pl_module.data.round
            number = len({call.at for call in self.steps[-1].calls if call.at[0] == at})
            self.steps[-1].calls += calls(prompts, given["group_size"], found, (at, number))
            return found

        engine.sample = watched

    def watch(self, number: int, optimizer: Any) -> None:
        def before(*_: Any) -> None:
            gradient = [p.grad.detach().clone() for p in self.parameters]
            update = Update(number, copies(self.parameters), gradient, [])
            self.steps[-1].updates.append(update)

        def after(*_: Any) -> None:
            self.steps[-1].updates[-1].after = copies(self.parameters)

        optimizer.register_step_pre_hook(before)
        optimizer.register_step_post_hook(after)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.steps.append(Recorded(start=copies(self.parameters)))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        step = self.steps[-1]
        step.metrics = dict(pl_module.record.metrics)
        step.completions = list(pl_module.record.completions)
        step.schedule_state = dict(pl_module.schedule_state)
        step.gate_state = list(pl_module.gate_state)


class Keep(Callback):
    """Sets the run directory aside as it is after the first step's checkpoint."""

    def __init__(self, run: Path, aside: Path) -> None:
        self.run, self.aside = run, aside

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if pl_module.record.step == 0 and trainer.is_global_zero:
            shutil.copytree(self.run, self.aside)
        trainer.strategy.barrier()


def calls(prompts: Any, group_size: int, found: Any, at: tuple[int, int]) -> list[Sampled]:
    """An engine's answers, prompt by prompt."""
    told = found.sampler_logprobs
    if told is not None:
        told = [row.tolist() for row in told.split([len(each) for each in found.responses])]
    return [
        Sampled(
            list(prompt),
            found.responses[k * group_size : (k + 1) * group_size],
            None if told is None else told[k * group_size : (k + 1) * group_size],
            at,
        )
        for k, prompt in enumerate(prompts)
    ]


def take_steps(config: TrainConfig, run: Path, *others: Callback, resumed: bool) -> Watch:
    """The train steps that are still to be done, as a run takes them but for its evaluations."""
    seed_everything(config.seed, verbose=False)
    saved = read_checkpoint(run)
    completed = saved.completed
    assert (completed > 0) == resumed
    models = build_models(config)
    if saved.weights is not None:
        load_weights(models.policy, saved.weights, "resume", CHECKPOINT)
    module = ChordModule(config, PairsData(config.data.pairing), models, first_step=completed)
    watch = Watch()
    trainer = config.trainer.build(
        max_steps=config.steps * config.rollout.updates,
        callbacks=[watch, Checkpointing(run, config), *others],
    )
    if saved.random is not None:
        restore_random_states(saved.random)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(
            module,
            StepLoader(config.steps),
            ckpt_path=run / CHECKPOINT if completed else None,
            weights_only=True,
        )
    return watch


def run(composed: DictConfig, config: TrainConfig, where: Path) -> tuple[list[Recorded], Recorded]:
    """Both steps of a run, and its second step after a kill between them.

    The killed run goes on from what its directory holds, with objects of its own.
    """
    directory = RunDirectory(where / "run", composed, "run")
    if rank() == 0:
        directory.write()
    barrier()
    whole = take_steps(config, where / "run", Keep(where / "run", where / "killed"), resumed=False)
    barrier()
    again = open_run(where / "killed").checked()
    other = take_steps(again, where / "killed", resumed=True)
    assert len(whole.steps) == 2
    assert len(other.steps) == 1
    steps = [*whole.steps, *other.steps]
    for step in steps:
        step.calls = of_all_ranks(step.calls)
    return steps[:2], steps[2]


def of_all_ranks(found: list[Sampled]) -> list[Sampled]:
    """Calls of both ranks, in the order in which one process makes them."""
    if not dist.is_initialized():
        return found
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, found)
    return sorted((call for part in parts for call in part), key=lambda call: call.at)


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


Work = Callable[[Any], list[str]]


def on_two_ranks(work: Work, jobs: Sequence[Any]) -> Iterator[list[str]]:
    """What `work` returns on the first of two gloo processes, job by job."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    ranks = [context.Process(target=_rank, args=(k, port, work, jobs, results)) for k in range(2)]
    for process in ranks:
        process.start()
    try:
        for _ in jobs:
            yield _result(results, ranks)
    finally:
        for process in ranks:
            process.kill()


def _result(results: Any, ranks: list[Any]) -> list[str]:
    """The next result of the first rank; fails at once where a rank did."""
    while True:
        try:
            found: list[str] = results.get(timeout=1)
            return found
        except queue.Empty:
            assert all(process.exitcode in (None, 0) for process in ranks), "a rank has failed"


def _rank(number: int, port: int, work: Work, jobs: Sequence[Any], results: Any) -> None:
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "pairs",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "GROUP_RANK": "0",
    }
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for job in jobs:
        found = work(job)
        if number == 0:
            results.put(found)
    barrier()
