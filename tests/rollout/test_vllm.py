"""vLLM, in this process and as a server: needs an environment in which it is installed.

    python -m pytest tests/rollout/test_vllm.py

Its CPU build runs them in a few minutes. Models have heads of 32 channels, the fewest it takes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "vllm", reason="vLLM is not installed in this environment", exc_type=ImportError
)

import torch
from conftest import SMALL, compose_config
from language_models import make_model, make_tokenizer

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.models.hf.config import HFModel
from chord.models.hf.settings import Lora
from chord.models.hf.tokenizer import LanguageTokenizer
from chord.models.policy import Policy
from chord.rollout import RolloutConfig, Samples, draw_uniforms, sample
from chord.rollout.engines import Foreign
from chord.rollout.engines.server import Server
from chord.rollout.engines.vllm import Vllm
from chord.run.directory import RunDirectory
from chord.run.files import read_rows
from chord.run.training import train

pytestmark = [
    pytest.mark.slow,
    # vLLM's own.
    pytest.mark.filterwarnings("ignore"),
]
SIZES: dict[str, Any] = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
PROMPTS = [[20, 30, 40, 50], [21], [60, 61]]
LIMITS = [12, 4, 12]
# What is compiled for a short test takes longer than it saves.
os.environ["TORCH_COMPILE_DISABLE"] = "1"
QUICK = {"enforce_eager": True, "max_num_seqs": 32}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "model", **SIZES)


@pytest.fixture(scope="module")
def address(directory: Path) -> Iterator[str]:
    """A server of the model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--port", str(port), "--host", "127.0.0.1", "--dtype", "float32"]
    arguments += ["--enforce-eager", "--max-num-seqs", "32", "--max-model-len", "128"]
    environment = os.environ | {
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
    }
    program = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", directory]
    with (directory.parent / "server.log").open("w") as log:
        server = subprocess.Popen([*program, *arguments], stdout=log, stderr=log, env=environment)
    found = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert server.poll() is None, (directory.parent / "server.log").read_text()[-2000:]
            try:
                urllib.request.urlopen(f"{found}/health", timeout=5)
                break
            except OSError:
                time.sleep(1)
        yield found
    finally:
        server.terminate()
        server.wait(timeout=300)


@pytest.fixture(scope="module", params=["in this process", "server"])
def engine(
    request: pytest.FixtureRequest, directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Foreign]:
    settings: dict[str, Any] = {"engine": "vllm", "max_new_tokens": 12}
    if request.param == "server":
        config = RolloutConfig(**settings, server=request.getfixturevalue("address"))
        kind: type[Foreign] = Server
    else:
        config, kind = RolloutConfig(**settings, vllm=dict(QUICK)), Vllm
    model = HFModel(path=str(directory))
    tokenizer = LanguageTokenizer(inner=make_tokenizer(), name="made", vocab_size=99)
    found = kind(config, tokenizer, model=model, micro_batch=0)
    found.start(model.build(), longest=64)
    yield found
    found.close()


def policy_of(engine: Foreign, lora: Lora | None = None) -> Policy:
    assert isinstance(engine.model, HFModel)
    engine.model = replace(engine.model, lora=lora or Lora())
    policy = engine.model.build().eval()
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return policy


def answers(engine: Foreign, policy: Policy, *, step: int = 0) -> Samples:
    uniforms = draw_uniforms(3, step, keys=[1, 2, 3], group_size=4, max_new_tokens=12)
    engine.sync(policy)
    return engine.sample(policy, PROMPTS, group_size=4, limits=LIMITS, uniforms=uniforms)


def gap(samples: Samples) -> float:
    told = samples.sampler_logprobs
    assert told is not None
    return float((told - samples.logprobs).abs().max())


def take_a_step(policy: Policy) -> None:
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=0.05)
    ids = torch.tensor([[20, 30, 40, 50, 60]])
    policy(ids)[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None]).sum().neg().backward()
    optimizer.step()


@pytest.mark.parametrize("lora", [Lora(), Lora(rank=2)], ids=["whole", "adapted"])
def test_answers_have_the_policys_probabilities_also_after_a_step(
    engine: Foreign, lora: Lora
) -> None:
    policy = policy_of(engine, lora)
    before = answers(engine, policy)
    assert gap(before) < 1e-4
    weights = {name: value.clone() for name, value in policy.state_dict().items()}
    assert [len(r) <= limit for r, limit in zip(before.responses, LIMITS * 4, strict=False)]
    take_a_step(policy)
    after = answers(engine, policy)
    assert gap(after) < 1e-4
    assert after.responses != before.responses
    # Handing over changes no weight of the policy.
    policy.load_state_dict(weights)
    assert answers(engine, policy).responses == before.responses


def test_greedy_answers_are_the_native_ones(engine: Foreign) -> None:
    policy = policy_of(engine)
    own = engine.config
    try:
        # Nearly so: a temperature of 0 has no ratio.
        engine.config = replace(own, top_k=1)
        found = answers(engine, policy)
    finally:
        engine.config = own
    native = sample(
        policy,
        PROMPTS,
        group_size=4,
        max_new_tokens=12,
        limits=LIMITS,
        greedy=True,
        stop_ids=engine.tokenizer.stop_ids,
        pad_id=engine.tokenizer.pad_id,
    )
    assert found.responses == native.responses
    assert found.finished == native.finished
    torch.testing.assert_close(found.sampler_logprobs, native.logprobs, atol=1e-4, rtol=0)


