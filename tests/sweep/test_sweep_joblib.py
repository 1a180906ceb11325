"""Jobs side by side, as typed in a shell: the same numbers, their own W&B runs, and a death."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sweeps import FILES, Command, command, small

__all__ = ["command"]
pytestmark = pytest.mark.slow
WANDB = Path(sys.executable).parent / "wandb"
# A weighting of an installed package, in which the process of seed 1 dies.
DEADLY = """
import os, signal
from dataclasses import dataclass
from chord import plugins
from chord.weightings import Weighting

@dataclass(kw_only=True)
class Deadly(Weighting):
    seed: int

    def raw(self, at):
        if self.seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return at.p

plugins.register("weighting", "deadly", Deadly)
"""
OPTION = """# dies
defaults: [/schema/weighting/deadly@_here_, _self_]
normalize: none
apply_to: sft
seed: ${seed}
"""


def typed(
    models: Path, where: Path, *arguments: str, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    own = [str(path)] if path else []
    environment = {
        **os.environ,
        "COLUMNS": "200",
        "PYTHONPATH": os.pathsep.join([*own, *sys.path]),
    }
    return subprocess.run(
        [sys.executable, "-m", "chord.train", "-m", *small(models), *arguments],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_side_by_side_is_the_same_as_one_after_the_other(
    command: Command, small_models: Path, no_account: Path
) -> None:
    grid = ["schedule=linear,cosine", "seed=0,1", "tracking=wandb"]
    done = typed(
        small_models, command.where, *grid, "hydra/launcher=joblib", "hydra.sweep.dir=beside"
    )
    assert done.returncode == 0, done.stderr
    assert command("-m", *grid[:2], "hydra.sweep.dir=after") == 0
    for job in range(4):
        for name in (*FILES, "model.safetensors"):
            ours = (command.where / "beside" / str(job) / name).read_bytes()
            assert ours == (command.where / "after" / str(job) / name).read_bytes(), name
        assert "run directory:" in (command.where / "beside" / str(job) / "output.txt").read_text()
    assert "run directory:" not in done.stdout
    assert "3  schedule=cosine seed=1  finished" in done.stdout
    logs = sorted((command.where / "beside/wandb").glob("offline-run-*/run-*.wandb"))
    assert len(logs) == 4
    assert sorted(names_and_exits(log) for log in logs) == [
        (f"schedule={s} seed={n}", "beside", 0) for s in ("cosine", "linear") for n in (0, 1)
    ]


def names_and_exits(log: Path) -> tuple[str, str, int]:
    """Name, group and exit code of the one run in a file of W&B's."""
    done = subprocess.run(
        [str(WANDB), "leet", "inspect", "--json", str(log)], capture_output=True, text=True
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    (run,) = [record["run"] for record in records if "run" in record]
    (end,) = [record["exit"] for record in records if "exit" in record]
    return run["display_name"], run["run_group"], int(end.get("exit_code", 0))


def test_a_process_that_dies_takes_no_other_job_with_it(small_models: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "deadly" / "conf" / "weighting").mkdir(parents=True)
    (site / "deadly" / "__init__.py").write_text(DEADLY)
    (site / "deadly" / "conf" / "weighting" / "deadly.yaml").write_text(OPTION)
    info = site / "deadly-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[chord.plugins]\ndeadly = deadly\n")
    done = typed(
        small_models,
        tmp_path,
        "weighting=deadly",
        "seed=0,1,2",
        "steps=3",
        "hydra/launcher=joblib",
        "hydra.sweep.dir=s",
        path=site,
    )
    assert done.returncode == 1, done.stderr
    facts = [json.loads((tmp_path / f"s/{n}/status.json").read_text()) for n in range(3)]
    assert [fact["status"] for fact in facts] == ["finished", "failed", "finished"]
    assert facts[1]["error"].startswith("its process died (TerminatedWorkerError")
    assert done.stderr.splitlines()[-1] == "error: 1 of 3 jobs failed"
    assert "Traceback" not in done.stderr + done.stdout
