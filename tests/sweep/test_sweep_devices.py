"""GPUs for the jobs of a sweep, on a machine that only says it has some."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import compose_config
from hydra import compose
from omegaconf import DictConfig
from sweeps import Command, command

from chord.config.composing import reading_conf
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.sweep import devices
from chord.sweep.devices import SHARED, gpus_each, shared_gpus, take_gpu, tasks_each, told
from chord.sweep.launchers import at_a_time, parts, prepared
from chord.sweep.points import Point

__all__ = ["command"]
TAKES = """
import os, sys
from pathlib import Path
from chord.sweep.devices import take_gpu
take_gpu(Path(sys.argv[1]))
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


def points(*overrides: str, count: int = 3) -> list[Point]:
    config = parse(compose_config(*overrides), TrainConfig)
    return [
        Point(number=n, overrides=[], varied={}, directory="", fingerprint="", config=config)
        for n in range(count)
    ]


def launcher(name: str) -> DictConfig:
    with reading_conf():
        return compose("train", [f"hydra/launcher={name}"], return_hydra_config=True)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("chord.sweep.launchers.cores", lambda: 8)
    # Set first, so that what a test sets is taken back.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    return monkeypatch


def test_jobs_side_by_side_are_no_more_than_gpus(two_gpus: pytest.MonkeyPatch) -> None:
    jobs = points("trainer=gpu")
    assert shared_gpus(jobs, "JoblibLauncher") == ["0", "1"]
    for name in ("BasicLauncher", "SlurmLauncher", "RayLauncher"):
        assert shared_gpus(jobs, name) == []
    assert shared_gpus(points(), "JoblibLauncher") == []
    two_gpus.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert shared_gpus(jobs, "LocalLauncher") == ["3", "5"]
    # Eight cores would run all three at a time.
    joblib = launcher("joblib")
    assert prepared(joblib, jobs=2, threads=1)[0].hydra.launcher.n_jobs == 2
    joblib.hydra.launcher._target_ = "LocalLauncher"
    assert [len(part) for part in parts(joblib, jobs, most=2, threads=1)] == [2, 1]
    assert at_a_time(joblib, jobs=3, threads=1) == 3


def test_clusters_are_asked_for_gpus() -> None:
    assert gpus_each(points()) == gpus_each(points("trainer.accelerator=auto")) == 0
    assert gpus_each(points("trainer=gpu")) == 1
    assert gpus_each(points("trainer=ddp", "trainer.accelerator=gpu", "trainer.devices=4")) == 4
    config = launcher("basic")
    for name, setting in {"SlurmLauncher": "gpus_per_node", "RayLauncher": "num_gpus"}.items():
        config.hydra.launcher._target_ = name
        asked, _ = prepared(config, jobs=3, threads=2, gpus=4)
        found = asked.hydra.launcher
        assert (found.ray.remote if name == "RayLauncher" else found)[setting] == 4
        asked, _ = prepared(config, jobs=3, threads=2)
        assert setting not in str(asked.hydra.launcher)


def test_slurm_is_asked_for_the_processes_of_a_job() -> None:
    words = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.num_nodes=3")
    assert tasks_each(points()) == (1, 1)
    assert tasks_each(points(*words)) == (2, 3)
    config = launcher("basic")
    config.hydra.launcher._target_ = "SlurmLauncher"
    asked, _ = prepared(config, jobs=3, threads=2, tasks=(2, 3))
    found = asked.hydra.launcher
    assert (found.tasks_per_node, found.nodes) == (2, 3)
    with pytest.raises(ConfigError, match="jobs of 1 and of 2 processes on a machine can't be in"):
        tasks_each([*points(), *points(*words)])


def test_each_process_has_a_gpu_of_its_own_to_its_end(
    tmp_path: Path, two_gpus: pytest.MonkeyPatch
) -> None:
    take_gpu(tmp_path)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    with told(["3", "5"]):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", TAKES, str(tmp_path)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, env=env, text=True, **pipes) as other:  # type: ignore[call-overload]
            assert other.stdout.readline() == "3\n"
            take_gpu(tmp_path)
            take_gpu(tmp_path)
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
            # As another process would.
            two_gpus.setenv(SHARED, "3,5")
            two_gpus.setattr(devices, "PATIENCE", 0.0)
            with pytest.raises(ConfigError, match=r"none of the GPUs 3, 5 is free$"):
                take_gpu(tmp_path)
            other.communicate()
        take_gpu(tmp_path)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert SHARED not in os.environ


def test_a_job_takes_one_of_those_that_its_sweep_shares(
    command: Command, two_gpus: pytest.MonkeyPatch
) -> None:
    two_gpus.setattr("chord.sweep.launching.shared_gpus", lambda *_: ["7"])
    # Computed on the CPU, where there is no GPU of that name.
    two_gpus.setattr("torch.cuda.device_count", lambda: 0)
    assert command("-m", "seed=0,1", "trainer.accelerator=auto", "hydra.sweep.dir=s") == 0
    assert (command.where / "s" / ".gpu-7").exists()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"
    assert command("-m", "seed=0", "hydra.sweep.dir=t") == 0
    assert not (command.where / "t" / ".gpu-7").exists()
