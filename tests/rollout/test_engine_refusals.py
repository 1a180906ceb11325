"""Engines that can't answer are refused in one sentence, before the run."""

from __future__ import annotations

import importlib.util
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import SMALL, compose_config, small_composed
from vllm_stub import INFO, Stub, serving

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.rollout.engines.server import Server
from chord.run.build import build_data
from chord.run.directory import RunDirectory
from chord.run.training import train


def refusal(config: TrainConfig, run: Path) -> str:
    """What a run says that ends before it begins."""
    with pytest.raises(ConfigError) as caught:
        train(config, RunDirectory(run, compose_config(), "run"))
    assert not (run / "run.json").exists()
    return str(caught.value)


def test_vllm_that_is_not_installed_is_said_before_the_run(
    small_config: Callable[..., TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "vllm" else find(name)
    )
    assert refusal(small_config("rollout=vllm"), tmp_path / "run") == (
        "rollout=vllm: vLLM is not installed in this environment; install it, or name a server of "
        "another one as rollout.server=http://HOST:PORT"
    )


def test_a_server_that_is_not_there_is_said_before_the_run(
    small_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{free.getsockname()[1]}"
    message = refusal(small_config("rollout=vllm", f"rollout.server={place}"), tmp_path / "run")
    assert message.startswith(f"rollout.server={place}: no vLLM server answers there (")


@pytest.fixture
def stub() -> Iterator[tuple[str, Stub]]:
    with serving() as found:
        yield found


def test_a_server_that_will_not_do_is_refused_in_one_sentence(
    stub: tuple[str, Stub], small_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    place, said = stub[0], stub[1].said
    config = small_config("rollout=vllm", f"rollout.server={place}", "rollout.temperature=.7")
    begins = f"rollout.server={place}: "
    assert refusal(config, tmp_path / "run") == (
        f"{begins}takes no weights; start it with VLLM_SERVER_DEV_MODE=1"
    )
    shape = {"vocab_size": 19, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps(shape | {"hidden_size": 48}))
    model: dict[str, Any] = {
        "model": str(tmp_path),
        "max_model_len": 20,
        "logprobs_mode": "raw_logprobs",
    }
    said[INFO] = {"vllm_config": {"model_config": model}}
    assert refusal(config, tmp_path / "run") == (
        f"{begins}runs another model than model.path (hidden_size 48, not 16)"
    )
    (tmp_path / "config.json").write_text(json.dumps(shape))
    assert refusal(config, tmp_path / "run").startswith(f"{begins}start it with --max-model-len ")
    model["max_model_len"] = 96
    assert refusal(config, tmp_path / "run") == (
        f"{begins}start it with --logprobs-mode processed_logprobs for rollout.temperature=0.7"
    )


def test_a_refused_request_leaves_no_connection_open(stub: tuple[str, Stub]) -> None:
    engine = object.__new__(Server)
    engine.config = SimpleNamespace(server=stub[0])  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r": /nowhere says 404") as caught:
        engine.ask("/nowhere")
    assert caught.value.__cause__.closed  # type: ignore[union-attr]


@pytest.mark.parametrize("prefix", ["none", "staged"])
def test_the_engine_has_room_for_a_prefix_that_is_longer_than_an_answer(
    stub: tuple[str, Stub], small_config: Callable[..., TrainConfig], tmp_path: Path, prefix: str
) -> None:
    stub[1].takes_weights(context=8)
    config = small_config(
        "rollout=vllm", f"rollout.server={stub[0]}", "data=testbed_paired", "rollout.group_size=4",
        "rollout.max_new_tokens=2", "evaluation.max_new_tokens=2", f"rollout.prefix={prefix}",
    )  # fmt: skip
    data = build_data(config)
    # An expert's response but for its end token, and the one token that every answer has; without
    # prefixes two tokens, and one for safety.
    longest = max(
        len(pair.problem.prompt) + len(data.tokenizer.response(pair)[0])
        for pair in data.expert_pairs
    )
    assert longest > data.longest_prompt + 3
    room = data.longest_prompt + 3 if prefix == "none" else longest
    told = refusal(config, tmp_path / "run")
    assert told.startswith(f"rollout.server={stub[0]}: start it with --max-model-len {room} or")


def test_a_directory_that_cannot_be_written_is_said_before_the_run(
    stub: tuple[str, Stub], small_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    stub[1].takes_weights(context=96)
    (tmp_path / "file").touch()
    for name in ("absent", "file"):
        given = f"rollout.server_directory={tmp_path / name}"
        config = small_config("rollout=vllm", f"rollout.server={stub[0]}", given)
        message = refusal(config, tmp_path / "run")
        assert message.startswith(f"{given}: must be a directory that can be written to (")
        assert "\n" not in message


def test_a_server_reads_its_weights_where_it_is_said(
    stub: tuple[str, Stub],
    small_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seen").mkdir()
    stub[1].takes_weights(context=96)
    given = ("rollout=vllm", f"rollout.server={stub[0]}", "rollout.server_directory=seen")
    composed = small_composed(small_models, *given, "steps=1", "evaluation.every=0")
    train(parse(composed, TrainConfig), RunDirectory(tmp_path / "run", composed, "run"))
    (place,) = stub[1].places
    assert place.parent == tmp_path / "seen"
    assert list((tmp_path / "seen").iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("rollout.engine=sglang", "rollout.engine=sglang: must be one of native, hf, vllm"),
        ("rollout.correction_cap=.5", "rollout.correction_cap=0.5: must be at least 1"),
        ("rollout.correction_threshold=-1", "rollout.correction_threshold=-1.0: must be a number"),
        (
            "rollout.server=http://a:1",
            "rollout.server=http://a:1: needs rollout=vllm",
        ),
        (
            "rollout=vllm rollout.server_directory=d",
            "rollout.server_directory=d: needs rollout.server",
        ),
        ("rollout=hf +rollout.vllm.seed=1", "rollout.vllm={'seed': 1}: needs rollout=vllm, not"),
        ("rollout=vllm rollout.server=a:1", "rollout.server=a:1: must be an address such as http"),
        (
            "rollout=vllm rollout.server=http://a:1 +rollout.vllm.seed=1",
            "rollout.vllm={'seed': 1}: a server has its own arguments",
        ),
        (
            "rollout=vllm rollout.temperature=.5 rollout.top_k=5",
            "rollout.temperature=0.5: must be 1 where vLLM samples with top_p or top_k",
        ),
        ("rollout.correction_cap=nan", "rollout.correction_cap=nan: must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(typed: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(compose_config(*SMALL, *typed.split()), TrainConfig)
    assert str(caught.value).startswith(message)