def test_seeds_are_of_the_step_and_the_answer_alone(engine: Foreign) -> None:
    policy = policy_of(engine)
    first = answers(engine, policy)
    assert answers(engine, policy).responses == first.responses
    assert answers(engine, policy, step=1).responses != first.responses
    assert len({tuple(response) for response in first.responses[:4]}) > 1
    uniforms = draw_uniforms(3, 0, keys=[3], group_size=4, max_new_tokens=12)
    alone = engine.sample(policy, PROMPTS[2:], group_size=4, limits=[12], uniforms=uniforms)
    assert alone.responses == first.responses[8:]


def test_answers_end_with_an_end_token_or_at_their_limit(engine: Foreign) -> None:
    samples = answers(engine, policy_of(engine))
    for row, (response, finished) in enumerate(
        zip(samples.responses, samples.finished, strict=True)
    ):
        assert finished == (response[-1] in engine.tokenizer.stop_ids)
        assert finished or len(response) == LIMITS[row // 4]


def composed(directory: Path, *overrides: str) -> Any:
    return compose_config(*SMALL, "model=hf", f"model.path={directory}", "teacher=none", *overrides)


IN_PROCESS = ["+rollout.vllm.enforce_eager=true", "+rollout.vllm.max_num_seqs=32"]


@pytest.mark.parametrize("where", ["in this process", "server"])
def test_a_run_trains_on_its_answers(
    where: str, directory: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = IN_PROCESS
    if where == "server":
        place = [f"rollout.server={request.getfixturevalue('address')}"]
    # A high rate: what the engine was not given would show.
    settings = ["rollout=vllm", *place, "steps=3", "optimizer.lr=.01", "optimizer.warmup=0"]
    config = composed(directory, *settings)
    train(parse(config, TrainConfig), RunDirectory(tmp_path / "run", config, "run"))
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert len(rows) == 3
    assert max(row["rollout/mismatch_max"] for row in rows) < 1e-4
    assert not [name for row in rows for name in row if "correction" in name]


def typed(where: Path, run: str, *words: str) -> list[dict[str, Any]]:
    """The steps of a run that was typed as a command."""
    subprocess.run(
        [sys.executable, "-m", "chord.train", *words],
        cwd=where,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        timeout=300,
    )
    return read_rows(where / run / "metrics.jsonl")


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    for row, other in zip(found, expected, strict=True):
        assert row["rollout/mismatch_max"] < 1e-4
        assert row["tokens/rl"] == other["tokens/rl"]
        assert row["grad/norm"] == pytest.approx(other["grad/norm"], rel=1e-4)


def test_processes_with_an_engine_each_take_the_steps_of_one_and_go_on_with_them(
    directory: Path, tmp_path: Path
) -> None:
    settings = [*SMALL, "model=hf", f"model.path={directory}", "teacher=none", "rollout=vllm"]
    settings += [*IN_PROCESS, "optimizer.lr=.01", "optimizer.warmup=0"]
    settings += ["schedule=constant", "schedule.value=.5"]
    alone = typed(tmp_path, "alone", *settings, "steps=4", "hydra.run.dir=alone")
    begun = [*settings, "steps=2", "hydra.run.dir=both", "trainer=ddp"]
    assert_same(typed(tmp_path, "both", *begun), alone[:2])
    goes_on = ["resume=both", "steps=4", "trainer=fsdp"]
    assert_same(typed(tmp_path, "both", *goes_on), alone)


def test_the_test_beds_model_is_refused_for_its_small_heads(tmp_path: Path) -> None:
    config = compose_config(*SMALL, "rollout=vllm", *IN_PROCESS)
    with pytest.raises(ConfigError, match=r"^rollout=vllm: .* \(.*head"):
        train(parse(config, TrainConfig), RunDirectory(tmp_path / "run", config, "run"))
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_server_of_another_model_is_refused(address: str, tmp_path: Path) -> None:
    other = make_model(tmp_path / "m", hidden_size=128, num_attention_heads=4)
    config = composed(other, "rollout=vllm", f"rollout.server={address}")
    with pytest.raises(ConfigError) as caught:
        train(parse(config, TrainConfig), RunDirectory(tmp_path / "run", config, "run"))
    assert str(caught.value) == (
        f"rollout.server={address}: runs another model than model.path (hidden_size 64, not 128)"
    )
    assert not (tmp_path / "run" / "run.json").exists()


def test_an_argument_that_vllm_lacks_is_refused(directory: Path, tmp_path: Path) -> None:
    config = composed(directory, "rollout=vllm", "+rollout.vllm.max_seqs=3")
    with pytest.raises(ConfigError, match=r"max_seqs"):
        train(parse(config, TrainConfig), RunDirectory(tmp_path / "run", config, "run"))
