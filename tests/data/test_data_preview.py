"""The examples: tokens as the model sees them, and which of them are imitated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from language_models import make_tokenizer
from rich.console import Console
from texts import corpus, sums, worked, write

from chord.data.base import Data
from chord.data.batch import Problem
from chord.data.jsonl import FilesConfig
from chord.data.preview import example, preview
from chord.data.testbed import TestbedConfig
from chord.models.hf.tokenizer import LanguageTokenizer


def shown(data: Data, count: int = 2, *, colour: bool = False) -> str:
    system: Any = "standard" if colour else None
    console = Console(width=200, force_terminal=colour, color_system=system, soft_wrap=True)
    with console.capture() as captured:
        for text in preview(data, 0, count):
            console.print(text)
    return captured.get()


def test_what_is_imitated_is_told_by_names_and_by_colour(tmp_path: Path) -> None:
    said = [("user", "2?"), ("assistant", "hm"), ("user", "go"), ("assistant", "two")]
    messages = [{"role": role, "content": text} for role, text in said]
    rows = [{"messages": [*messages[:-1], {**messages[-1], "content": f"{n}!"}], "answer": n,
             "problem": f"{n}?"} for n in range(30)]  # fmt: skip
    path = write(tmp_path / "c.jsonl", rows)
    tokenizer = LanguageTokenizer(inner=make_tokenizer(), name="m", vocab_size=99)
    data = FilesConfig(problems=str(path), expert=str(path)).build(tokenizer)
    lines = shown(data, 1).splitlines()
    (answer,) = {pair.problem.answer for pair in data.pairs(0, 0, 1)}
    assert lines[0].startswith("example 1 of 1, c.jsonl line ")
    assert lines[0].endswith(f" of them imitated; right answer: '{answer}'")
    names = [line[2:12].strip() for line in lines[1:] if line[2:12].strip()]
    assert names == ["prompt", "imitated", "end", "others", "imitated", "end"]
    assert "  imitated  h¦m" in lines
    assert "  end       <|im_end|>" in lines
    # A line end is shown, and the prompt ends with one.
    assert (
        lines[lines.index("  imitated  h¦m") - 1]
        == "            ¦<|im_start|>¦a¦s¦s¦i¦s¦t¦a¦n¦t¦\\n"
    )
    coloured = shown(data, 1, colour=True)
    # Green (32) is imitated, the turns of others are dim (2).
    assert "\x1b[32mh¦m\x1b[0m" in coloured
    assert "\x1b[2m\\n\x1b[0m" in coloured


def test_prompts_and_answers_are_those_of_the_first_step(tmp_path: Path) -> None:
    rows = sums(40)
    path = write(tmp_path / "p.jsonl", rows)
    data = corpus(path, write(tmp_path / "e.jsonl", worked(rows)))
    text = shown(data)
    for pair in data.pairs(0, 0, 2):
        assert f"prompt    {'¦'.join(pair.problem.prompt)}\n" in text
        assert f"imitated  {'¦'.join(pair.response)}\n  end       <end>\n" in text
    without = shown(corpus(path))
    for problem in corpus(path).problems(0, 0, 2):
        assert f"prompt    {'¦'.join(problem.prompt)}\n" in without
    assert "imitated" not in without
    assert "<end>" in shown(TestbedConfig().build())


def test_commands_of_a_terminal_are_escaped_and_long_texts_cut(tmp_path: Path) -> None:
    tokenizer = LanguageTokenizer(inner=make_tokenizer(), name="m", vocab_size=99)
    problem = Problem("a" * 300, "\x1b[2J", 0)
    text = example(tokenizer, problem, None).plain
    assert "\x1b" not in text
    assert "right answer: '\\x1b[2J'" in text
    count = len(tokenizer.prompt(problem))
    assert f"prompt of {count} tokens" in text
    assert f"¦[... {count - 200} tokens ...]¦" in text


def test_pieces_are_the_text_of_the_tokens(tmp_path: Path) -> None:
    tokenizer = LanguageTokenizer(inner=make_tokenizer(), name="m", vocab_size=99)
    ids = [*tokenizer.encode("a b\n"), tokenizer.eos_id]
    assert tokenizer.pieces(ids) == ["a", " ", "b", "\n", "<|im_end|>"]


def test_right_answers_are_shown_as_they_are_written_and_shortened() -> None:
    tokenizer = LanguageTokenizer(inner=make_tokenizer(), name="m", vocab_size=99)
    latex = Problem("2?", "\\frac{1}{2}", 0, others=("it's\n.5",))
    text = example(tokenizer, latex, None).plain
    assert "; right answer: '\\frac{1}{2}' or 'it's\\n.5'\n" in text
    long = example(tokenizer, Problem("2?", "a" * 60 + "b" * 100 + "c" * 17, 0), None).plain
    assert f"; right answer: '{'a' * 60}...{'c' * 17}'\n" in long
