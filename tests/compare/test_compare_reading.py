"""Run directories, whole and damaged: what is read, and what is said to be left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compare_runs import evaluation, metrics, write_lines, write_run

from chord.compare.reading import read_run
from chord.run.files import FAILED, FINISHED, INTERRUPTED, RUNNING


def test_a_whole_run_is_read(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", seed=3, accuracy=0.8, overrides=["schedule=cosine"])
    run, left_out = read_run(path)
    assert run is not None
    assert not left_out
    assert (run.seed, run.status, run.steps, run.planned_steps) == (3, FINISHED, 4, 4)
    assert run.choices == {"schedule": "cosine", "weighting": "phi"}
    assert run.final["test/target_accuracy"] == 0.8
    assert run.final["val/target_accuracy"] == 0.8
    assert run.base["test/target_accuracy"] == 0.1
    assert (run.best_step, run.best["val/target_accuracy"]) == (4, 0.8)
    # Four steps of half a second, of 10 and 100 tokens.
    assert (run.seconds, run.tokens) == (2.0, {"sft": 40.0, "rl": 400.0})
    assert run.curves["rollout/reward"].values == [0.0, 0.1, 0.2, 0.3]
    assert run.curves["val/target_accuracy"].steps == [0, 2, 4]


def test_settings_are_flat_and_hold_what_can_change_a_number(tmp_path: Path) -> None:
    run, _ = read_run(write_run(tmp_path / "run", seed=3, settings={"schedule.seed": 3}))
    assert run is not None
    assert run.settings["schedule"] == "cosine"
    assert run.settings["schedule.initial"] == 1.0
    assert run.settings["steps"] == 4
    assert not run.settings.keys() & {"seed", "schedule.seed", "threads", "resume", "tracking"}


@pytest.mark.parametrize(("taken", "status"), [(4, FINISHED), (2, INTERRUPTED), (0, INTERRUPTED)])
def test_a_run_without_a_status_is_finished_if_its_last_evaluation_is_there(
    tmp_path: Path, taken: int, status: str
) -> None:
    run, _ = read_run(write_run(tmp_path / "run", taken=taken))
    assert run is not None
    assert (run.status, run.steps) == (status, taken)


def test_a_run_that_selects_is_finished_with_its_last_validation(tmp_path: Path) -> None:
    run, _ = read_run(write_run(tmp_path / "run", settings={"evaluation.test": False}))
    assert run is not None
    assert run.status == FINISHED


@pytest.mark.parametrize("status", [FAILED, RUNNING, INTERRUPTED])
def test_what_a_run_says_of_itself_goes_first(tmp_path: Path, status: str) -> None:
    said = {"status": status, "error": "out of memory"}
    run, _ = read_run(write_run(tmp_path / "run", taken=2, status=said))
    assert run is not None
    assert (run.status, run.error) == (status, "out of memory")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": "fine"}', '{"status": null}'])
def test_a_status_that_cannot_be_read_is_as_none(tmp_path: Path, content: str) -> None:
    path = write_run(tmp_path / "run")
    (path / "status.json").write_text(content)
    run, _ = read_run(path)
    assert run is not None
    assert run.status == FINISHED


def test_a_half_written_line_costs_that_line_and_is_said(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "alp')
    run, left_out = read_run(path)
    assert run is not None
    assert run.steps == 4
    assert [(e.what, e.reason) for e in left_out] == [
        (f"{path}/metrics.jsonl, line 5", "half-written last line: left out")
    ]


def test_a_finished_run_whose_steps_end_early_has_no_tokens_and_no_curves_of_steps(
    tmp_path: Path,
) -> None:
    path = write_run(tmp_path / "run")
    write_lines(path / "metrics.jsonl", [metrics(step) for step in range(2)])
    run, left_out = read_run(path)
    assert run is not None
    assert (run.tokens, run.seconds, run.steps) == ({}, 2.0, 2)
    assert list(run.curves) == ["val/target_accuracy", "val/retained/mean"]
    assert [(e.what, e.reason) for e in left_out] == [
        (
            f"{path}/metrics.jsonl",
            "holds 2 of 4 steps: tokens and training curves are left out",
        )
    ]


@pytest.mark.parametrize(
    ("name", "kept", "tokens", "seconds", "reason"),
    [
        ("metrics.jsonl", [0, 3], {}, 2.0, "holds 2 of 4 steps: tokens are left out"),
        ("timings.jsonl", [0, 1], {"sft": 40.0, "rl": 400.0}, None,
         "holds 2 of 4 steps: seconds are left out"),
        ("timings.jsonl", [], {"sft": 40.0, "rl": 400.0}, None,
         "holds 0 of 4 steps: seconds are left out"),
    ],
)  # fmt: skip
def test_sums_over_some_of_the_steps_are_left_out(
    tmp_path: Path,
    name: str,
    kept: list[int],
    tokens: dict[str, float],
    seconds: float | None,
    reason: str,
) -> None:
    path = write_run(tmp_path / "run")
    lines = (path / name).read_text().splitlines(keepends=True)
    (path / name).write_text("".join(lines[step] for step in kept))
    run, left_out = read_run(path)
    assert run is not None
    assert (run.tokens, run.seconds) == (tokens, seconds)
    assert [(e.what, e.reason) for e in left_out] == [(str(path / name), reason)]


def test_a_step_that_is_timed_twice_counts_once(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    with (path / "timings.jsonl").open("a") as file:
        file.write('{"step": 3, "seconds/step": 9.0}\n')
    run, left_out = read_run(path)
    assert run is not None
    assert run.seconds == 2.0
    assert [e.reason for e in left_out] == ["its step is not after the previous one: left out"]


def test_corrupt_lines_are_left_out_and_the_others_read(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    rows = [json.dumps(metrics(step)) for step in range(4)]
    noise = ["\x00\x01", "7", '{"alpha": 1}', rows[0], '{"step": "x"}']
    (path / "metrics.jsonl").write_text("\n".join([*rows, *noise]) + "\n")
    run, left_out = read_run(path)
    assert run is not None
    assert run.curves["alpha"].steps == [0, 1, 2, 3]
    assert {(e.what.rsplit(", ", 1)[-1], e.reason) for e in left_out} == {
        ("6", "not a JSON object: left out"),
        ("9", "has no step: left out"),
        ("line 8", "its step is not after the previous one: left out"),
    }


@pytest.mark.parametrize("name", ["metrics.jsonl", "timings.jsonl", "evaluations.jsonl"])
def test_a_missing_file_is_said(tmp_path: Path, name: str) -> None:
    path = write_run(tmp_path / "run")
    (path / name).unlink()
    run, left_out = read_run(path)
    assert run is not None
    assert [(e.what, e.reason) for e in left_out] == [(str(path / name), f"it has no {name}")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("run.json", None, "it has no run.json"),
        ("run.json", "{", "run.json can't be read (not JSON)"),
        ("run.json", "[]", "run.json is not a JSON object"),
        ("config.yaml", None, "it has no config.yaml"),
        ("config.yaml", "a: [", "config.yaml is not YAML"),
        ("config.yaml", "- a", "config.yaml is not a mapping"),
        ("config.yaml", "steps: 4", "config.yaml has no seed"),
        ("config.yaml", "seed: many\nsteps: 4", "config.yaml has no seed"),
    ],
)
def test_a_directory_that_is_no_whole_run_is_left_out_with_its_reason(
    tmp_path: Path, name: str, content: str | None, reason: str
) -> None:
    path = write_run(tmp_path / "run", status={"status": FAILED, "error": "bad\nconfig"})
    (path / name).unlink() if content is None else (path / name).write_text(content)
    run, left_out = read_run(path)
    assert run is None
    assert [(e.what, e.reason) for e in left_out] == [(str(path), f"failed: bad; {reason}")]


@pytest.mark.parametrize("value", [None, "x", True, 1e308, -1e30, 10**30])
def test_a_number_that_cannot_be_averaged_is_no_score(tmp_path: Path, value: object) -> None:
    path = write_run(tmp_path / "run")
    row = evaluation(4, "test", "trained", 0.5)
    write_lines(path / "evaluations.jsonl", [{**row, "test/retained/min": value}])
    run, _ = read_run(path)
    assert run is not None
    assert "test/retained/min" not in run.final


def test_the_best_validation_is_the_first_of_equals(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    rows = [evaluation(s, "val", "trained", a) for s, a in ((0, 0.1), (2, 0.6), (4, 0.6))]
    # The base's row comes last, and is no validation of this run.
    write_lines(path / "evaluations.jsonl", [*rows, evaluation(0, "val", "base", 0.9)])
    run, _ = read_run(path)
    assert run is not None
    assert (run.best_step, run.best["val/target_accuracy"]) == (2, 0.6)


def test_evaluations_of_one_step_that_disagree_are_said_once_and_the_last_counts(
    tmp_path: Path,
) -> None:
    path = write_run(tmp_path / "run", accuracy=0.5)
    with (path / "evaluations.jsonl").open("a") as file:
        # Of step 4 the same again, and others; of step 2 others, which were the best.
        rows = [(4, "test", 0.5), (2, "val", 0.9), (2, "val", 0.3), (4, "val", 0.4)]
        for step, split, accuracy in rows:
            file.write(json.dumps(evaluation(step, split, "trained", accuracy)) + "\n")
    run, left_out = read_run(path)
    assert run is not None
    assert [(e.what, e.reason) for e in left_out] == [
        (f"{path}/evaluations.jsonl", "evaluations disagree at steps 2, 4: the last counts")
    ]
    assert run.final["test/target_accuracy"] == 0.5
    assert run.curves["val/target_accuracy"].values == [0, 0.3, 0.4]
    assert (run.best_step, run.best["val/target_accuracy"]) == (4, 0.4)


def test_a_long_curve_is_thinned_and_keeps_its_ends(tmp_path: Path) -> None:
    # (501 - 1) / 199 = 2.51: one of every three steps, 0, 4, 8, 9, ..., 499 (the 167th of them,
    # 498 + 166 mod 3), then 500.
    path = write_run(tmp_path / "run", steps=501)
    run, _ = read_run(path)
    assert run is not None
    steps = run.curves["alpha"].steps
    assert steps[:4] == [0, 4, 8, 9]
    assert steps[-2:] == [499, 500]
    assert len(steps) == 168


def test_answers_are_those_of_the_last_evaluation(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    row = {"problem": "1+1=", "expert": "2.", "base": "3", "base_right": False,
           "trained": "2.", "trained_right": True}  # fmt: skip
    write_lines(
        path / "samples.jsonl", [{"split": "val", **row}, {"split": "test", **row}, {"split": 1}]
    )
    run, left_out = read_run(path)
    assert run is not None
    assert [(a.problem, a.expert, a.text, a.right) for a in run.answers] == [
        ("1+1=", "2.", "2.", True)
    ]
    assert [(a.text, a.right) for a in run.base_answers] == [("3", False)]
    assert [e.reason for e in left_out] == ["has no problem: left out"]


def test_a_preset_and_options_are_known_without_hydras_record(tmp_path: Path) -> None:
    path = write_run(
        tmp_path / "run",
        overrides=["experiment=sft", "seed=0"],
        choices={"experiment": "sft", "schedule": "sft_only"},
        schemas={"schedule": "constant"},
    )
    (path / ".hydra" / "hydra.yaml").unlink()
    chosen = {"experiment": "sft", "schedule": "sft_only", "weighting": "phi"}
    run, _ = read_run(path)
    assert run is not None
    assert run.choices == chosen
    # Runs of old did not record their options.
    facts = json.loads((path / "run.json").read_text())
    del facts["options"]
    (path / "run.json").write_text(json.dumps(facts))
    run, _ = read_run(path)
    assert run is not None
    assert run.choices == {**chosen, "schedule": "constant"}


def test_a_record_that_no_run_has_written_is_left_out(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    (path / "run.json").write_text("{}")
    run, (left_out,) = read_run(path)
    assert run is None
    assert left_out.reason == "run.json has no name, as every run's has"


@pytest.mark.parametrize("value", [1.5, -0.25])
@pytest.mark.parametrize("name", ["target_accuracy", "retained/min"])
def test_a_share_is_from_0_to_1(tmp_path: Path, name: str, value: float) -> None:
    path = write_run(tmp_path / "run")
    row = {**evaluation(4, "test", "trained", 0.5), f"test/{name}": value}
    write_lines(path / "evaluations.jsonl", [row, evaluation(4, "test", "trained", 0.5)])
    run, (left_out,) = read_run(path)
    assert run is not None
    assert run.final["test/target_accuracy"] == 0.5
    assert left_out.reason == f"has test/{name}={value}, which must be from 0 to 1: left out"


def test_a_run_of_a_newer_format_is_left_out_with_the_reason(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    facts = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(facts | {"format": 3}))
    run, (left_out,) = read_run(path)
    assert run is None
    assert left_out.reason.startswith("run.json has format 3, of a newer chord; this one reads")
