"""What training leaves behind is what a comparison reads."""

from __future__ import annotations

from pathlib import Path

from conftest import small_composed

from chord.compare.command import main
from chord.compare.reading import read_run
from chord.compare.record import STEP_CURVES, VALIDATION_CURVES
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.run.directory import RunDirectory
from chord.run.files import FINISHED
from chord.run.training import train


def test_a_run_is_read_whole(small_models: Path, tmp_path: Path) -> None:
    overrides = ["schedule=linear", "schedule.initial=0.9", "schedule.final=0.1", "seed=5"]
    composed = small_composed(small_models, *overrides)
    path = tmp_path / "run"
    outcome = train(
        parse(composed, TrainConfig), RunDirectory(path, composed, "linear-seed5", overrides)
    )
    run, left_out = read_run(path)
    assert run is not None
    assert not left_out
    assert (run.name, run.seed, run.status) == ("linear-seed5", 5, FINISHED)
    assert (run.steps, run.planned_steps) == (2, 2)
    assert run.choices["schedule"] == "linear"
    assert run.settings["schedule.initial"] == 0.9
    assert run.settings["steps"] == 2
    assert list(run.overrides) == overrides
    trained = {key: value for key, value in run.final.items() if key.startswith("test/")}
    assert trained == {f"test/{key}": value for key, value in outcome.trained.metrics.items()}
    assert run.base == {f"test/{key}": value for key, value in outcome.base.metrics.items()}
    assert run.final["val/balance_at_0.5"] == outcome.validation["balance_at_0.5"]
    assert run.curves.keys() >= {*STEP_CURVES, *VALIDATION_CURVES}
    assert run.tokens.keys() >= {"sft", "rl"}
    assert run.seconds > 0
    assert len(run.answers) == len(run.base_answers) == 4
    assert [a.text for a in run.answers] == [a.text for a in outcome.trained.answers]
    assert "torch" in run.versions
    main([str(path), "--no-page"])
    assert (path / "comparison" / "runs.csv").exists()
