"""A run's responses, chosen and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from chord.answers import main
from chord.run.files import COMPLETIONS, SAMPLES


def rollout(step: int, response: str, reward: float, **more: Any) -> dict[str, Any]:
    row = {"step": step, "problem": f"{step}+1=", "answer": str(step + 1), "response": response}
    return row | {"score": reward, "reward": reward, "advantage": None, "finished": True} | more


def both(problem: str, base: float | None, trained: float | None) -> dict[str, Any]:
    row = {"problem": problem, "answer": "7", "base": f"b{problem}", "trained": f"t{problem}"}
    return row | {"base_score": base, "trained_score": trained}


ROLLOUTS = [
    rollout(0, "one\nline", 0.0),
    rollout(0, "a much longer one", 1.0, advantage=0.5, key=7, tokens=4),
    rollout(5, "\x1b[2J", 0.25, finished=False),
]
PAIRS = [
    both("p", 1, 0) | {"key": 7, "trained_finished": False},
    both("q", 0, 1),
    both("r", 1, 1),
    both("s", None, None),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "evaluations").mkdir()
    for path, rows in {
        COMPLETIONS: ROLLOUTS, "evaluations/test-2-00000000.jsonl": PAIRS,
    }.items():  # fmt: skip
        (tmp_path / path).write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ROLLOUTS),
        (["--n", "1"], ROLLOUTS[:1]),
        (["--step", "5"], ROLLOUTS[2:]),
        (["--step", "0..4"], ROLLOUTS[:2]),
        (["--step", "0..5", "--cut-off"], ROLLOUTS[2:]),
        (["--cut-off"], ROLLOUTS[2:]),
        (["--find", "longer"], ROLLOUTS[1:2]),
        (["--find", "0+1"], ROLLOUTS[:2]),
        (["--order", "longest", "--n", "1"], ROLLOUTS[1:2]),
        (["--order", "shortest", "--n", "1"], ROLLOUTS[2:]),
        (["--order", "worst"], [ROLLOUTS[0], ROLLOUTS[2], ROLLOUTS[1]]),
        (["--order", "best"], [ROLLOUTS[1], ROLLOUTS[2], ROLLOUTS[0]]),
        (["--evaluated"], PAIRS),
        (["--evaluated", "test-2-00000000", "--find", "q"], PAIRS[1:2]),
        (["--lost"], PAIRS[:1]),
        (["--evaluated", "--cut-off"], PAIRS[:1]),
        (["--split", "test"], PAIRS),
        (["--split", "train"], ROLLOUTS),
        (["--problem", "7"], ROLLOUTS[1:2]),
        (["--split", "test", "--problem", "7"], PAIRS[:1]),
        (["--gained"], PAIRS[1:2]),
        (["--evaluated", "--order", "best"], [PAIRS[1], PAIRS[2], PAIRS[0], PAIRS[3]]),
    ],
)
def test_rows_are_chosen(
    words: list[str], expected: list[dict[str, Any]], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(run), "--json", *words])
    assert [orjson.loads(line) for line in capsys.readouterr().out.splitlines()] == expected


def test_rows_are_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(run)])
    said = capsys.readouterr().out
    assert said.startswith(
        "step 0, score 0, reward 0, advantage -\n"
        "  problem       0+1=\n"
        "  answer        1\n"
        "  response      one\n"
        "                line\n"
    )
    assert "step 5, score 0.25, reward 0.25, advantage -, cut off\n" in said
    assert "\\x1b[2J" in said
    main([str(run), "--lost"])
    assert "  base, 1       bp\n  trained, 0, cut off tp\n" in capsys.readouterr().out
    main([str(run), "--find", "nowhere"])
    assert capsys.readouterr().out == f"{run / COMPLETIONS}: no such response\n"


def test_rows_of_any_kind_are_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (COMPLETIONS, "evaluations/test-2-00000000.jsonl"):
        odd = b'"trained": [1], "trained_score": "x", "response": {}'
        (run / name).write_bytes(b'{"step": 0, ' + odd + b'}\n{"step": 1}\n')
    for words in ([], ["--order", "best"], ["--order", "longest"], ["--find", "x"], ["--lost"]):
        main([str(run), *words])
        assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--evaluated", "x"], "--evaluated x: must be one of test-2-00000000"),
        (["--lost", "--step", "1"], "--step: is of responses during training"),
        (["--lost", "--split", "train"], "--split train: is of responses during training"),
        (["--split", "val", "--step", "1"], "--step: is of responses during training"),
        (["--step", "5..4"], "--step 5..4: must be a whole number, at least 0, or two of them, as"),
        (["--step", "x"], "--step x: must be a whole number, at least 0, or two of them, as in 10"),
        (["--n", "0"], "--n 0: must be a whole number, at least 1"),
        (["--lost", "--gained"], "argument --gained: not allowed with argument --lost"),
    ],
)
def test_what_is_wrong_is_said(
    words: list[str], message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main([str(run), *words])
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_run_without_evaluations_says_how_one_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(SystemExit, match="1"):
        main([str(tmp_path), "--lost"])
    assert "no evaluation is saved; python -m chord.evaluate saves one" in capsys.readouterr().err


def test_without_a_saved_evaluation_the_runs_own_responses_are_shown(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = (("test", True, False), ("test", False, True), ("val", True, True))
    own = [
        {"split": split, "problem": "p", "base": "b", "trained": "t"}
        | {"base_right": before, "trained_right": now, "trained_finished": now}
        for split, before, now in kinds
    ]
    (run / SAMPLES).write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in own))
    (run / "evaluations/test-2-00000000.jsonl").unlink()
    for words, expected in {
        ("--evaluated",): own,
        ("--split", "test"): own[:2],
        ("--lost",): own[:1],
        ("--gained",): own[1:2],
        ("--split", "val", "--order", "best"): own[2:],
    }.items():
        main([str(run), "--json", *words])
        assert [orjson.loads(line) for line in capsys.readouterr().out.splitlines()] == expected
    main([str(run), "--lost"])
    said = capsys.readouterr().out
    assert "  base, right   b\n  trained, wrong, cut off t\n" in said
    assert f"1 of the responses in {run / SAMPLES}" in said
    main([str(run), "--find", "nowhere", "--gained"])
    assert capsys.readouterr().out == (
        f"{run / SAMPLES}: no such response; python -m chord.evaluate {run} saves all\n"
    )
