"""Opening the engine that generates a step's rollouts, as configured."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from chord.distributed.launch import leads
from chord.rollout.engines.base import Engine, Foreign, Native

if TYPE_CHECKING:
    from chord.config.root import TrainConfig
    from chord.data.base import Data
    from chord.models.policy import Policy
    from chord.rollout.settings import RolloutConfig


def open_engine(config: TrainConfig, data: Data, policy: Policy) -> Engine:
    """The engine of `rollout.engine`, with the policy's weights; `Engine.close` ends it.

    An engine that fails to start is closed here. One that joins the run's processes is started
    later, by `join`, when these exist. Raises a one-line ConfigError if something is not installed
    or not found, or if the engine runs another model.
    """
    rollout = config.rollout
    if rollout.engine == "native":
        return Native(rollout, data.tokenizer)
    kind = foreign(rollout)
    engine = kind(
        rollout, data.tokenizer, model=config.model, micro_batch=config.trainer.micro_batch
    )
    engine.check()
    if joins(config):
        return engine
    with ExitStack() as stack:
        stack.callback(engine.close)
        # The others respond only after receiving the weights of their first step.
        start_engine(engine, data, policy, answering=leads(config.trainer.strategy))
        stack.pop_all()
    return engine


def join(engine: Engine, config: TrainConfig, data: Data, policy: Policy) -> None:
    """Start an engine that joins the run's processes, once these exist.

    Raises `ConfigError` if it can't run the model.
    """
    # Here and below: torch and optional packages, for the engine that was chosen alone.
    from chord.distributed.strategies import whole

    if joins(config):
        with whole(policy):
            start_engine(engine, data, policy)


def joins(config: TrainConfig) -> bool:
    """Whether each of several processes has its own engine, for its share of the responses."""
    rollout = config.rollout
    alone = config.trainer.processes == 1
    return rollout.engine == "vllm" and rollout.server is None and not alone


def start_engine(engine: Engine, data: Data, policy: Policy, *, answering: bool = True) -> None:
    """Make the engine ready; if it is `answering`, send it the weights and sample one response."""
    assert isinstance(engine, Foreign)
    # A prefix might leave no room for the one token that every response has.
    longest = data.longest_prompt + engine.config.max_new_tokens + 1
    if engine.config.prefix != "none":
        # It can be longer than any rollout: as long as the expert's response without its end token.
        longest = max(longest, data.longest_pair)
    engine.start(policy, longest=longest)
    if answering:
        engine.sync(policy)
        engine.probe(policy)


def foreign(rollout: RolloutConfig) -> type[Foreign]:
    """The class of an engine other than the policy itself."""
    if rollout.engine == "hf":
        from chord.rollout.engines.hf import Generate

        return Generate
    if rollout.server is not None:
        from chord.rollout.engines.server import Server

        return Server
    from chord.rollout.engines.vllm import Vllm

    return Vllm
