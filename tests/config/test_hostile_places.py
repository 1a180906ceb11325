"""What files, servers and directories of a stranger cost a command: one sentence, soon."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from conftest import compose_config
from omegaconf import OmegaConf

from chord.command_line.hydra import launch
from chord.config.messages import first_comment
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.config.trust.composing import guard
from chord.data.files import open_rows
from chord.data.turns import kind
from chord.errors import ConfigError
from chord.io.reading import check_yaml
from chord.models.hf.source import find
from chord.models.storage import load_policy, save_policy, write_tensors
from chord.models.transformer import Transformer, TransformerConfig
from chord.rewards.format import Format
from chord.rewards.function import Function
from chord.rewards.workers import module_places
from chord.rollout.engines import server
from chord.rollout.settings import RolloutConfig
from chord.run.checkpoint import CHECKPOINT, check_place, read_checkpoint
from chord.run.identity.contents import content_of
from chord.run.kept import completed_in
from chord.run.random_states import random_states
from chord.step.nonfinite import saved as step
from chord.tracking.server import refuse_settings_here

pytestmark = pytest.mark.faults


def test_no_reader_waits_at_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints").mkdir()
    os.mkfifo(tmp_path / CHECKPOINT)
    with pytest.raises(ValueError, match=r"last\.ckpt can't be read \(last\.ckpt is not a regular"):
        read_checkpoint(tmp_path)
    # Neither where only its place, or its step, is asked for.
    check_place(tmp_path / CHECKPOINT, "run")
    assert completed_in(tmp_path / CHECKPOINT) is None
    os.mkfifo(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"x\.parquet: is not a regular file"):
        open_rows("data.problems", str(tmp_path / "x.parquet"))
    assert content_of(str(tmp_path / "x.parquet")) is None
    os.mkfifo(tmp_path / "o.yaml")
    assert first_comment(tmp_path / "o.yaml") == "(can't be read)"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    os.mkfifo(tmp_path / "model" / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors in it is not a regular file"):
        find("model.path", str(tmp_path / "model"))
    (tmp_path / "wandb").mkdir()
    os.mkfifo(tmp_path / "wandb" / "settings")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^wandb/settings .* is not a regular file"):
        refuse_settings_here()


def test_the_variable_that_is_advised_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nbase-url = http://x\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    with pytest.raises(ValueError, match=r"^base_url=http://x: .*set WANDB_BASE_URL in"):
        refuse_settings_here()


def checkpoint(**changes: Any) -> dict[str, Any]:
    ours = {"completed": 1, "random": random_states(), "skipped": {}}
    other = {name: changes.pop(name) for name in list(changes) if name == "optimizer_states"}
    return {"state_dict": {}, "optimizer_states": [], "chord": ours | changes} | other


@pytest.mark.parametrize(
    "change",
    [
        {"random": {"torch": 1}},
        {"random": None},
        {"skipped": 5},
        {"completed": -5},
        {"completed": "x"},
        {"schedule_state": [1]},
        {"optimizer_states": [{"a": 1}]},
        {"optimizer_states": [{"state": 1, "param_groups": []}]},
        {"optimizer_states": 1},
    ],
    ids=range(9),
)
def test_a_checkpoint_that_no_run_has_written_is_named(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    (tmp_path / "checkpoints").mkdir()
    torch.save(checkpoint(), tmp_path / CHECKPOINT)
    before = random_states()
    assert read_checkpoint(tmp_path).completed == 1
    torch.save(checkpoint(**change), tmp_path / CHECKPOINT)
    with pytest.raises(ValueError, match=r"^resume=.*last\.ckpt can't be read"):
        read_checkpoint(tmp_path)
    assert torch.equal(random_states()["torch"], before["torch"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: &a [1]\nb: *a", "alias"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, "nested deeper than 100 levels"),
        (b"- 1\n- 2", "must hold settings"),
        (b"word", "must hold settings"),
        (b"steps: \xff", "is not YAML"),
        (b"a: !!python/name:os.system x", "tag"),
        (b"x" * 2**20 + b"x", "larger than 1 MiB"),
    ],
    ids=range(7),
)
def test_an_option_file_is_looked_at_before_it_is_loaded(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    folder = tmp_path / "schedule"
    folder.mkdir()
    (folder / "mine.yaml").write_bytes(b"# mine\ndefaults:\n  - constant\nvalue: 0.25\n")
    guard()
    given = [f"hydra.searchpath=[file://{tmp_path}]", "schedule=mine"]
    assert compose_config(*given).schedule.value == 0.25
    (folder / "mine.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=rf"mine\.yaml .*{reason}"):
        check_yaml(folder / "mine.yaml")
    with pytest.raises(ConfigError, match=rf"mine\.yaml .*{reason}"):
        compose_config(*given)


def test_a_defaults_list_that_leads_back_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "schedule").mkdir()
    for name, brings in (("rec", "other"), ("other", "rec")):
        (tmp_path / "schedule" / f"{name}.yaml").write_text(f"# mine\ndefaults: [{brings}]\n")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # taken back at the end
    monkeypatch.delenv("HYDRA_FULL_ERROR")
    given = [f"hydra.searchpath=[file://{tmp_path}]", "schedule=rec"]
    monkeypatch.setattr(sys, "argv", ["chord-train", *given])
    with pytest.raises(SystemExit):
        launch(lambda _: pytest.fail("ran"), "train")
    error = "the configuration: a defaults list leads back to the file that it is in"
    assert capsys.readouterr().err == f"error: {error}\n"


def test_what_an_empty_option_file_holds_is_nothing(tmp_path: Path) -> None:
    for text in ("", "# words\n", "null", "{}", "a: 1"):
        (tmp_path / "a.yaml").write_text(text)
        check_yaml(tmp_path / "a.yaml")


def test_so_many_steps_are_refused_before_they_are_looked_at() -> None:
    cfg = compose_config("tracking=off")
    OmegaConf.update(cfg, "steps", 10**18)
    with pytest.raises(ConfigError, match=r"^steps=10{18}: must be at most 10000000"):
        parse(cfg, TrainConfig)


def test_deep_lines_are_said_to_be_deep(tmp_path: Path) -> None:
    (tmp_path / "deep.jsonl").write_text("[" * 1000 + "]" * 1000 + "\n")
    with pytest.raises(ValueError, match="nested deeper than 100 levels"):
        list(open_rows("data.problems", str(tmp_path / "deep.jsonl")))


def test_workers_look_in_the_current_directory_only_for_code_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    (tmp_path / "sitecustomize.py").write_text("open('ran', 'w')")
    (tmp_path / "mine.py").write_text("def score(answer, response):\n    return 1.0\n")
    assert str(tmp_path) in module_places(Function(function="mine:score"))
    own = Format(workers=1)
    assert not {"", str(tmp_path)} & set(module_places(own))
    for reward in (own, Function(function="mine:score", workers=1)):
        reward.pool().start()
        reward.pool().close()
    assert not (tmp_path / "ran").exists()


class Answers(BaseHTTPRequestHandler):
    body: ClassVar[bytes] = b""
    endless: ClassVar[bool] = False

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            self.wfile.write(self.body)
            while self.endless:
                self.wfile.write(b" " * 2**16)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(body: bytes, *, endless: bool = False) -> Iterator[server.Server]:
    handler = type("Here", (Answers,), {"body": body, "endless": endless})
    with HTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        found = object.__new__(server.Server)
        found.config = RolloutConfig(engine="vllm", server=f"http://127.0.0.1:{http.server_port}")  # type: ignore[assignment]
        yield found
        http.shutdown()


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"null", b"", b"<html>", b'{"data": [{}]}', b"[" * 1000], ids=range(7)
)
def test_a_server_that_answers_as_none_does_is_named(body: bytes) -> None:
    with (
        serving(body) as found,
        pytest.raises(ValueError, match=rf"^{re.escape(found.shown)}: /v1/models "),
    ):
        found.start(None, longest=1)  # type: ignore[arg-type]


def test_an_answer_of_a_server_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LARGEST", 2**18)
    with (
        serving(b"[", endless=True) as found,
        pytest.raises(ValueError, match=r"^rollout\.server=.*its answer is larger than 0 MiB"),
    ):
        found.ask("/v1/models")
    monkeypatch.setattr(server, "LARGEST", 2**60)
    times = iter([0.0, 1.0, server.PATIENCE + 1.0])
    monkeypatch.setattr(server.time, "monotonic", lambda: next(times))
    with (
        serving(b"[", endless=True) as found,
        pytest.raises(ValueError, match=r"^rollout\.server=.*has not ended after 600 seconds"),
    ):
        found.ask("/v1/models")


def test_a_completion_has_a_log_probability_for_each_of_its_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = object.__new__(server.Server)
    found.config = RolloutConfig(engine="vllm", server="http://x")  # type: ignore[assignment]
    found.tokenizer = SimpleNamespace(stop_ids={0})  # type: ignore[assignment]
    request: Any = SimpleNamespace(prompt=[1], seed=0, limit=2)
    good = {"token_ids": [1, 2], "logprobs": {"token_logprobs": [-1, -2]}, "finish_reason": "stop"}
    said: list[Any] = [{"choices": [good]}]
    monkeypatch.setattr(server.Server, "ask", lambda *_: said[0])
    assert found.answer(request).tokens == [1, 2]
    wrong = [{"token_ids": [1]}, {"token_ids": ["a", 2]}, {"token_ids": [-1, 2]}, {"logprobs": 1}]
    for each in (*({"choices": [good | change]} for change in wrong), {}, None, {"choices": []}):
        said[0] = each
        with pytest.raises(ValueError, match=r"/v1/completions does not answer as vLLM does"):
            found.answer(request)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"layers": 10**7}, "10000000 layers"),
        ({"vocab_size": 10**12}, "has the shape"),
        ({"mlp_ratio": 1e9}, "has the shape"),
        ({"context": 10**12}, "a context of"),
    ],
    ids=range(4),
)
def test_a_header_that_asks_for_a_larger_model_than_the_file_is_refused(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    model = Transformer(TransformerConfig(vocab_size=8, width=8, layers=1, heads=1, context=4))
    save_policy(model, tmp_path / "m.safetensors")
    assert load_policy(tmp_path / "m.safetensors").config == model.config
    header = {"config": asdict(model.config) | change, "metadata": {}}
    tensors = {name: each.clone() for name, each in model.state_dict().items()}
    write_tensors(tmp_path / "m.safetensors", tensors, {"chord": json.dumps(header)})
    with pytest.raises(ValueError, match=rf"weights do not fit: .*{reason}"):
        load_policy(tmp_path / "m.safetensors")


def test_a_configuration_that_asks_for_more_than_the_files_hold_is_refused(tmp_path: Path) -> None:
    from chord.models.hf.weights import refuse_larger

    def settings(**values: int) -> Any:
        return SimpleNamespace(get_text_config=lambda: SimpleNamespace(**values))

    usual = {"num_hidden_layers": 2, "hidden_size": 4, "vocab_size": 8}
    refuse_larger(tmp_path, settings(**usual))
    write_tensors(tmp_path / "m.safetensors", {n: torch.zeros(8, 4) for n in "ab"}, {"a": "b"})
    refuse_larger(tmp_path, settings(**usual))
    with pytest.raises(ValueError, match=r"has 1000000 layers, but its files have 2 tensors"):
        refuse_larger(tmp_path, settings(**usual | {"num_hidden_layers": 10**6}))
    with pytest.raises(ValueError, match=r"an embedding of 8000000 numbers, but its files hold 64"):
        refuse_larger(tmp_path, settings(**usual | {"hidden_size": 10**6}))


@pytest.mark.parametrize(
    "text",
    [
        '{"number": 1e400, "shares": [1, 1]}',
        '{"number": 1, "shares": [1, 1], "lr": "x"}',
        "[]",
        '{"number": 1, "shares": 1}',
        "[" * 10_000,
    ],
    ids=range(5),
)
def test_a_kept_step_that_no_run_has_written_is_named(tmp_path: Path, text: str) -> None:
    header = {step._ENTRY: text}
    write_tensors(tmp_path / step.FILE, {"weights/a": torch.zeros(1)}, header)
    with pytest.raises(ValueError, match=rf"{re.escape(step.FILE.name)}: can't be read"):
        step.load_step(tmp_path)


def test_bytes_are_no_number() -> None:
    assert kind(b"x") == "bytes"
    assert kind(1) == "a number"
