"""The expert's responses from a model: what is right is kept, and a file is gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from language_models import make_model
from simulated_device import DEVICE, simulated
from texts import corpus, sums, write

from chord.config.trainer import TrainerConfig
from chord.io.locking import sole_writer
from chord.io.signs import Signs
from chord.make_expert import Demonstrator, main
from chord.rewards import Numeric
from chord.rollout.engines.base import Draft
from chord.rollout.engines.hf import Generate

ROWS = sums(40)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "p.jsonl", ROWS)
    return [
        "model=hf", f"model.path={make_model(tmp_path / 'model')}", "data=jsonl", "reward=numeric",
        "data.problems=p.jsonl", "rollout.problems=6", "rollout.max_new_tokens=6",
        "evaluation=quick", "evaluation.max_new_tokens=6", "data.validation=.2", "data.test=.2",
        "data.prompt_template='Sum: {problem}'",
    ]  # fmt: skip


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A model that knows every sum but those of numbers that end in 7; returns what it was asked.

    Its second sample is wrong.
    """
    asked: list[str] = []

    def right(self: Demonstrator, problems: list, k: int) -> list[list[str]]:  # type: ignore[type-arg]
        asked.extend(problem.prompt for problem in problems)
        return [
            [] if "7+" in problem.prompt else [f"={problem.answer}", f"so {problem.answer}"][:k]
            for problem in problems
        ]

    monkeypatch.setattr(Demonstrator, "right", right)
    return asked


def rows(path: str) -> list[dict[str, str]]:
    return [orjson.loads(line) for line in Path(path).read_bytes().splitlines()]


def test_right_answers_become_an_experts_file(settings: list[str], knowing: list[str]) -> None:
    main(["--to", "e.jsonl", *settings])
    # 4 of 40 numbers end in 7; the template is no part of what is written.
    assert len(rows("e.jsonl")) == 36
    assert {row["problem"] for row in rows("e.jsonl")} <= {row["problem"] for row in ROWS}
    assert sorted(knowing) == sorted(f"Sum: {row['problem']}" for row in ROWS)
    data = corpus(Path("p.jsonl"), Path("e.jsonl"), validation=".2", test=".2")
    assert all(pair.response == f"={pair.problem.answer}" for pair in data.expert_pairs)
    assert len(data.held_out_pairs("test")) > 0


