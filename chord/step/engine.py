"""Opening what answers a step's problems, as the configuration names it."""

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

    One that does not start is closed here. One that joins the run's processes is started when they
    are there, by `join`. Raises ValueError in one line for what is not installed or not
    there, or runs another model.
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
        # The others' answers come after their first step's weights.
        start_engine(engine, data, policy, answering=leads(config.trainer.strategy))
        stack.pop_all()
    return engine


def join(engine: Engine, config: TrainConfig, data: Data, policy: Policy) -> None:
    """Start an engine that joins the run's processes, once they are there.

    Raises `ConfigError` where it can't run the model.
    """
    from chord.distributed.strategies import whole
    from chord.errors import config_errors

    if joins(config):
        with config_errors(), whole(policy):
            start_engine(engine, data, policy)


def joins(config: TrainConfig) -> bool:
    """Whether each of several processes has an engine of its own, for its share of the answers."""
    rollout = config.rollout
    alone = config.trainer.processes == 1
    return rollout.engine == "vllm" and rollout.server is None and not alone


def start_engine(engine: Engine, data: Data, policy: Policy, *, answering: bool = True) -> None:
    """Make it ready; where it is `answering`, give it the weights and let it answer once."""
    assert isinstance(engine, Foreign)
    # A prefix may leave no room for the one token that every answer has.
    longest = data.longest_prompt + engine.config.max_new_tokens + 1
    if engine.config.prefix != "none":
        # Or be longer than any answer of the policy: as long as the expert's but for its end.
        longest = max(longest, data.longest_pair)
    engine.start(policy, longest=longest)
    if answering:
        engine.sync(policy)
        engine.probe(policy)


def foreign(rollout: RolloutConfig) -> type[Foreign]:
    """The class of an engine that is not the policy."""
    if rollout.engine == "hf":
        from chord.rollout.engines.hf import Generate

        return Generate
    if rollout.server is not None:
        from chord.rollout.engines.server import Server

        return Server
    from chord.rollout.engines.vllm import Vllm

    return Vllm
