"""What a user installs: the wheel carries the configuration, the checkpoints and the types."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from scripts import scripts

from chord.models.tiny import SEEDS, base_name

ROOT = Path(__file__).parent.parent


def test_every_command_has_a_script() -> None:
    """A command is run by `python -m chord.NAME`: a module that has its own, or a package."""
    modules = [
        path
        for path in (ROOT / "chord").glob("*.py")
        if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    ]
    names = {path.stem for path in modules}
    names |= {path.parent.name for path in (ROOT / "chord").glob("*/__main__.py")}
    # `chord-train dry_run=true` has a script of its own.
    names.add("check_data")
    assert scripts().keys() == {f"chord-{name.replace('_', '-')}" for name in names}
    for place in scripts().values():
        module, _, function = place.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.slow
def test_the_wheel_is_complete_and_runs_without_the_checkout(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    conf = {f"chord/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert conf <= names
    bases = {f"chord/assets/{base_name(seed)}" for seed in SEEDS}
    assert {
        "chord/py.typed",
        "chord/assets/teacher.safetensors",
        *bases,
    } <= names
    page = (ROOT / "chord/compare/page").iterdir()
    assert {str(path.relative_to(ROOT)) for path in page if path.is_file()} <= names
    assert not [name for name in names if name.startswith(("tests/", "experiments/"))]
    done = subprocess.run(
        [sys.executable, "-c", "import chord.train; chord.train.main()", "--help"],
        cwd=tmp_path / "installed",
        env={"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "schedule=" in done.stdout
    for command in (
        "check-data experiment=smoke",
        "train experiment=smoke tracking=off hydra.run.dir=run",
        "evaluate run evaluation.test_problems=20",
        "compare run --out comparison",
    ):
        name, *arguments = command.split()
        module, _, function = scripts()[f"chord-{name}"].partition(":")
        (where := tmp_path / "elsewhere").mkdir(exist_ok=True)
        subprocess.run(
            [sys.executable, "-c", f"import {module} as m; m.{function}()", *arguments],
            cwd=where,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=True,
        )
    assert (where / "run" / "evaluations").is_dir()
    assert (where / "comparison" / "comparison.html").exists()
