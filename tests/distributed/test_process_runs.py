"""Whole commands on two processes: what they write, how they go on, how they end."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SIGNAL, SMALL
from safetensors.torch import load_file
from vllm_stub import serving

from chord.config.root import TrainConfig
from chord.rollout.engines.vllm import Vllm
from chord.run.build import build_models, open_data
from chord.step.engine import join, open_engine

ARGUMENTS = [
    *SMALL,
    "steps=3",
    "trainer.precision=64-true",
    "trainer.micro_batch=2",
    "rollout.problems=3",
    "schedule=constant",
    "schedule.value=.5",
    "tracking=csv",
    "optimizer.warmup=0",
    "evaluation.every=1",
    SIGNAL,
]
FAILING = """
import os, signal
from chord.step.module import ChordModule

update = ChordModule.update

def broken(self, step, plan):
    if os.environ.get("LOCAL_RANK", "0") == "{rank}" and step == 1:
        {how}
    return update(self, step, plan)

ChordModule.update = broken
from chord.train import main

main()
"""

ALONE = """
import os
from chord.run import training
from chord.run.loop import Training
from chord.train import main

def alone(owner, name):
    original = getattr(owner, name)

    def called(*given):
        if os.environ.get("LOCAL_RANK") == "1":
            {how}
        return original(*given)

    setattr(owner, name, called)

