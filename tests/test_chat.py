"""Both models answer each line; conversations go on where there is a template for them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from conftest import small_composed
from language_models import composed, make_model

from chord import chat
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.run.directory import RunDirectory
from chord.run.training import train


def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, *options: str
) -> list[str]:
    """What the command prints for some input."""
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    chat.main(options)
    return capsys.readouterr().out.splitlines()


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, small_models: Path) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "run"
    config = small_composed(small_models, "optimizer.lr=.1", "optimizer.warmup=0")
    train(parse(config, TrainConfig), RunDirectory(path, config, "run"))
    return path


def test_base_and_trained_answer_each_line(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = said(monkeypatch, capsys, "47*86=\n\n12+3=\n", str(tiny_run))
    assert [line.split(":")[0].strip() for line in printed] == ["base", "trained"] * 2
    again = said(monkeypatch, capsys, "47*86=\n", str(tiny_run))
    assert again == printed[:2]
    drawn = ("--temperature", "1", "--seed", "3")
    sampled = said(monkeypatch, capsys, "47*86=\n", str(tiny_run), *drawn)
    assert sampled == said(monkeypatch, capsys, "47*86=\n", str(tiny_run), *drawn)
    assert sampled != again


def test_a_line_that_cannot_be_answered_says_why_and_the_next_one_is(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = said(monkeypatch, capsys, "what?\n47*86=\n", str(tiny_run))
    assert "is not in the alphabet" in printed[0]
    assert len(printed) == 4


def test_a_conversation_goes_on_until_an_empty_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_model(tmp_path / "model")
    make_model(tmp_path / "model-teacher", seed=1)
    config = composed(path)
    train(parse(config, TrainConfig), RunDirectory(tmp_path / "run", config, "run"))
    run, short = str(tmp_path / "run"), ("--max-new-tokens", "4")
    alone = said(monkeypatch, capsys, "2+3?\n", run, *short)
    after = said(monkeypatch, capsys, "hello\n2+3?\n\n2+3?\n", run, *short)
    # The second time without what was said before.
    assert after[2:4] != alone
    assert after[4:6] == alone


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_no_prompt_is_said(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    with pytest.raises(SystemExit):
        said(monkeypatch, capsys, text, str(tiny_run))
    assert capsys.readouterr() == (
        "",
        "error: standard input holds no prompt; give one on each line\n",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--temperature", "-1"), "--temperature -1: must be a number, at least 0"),
        (("--max-new-tokens", "0"), "--max-new-tokens 0: must be a whole number, at least 1"),
        (("--max-new-tokens", "999999"), "--max-new-tokens 999999: must be at most "),
    ],
)
def test_numbers_out_of_range_are_refused(
    tiny_run: Path,
    options: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        chat.main([str(tiny_run), *options])
    assert stopped.value.code == 1
    assert message in capsys.readouterr().err