def test_it_says_how_far_it_is(
    settings: list[str], knowing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(Signs, "now", lambda self, what, how_far="": told.append(how_far))
    main(["--to", "e.jsonl", "--n", "10", *settings])
    assert told[0] == "0 problems tried, 0 have a right response"


def test_a_file_is_gone_on_with_to_the_same_end(settings: list[str], knowing: list[str]) -> None:
    main(["--to", "whole.jsonl", "--keep", "2", *settings])
    main(["--to", "cut.jsonl", "--keep", "2", "--n", "10", *settings])
    assert len({row["problem"] for row in rows("cut.jsonl")}) == 10
    with Path("cut.jsonl").open("ab") as file:
        file.write(b'{"problem": "was kil')
    main(["--to", "cut.jsonl", "--keep", "2", *settings])
    assert Path("cut.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_a_models_own_answers_are_graded_and_repeat(
    settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever came to its end is right.
    monkeypatch.setattr(Numeric, "score", lambda self, problem, response: float(bool(response)))
    for name in ("one.jsonl", "two.jsonl"):
        main(["--to", name, "--k", "8", *settings, "rollout.temperature=2"])
    assert len(rows("one.jsonl")) > 3
    assert Path("one.jsonl").read_bytes() == Path("two.jsonl").read_bytes()


def test_the_engine_of_the_settings_answers(
    settings: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Numeric, "score", lambda self, problem, response: float(bool(response)))
    asked: list[int] = []
    generate = Generate.generate

    def seen(self: Generate, policy: Any, requests: Any, uniforms: Any) -> list[Draft]:
        asked.append(len(requests))
        return generate(self, policy, requests, uniforms)

    monkeypatch.setattr(Generate, "generate", seen)
    for name, *engine in (("own.jsonl",), ("hf.jsonl", "rollout=hf")):
        main(["--to", name, *settings, *engine, "rollout.temperature=2"])
    # One answer to see that it answers, then four to each of 40 problems, six problems at a time.
    assert asked == [1, *[24] * 6, 16]
    # It samples as the policy does.
    assert len(rows("own.jsonl")) > 3
    assert Path("hf.jsonl").read_bytes() == Path("own.jsonl").read_bytes()
    server = ["rollout=vllm", "rollout.server=http://127.0.0.1:9"]
    with pytest.raises(SystemExit, match="1"):
        main(["--to", "vllm.jsonl", *settings, *server])
    assert "rollout.server=http://127.0.0.1:9: no vLLM server answers" in capsys.readouterr().err


def test_it_answers_on_a_gpu_if_there_is_one(
    settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    asked: list[str] = []

    def device(self: TrainerConfig) -> torch.device:
        asked.append(self.accelerator)
        return DEVICE

    monkeypatch.setattr(TrainerConfig, "device", device)
    places = []
    right = Demonstrator.right

    def seen(self: Demonstrator, *arguments: Any) -> list[list[str]]:
        places.append(self.policy.device)
        return right(self, *arguments)

    monkeypatch.setattr(Demonstrator, "right", seen)
    with simulated():
        main(["--to", "e.jsonl", *settings])
        main(["--to", "f.jsonl", *settings, "trainer=cpu"])
    assert set(places) == {DEVICE}
    assert asked == ["auto", "cpu"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "e.json"], "error: --to e.json: must end in .jsonl"),
        (["--to", "e.jsonl", "--k", "0"], "error: --k 0: must be a whole number, at least 1"),
        (["--to", "e.jsonl", "data=testbed"], "error: data=testbed: already has its own expert"),
        (["--to", "e.jsonl", "data=jsonl"], "error: data.problems: has no value; give it as"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(words)
    assert capsys.readouterr().err.startswith(message)


def test_a_file_of_other_problems_is_refused(
    settings: list[str], knowing: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("e.jsonl"), [{"problem": "another?", "answer": 1, "response": "1"}])
    with pytest.raises(SystemExit, match="1"):
        main(["--to", "e.jsonl", *settings])
    assert "--to e.jsonl: its last row belongs to a problem that is not in the data" in (
        capsys.readouterr().err
    )


def test_a_whole_last_row_without_a_line_end_is_kept(
    settings: list[str], knowing: list[str]
) -> None:
    main(["--to", "whole.jsonl", *settings])
    main(["--to", "cut.jsonl", "--n", "10", *settings])
    Path("cut.jsonl").write_bytes(Path("cut.jsonl").read_bytes().rstrip(b"\n"))
    asked = len(knowing)
    main(["--to", "cut.jsonl", *settings])
    assert Path("cut.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    # Nothing that was written is made again.
    assert len(knowing) - asked <= len(ROWS) - 10


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"problem": "1+1=", "answer": 2}\n', "line 1 is no problem with an expert's response"),
        ("notes\n", "line 1 is no problem"),
        ('{"problem": "1+1=", "response": "2"}\n[1]\n', "line 2 is no problem"),
        ('{"messages": [{"role": "user", "content": "x"}]}\n', "line 1 is no problem"),
        ("notes without an end", "does not end with a problem and an expert's response"),
        ('{"mine": 1, "cut', "does not end with a problem and an expert's response"),
    ],
)
def test_a_file_that_is_no_experts_is_left_as_it_is(
    settings: list[str],
    knowing: list[str],
    capsys: pytest.CaptureFixture[str],
    content: str,
    line: str,
) -> None:
    Path("mine.jsonl").write_text(content)
    with pytest.raises(SystemExit, match="1"):
        main(["--to", "mine.jsonl", *settings])
    assert capsys.readouterr().err.startswith(f"error: --to mine.jsonl: {line}")
    assert Path("mine.jsonl").read_text() == content


def test_the_problems_and_a_file_that_is_being_written_are_left_alone(
    settings: list[str], knowing: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("p.jsonl").read_bytes()
    with pytest.raises(SystemExit, match="1"):
        main(["--to", "p.jsonl", *settings])
    assert "--to p.jsonl: data.problems=p.jsonl is read from there" in capsys.readouterr().err
    assert Path("p.jsonl").read_bytes() == before
    with sole_writer(Path("e.jsonl"), "x"), pytest.raises(SystemExit, match="1"):
        main(["--to", "e.jsonl", *settings])
    assert "--to e.jsonl: another process is writing it" in capsys.readouterr().err
    assert not Path("e.jsonl").exists()