alone({place})
main()
"""


def start(
    models: Path,
    where: Path,
    *arguments: str,
    script: Path | None = None,
    module: str = "chord.train",
) -> Any:
    """Run a command in a process of its own."""
    program = ["-m", module] if script is None else [str(script)]
    paths = [f"model.path={models}/base.safetensors", f"teacher.path={models}/teacher.safetensors"]
    given = (
        arguments
        if arguments[0].startswith(("resume=", "fork="))
        else (*ARGUMENTS, *paths, *arguments)
    )
    return subprocess.run(
        [sys.executable, *program, *given],
        cwd=where,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_same(run: Path, other: Path) -> None:
    """Equal rows and weights but for rounding."""
    for name in ("metrics.jsonl", "evaluations.jsonl", "completions.jsonl"):
        for here, there in zip(rows(run / name), rows(other / name), strict=True):
            assert here == pytest.approx(there, abs=1e-9)
    weights, others = (load_file(path / "model.safetensors") for path in (run, other))
    for name in weights:
        torch.testing.assert_close(weights[name], others[name], atol=1e-9, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_write_one_run_and_any_number_goes_on_with_it(
    small_models: Path, tmp_path: Path, strategy: str
) -> None:
    keep = ["trainer.keep.last=1", "trainer.keep.best=val/expert_nll", "trainer.keep.mode=min"]
    alone = start(small_models, tmp_path, "hydra.run.dir=alone", *keep)
    assert alone.returncode == 0, alone.stderr
    both = start(small_models, tmp_path, f"trainer={strategy}", "hydra.run.dir=both", *keep)
    assert both.returncode == 0, both.stderr
    assert both.stderr == ""
    assert both.stdout.count("\ntest split") == 1
    files, others = (
        sorted(str(file.relative_to(run)) for file in run.rglob("*"))
        for run in (tmp_path / "alone", tmp_path / "both")
    )
    assert files == others
    assert "checkpoints/step-3.ckpt" in files
    assert len(list(tmp_path.iterdir())) == 2
    assert_same(tmp_path / "both", tmp_path / "alone")
    # One more step, on the other number of processes each, and on two.
    for run, elsewhere in (("both", "trainer=cpu"), ("alone", f"trainer={strategy}")):
        further = start(small_models, tmp_path, f"resume={run}", "steps=4", elsewhere)
        assert further.returncode == 0, further.stderr
    assert_same(tmp_path / "both", tmp_path / "alone")
    again = start(small_models, tmp_path, "resume=alone", "steps=5", f"trainer={strategy}")
    assert again.returncode == 0, again.stderr
    again = start(small_models, tmp_path, "resume=both", "steps=5", "trainer.strategy=auto")
    assert again.returncode == 0, again.stderr
    assert_same(tmp_path / "both", tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_fork_on_two_processes_is_that_of_one(
    small_models: Path, tmp_path: Path, strategy: str
) -> None:
    source = start(small_models, tmp_path, "hydra.run.dir=source", "trainer.keep.every=1")
    assert source.returncode == 0, source.stderr
    words = ["fork=source", "checkpoint=2", "optimizer.lr=1e-3"]
    for name, trainer in (("alone", "trainer=cpu"), ("both", f"trainer={strategy}")):
        place = [trainer, "trainer.precision=64-true", f"hydra.run.dir={name}"]
        done = start(small_models, tmp_path, *words, *place)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("fork of source after 2 train steps") == 1
    assert_same(tmp_path / "both", tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["chord.train", "chord.plan"])
def test_what_is_said_is_said_once(small_models: Path, tmp_path: Path, module: str) -> None:
    done = start(
        small_models,
        tmp_path,
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "steps=1",
        "rollout.top_k=3",
        "evaluation.every=0",
        *(["data.preview=1"] if module == "chord.train" else ["--steps=1"]),
        module=module,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("UserWarning: rollout.top_k=3") == 1
    told = {
        "chord.train": ("expert responses for ", "example 1 of 1", "step 1/1", "\ntest split"),
        "chord.plan": ("peak", "the run, 1 steps", "per process"),
    }
    for line in told[module]:
        assert done.stdout.count(line) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "how", "line"),
    [
        (1, "raise OSError('the disk is full')", "process 1 of 2: OSError: the disk is full"),
        (1, "os.kill(os.getpid(), signal.SIGKILL)", "process 1 of 2: ended with code -9"),
        (0, "raise OSError('the disk is full')", "the disk is full"),
    ],
)
def test_a_process_that_fails_ends_the_run_in_one_line(
    small_models: Path, tmp_path: Path, rank: int, how: str, line: str
) -> None:
    script = tmp_path / "failing.py"
    script.write_text(FAILING.format(rank=rank, how=how))
    done = start(small_models, tmp_path, "trainer=ddp", "hydra.run.dir=run", script=script)
    assert done.returncode == 1
    errors = [text for text in done.stderr.splitlines() if not text.startswith("stopped; ")]
    assert errors == [f"error: {line}"]
    facts = json.loads((tmp_path / "run" / "status.json").read_text())
    assert facts["status"] == "failed"
    assert line.removeprefix("error: ") in facts["error"]
    assert len(rows(tmp_path / "run" / "metrics.jsonl")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_second_signal_to_one_of_two_processes_ends_the_run_at_once(
    small_models: Path, tmp_path: Path, rank: int
) -> None:
    script = tmp_path / "stopped.py"
    twice = "[os.kill(os.getpid(), signal.SIGTERM) for _ in range(2)]"
    script.write_text(FAILING.format(rank=rank, how=twice))
    done = start(small_models, tmp_path, "trainer=ddp", "hydra.run.dir=run", script=script)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.endswith("python -m chord.train resume=run")
    facts = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (facts["status"], facts["error"]) == ("interrupted", None)
    # The step of the signals was not finished.
    assert len(rows(tmp_path / "run" / "metrics.jsonl")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_process_that_the_first_waits_for_interrupts_the_run(
    small_models: Path, tmp_path: Path, number: int
) -> None:
    script = tmp_path / "alone.py"
    how = f"os.kill(os.getpid(), {int(number)})"
    script.write_text(ALONE.format(place="training, 'load'", how=how))
    done = start(small_models, tmp_path, "trainer=ddp", "hydra.run.dir=run", script=script)
    assert done.returncode == 128 + number, done.stderr
    facts = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (facts["status"], facts["error"]) == ("interrupted", None)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "place"), [("ddp", "training, 'load'"), ("fsdp", "Training, 'fit'")]
)
def test_a_process_that_fails_before_it_has_met_the_first_ends_the_run_in_one_line(
    small_models: Path, tmp_path: Path, strategy: str, place: str
) -> None:
    script = tmp_path / "alone.py"
    script.write_text(ALONE.format(place=place, how="raise OSError('the file is gone')"))
    done = start(small_models, tmp_path, f"trainer={strategy}", "hydra.run.dir=run", script=script)
    line = "process 1 of 2: OSError: the file is gone"
    assert (done.returncode, done.stderr) == (1, f"error: {line}\n")
    facts = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (facts["status"], facts["error"]) == ("failed", line)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_the_printed_command_goes_on_with_a_run_of_two_processes(
    small_models: Path, tmp_path: Path, strategy: str
) -> None:
    whole = start(small_models, tmp_path, f"trainer={strategy}", "hydra.run.dir=whole")
    assert whole.returncode == 0, whole.stderr
    script = tmp_path / "stopped.py"
    script.write_text(FAILING.format(rank=0, how="os.kill(os.getpid(), signal.SIGTERM)"))
    cut = start(small_models, tmp_path, f"trainer={strategy}", "hydra.run.dir=cut", script=script)
    assert cut.returncode == 128 + signal.SIGTERM, cut.stderr
    assert cut.stderr.splitlines()[-1].endswith("python -m chord.train resume=cut")
    further = start(small_models, tmp_path, "resume=cut")
    assert (further.returncode, further.stderr) == (0, "")
    assert json.loads((tmp_path / "cut" / "status.json").read_text())["status"] == "finished"
    assert_same(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_all_processes_ask_one_server_that_the_first_gives_weights(
    small_models: Path, tmp_path: Path, strategy: str
) -> None:
    with serving() as (place, stub):
        stub.takes_weights(context=96)
        given = ["rollout=vllm", f"rollout.server={place}", "steps=2", "evaluation.every=0"]
        # Nothing is left for the second process.
        given += ["rollout.problems=1"]
        loads = []
        for run, where in (("alone", "trainer=cpu"), ("both", f"trainer={strategy}")):
            stub.loads = 0
            done = start(small_models, tmp_path, *given, where, f"hydra.run.dir={run}")
            assert done.returncode == 0, done.stderr
            loads.append(stub.loads)
    # Before the run, and before each step.
    assert loads == [3, 3]
    assert_same(tmp_path / "both", tmp_path / "alone")
    steps = rows(tmp_path / "both" / "metrics.jsonl")
    # The stub's norms are in float32, as transformers has them.
    assert all(row["rollout/mismatch_max"] < 1e-5 for row in steps)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_an_engine_of_each_process_starts_when_the_processes_are_there(
    small_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    done: list[str] = []
    for name in ("check", "start", "sync", "probe"):
        monkeypatch.setattr(Vllm, name, lambda *_, name=name, **__: done.append(name))
    config = small_config("rollout=vllm", f"trainer={strategy}")
    with open_data(config) as data:
        models = build_models(config)
        engine = open_engine(config, data, models.policy)
        assert done == ["check"]
        join(engine, config, data, models.policy)
    assert done == ["check", "start", "sync", "probe"]


def test_a_missing_vllm_is_said_before_any_process_is_started(
    small_models: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vLLM is installed here")
    done = start(small_models, tmp_path, "trainer=fsdp", "rollout=vllm", "hydra.run.dir=run")
    assert done.returncode == 1
    assert done.stderr.count("error: rollout=vllm: vLLM is not installed") == 1
    assert not (tmp_path / "run" / "run.json").exists()
