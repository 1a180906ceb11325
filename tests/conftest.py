"""What tests start from: the real configuration, a registry, a machine without a W&B account.

The configuration is shrunk until a run takes a fraction of a second; the registry is put back.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from hydra import compose
from omegaconf import DictConfig
from remembering import anew, remember

from chord.config import plugins
from chord.config.composing import reading_conf, register
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.distributed.signals import SIGNALS

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Threads that wait for each other sleep: there may be fewer processors than threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# What is imported is compiled once, here and in the many processes that tests start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Composing makes many short-lived objects: looking for cycles that often is a fifth of its time.
gc.set_threshold(20_000, 20, 20)
# A shell starts what it runs in the background with Ctrl-C ignored, and so do the children of that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# By default an example that takes long fails: no test measures time.
hypothesis.settings.register_profile("chord", deadline=None)
hypothesis.settings.load_profile("chord")
# Not the user's own.
_state = tempfile.TemporaryDirectory(prefix="chord-state-")
os.environ["CHORD_STATE"] = _state.name
register()
remember()
PHASE = "PYTEST_CURRENT_TEST"
"""A variable in which pytest itself says which test is on, and whether it is being taken down."""
SERVICE = "WANDB_SERVICE"
"""A variable in which wandb says how its service of this process is reached, while there is one."""

SMALL = [
    "steps=2",
    "tracking=off",
    "evaluation=quick",
    "evaluation.val_problems=4",
    "evaluation.val_retained=2",
    "evaluation.test_problems=4",
    "evaluation.test_retained=2",
    "evaluation.pairs=4",
    "evaluation.max_new_tokens=4",
    "rollout.problems=2",
    "rollout.group_size=2",
    "rollout.max_new_tokens=12",
    "data.expert_batch=3",
    "data.expert_check=skip",
    "trainer.checkpoint_every=1",
    "trainer.diagnostics_every=1",
    "trainer.completions_every=1",
]


def pytest_collection_finish() -> None:
    """Leave out the picture of every run in this process, which is half of a small run's time.

    `test_plots` draws.
    """
    if "lightning" in sys.modules:
        from chord.run import loop

        loop.plot_run = undrawn


def undrawn(run_dir: Path, *, title: str | None = None) -> Path:
    """An empty picture."""
    (run_dir / "curves.png").touch()
    return run_dir / "curves.png"


def compose_config(*overrides: str, name: str = "train") -> DictConfig:
    """The real configuration with overrides, as Hydra composes it on the command line."""
    with reading_conf():
        return compose(name, overrides=list(overrides))


def compose_anew(*overrides: str, name: str = "train") -> DictConfig:
    """The same, with nothing remembered."""
    with anew():
        return compose_config(*overrides, name=name)


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """What a command changes in its process, which ends with it, is put back after each test."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    environment, directory = dict(os.environ), os.getcwd()
    arguments, hook = list(sys.argv), sys.excepthook
    logs, level = list(logging.root.handlers), logging.root.level
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    kept = {name: os.environ[name] for name in (PHASE, SERVICE) if name in os.environ}
    os.environ.clear()
    os.environ.update({n: value for n, value in environment.items() if n != SERVICE} | kept)
    os.chdir(directory)
    sys.argv[:], sys.excepthook = arguments, hook
    for added in set(logging.root.handlers) - set(logs):
        added.close()
    logging.root.handlers[:] = logs
    logging.root.setLevel(level)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an untrained base.safetensors and teacher.safetensors of 2,000 weights."""
    import torch

    from chord.data.tasks import ALPHABET
    from chord.data.tokenizer import CharTokenizer
    from chord.models.config import TransformerConfig
    from chord.models.storage import save_policy
    from chord.models.transformer import Transformer

    path = tmp_path_factory.mktemp("models")
    size = CharTokenizer(ALPHABET).vocab_size
    for seed, name in enumerate(("base", "teacher")):
        torch.manual_seed(seed)
        config = TransformerConfig(vocab_size=size, width=16, layers=1, heads=2, context=96)
        save_policy(Transformer(config), path / f"{name}.safetensors")
    return path


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a language model of random weights, and its tokenizer."""
    from language_models import make_model

    return make_model(tmp_path_factory.mktemp("language") / "model")


@pytest.fixture
def small_config(small_models: Path) -> Callable[..., TrainConfig]:
    """`small_config('schedule=cosine')`: checked, with small models and tiny batches."""

    def build(*overrides: str) -> TrainConfig:
        return parse(small_composed(small_models, *overrides), TrainConfig)

    return build


SIGNAL = "reward=length"
"""What gives RL a gradient on models that are never right: answers differ in their length."""


def small_composed(models: Path, *overrides: str) -> DictConfig:
    """The composed configuration behind `small_config`."""
    teacher = [] if "teacher=none" in overrides else [f"teacher.path={models}/teacher.safetensors"]
    return compose_config(*SMALL, f"model.path={models}/base.safetensors", *teacher, *overrides)


@pytest.fixture
def registry() -> Iterator[None]:
    """What a test registers is taken back."""
    yield
    for plugin in list(plugins._plugins.values()):
        plugins.forget(plugin)


@pytest.fixture
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which nobody is logged in to W&B; returns its home."""
    # To put it back would name a service that may have ended.
    os.environ.pop(SERVICE, None)
    for name in list(os.environ):
        if name.startswith("WANDB_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    return home
