"""The table of examples: tokens as the model sees them, what counts in colour."""

from __future__ import annotations

from pathlib import Path

from language_models import make_tokenizer
from rich.console import Console
from texts import corpus, sums, worked, write

from chord.data.base import Data
from chord.data.jsonl import FilesConfig
from chord.data.preview import preview
from chord.data.testbed import TestbedConfig
from chord.models.hf.tokenizer import LanguageTokenizer


def shown(data: Data, count: int = 2) -> str:
    console = Console(width=200, force_terminal=True, color_system="standard", record=True)
    with console.capture() as captured:
        console.print(preview(data, 0, count))
    return captured.get()


def test_the_assistants_tokens_are_in_colour_and_the_others_dim(tmp_path: Path) -> None:
    said = [("user", "2?"), ("assistant", "hm"), ("user", "go"), ("assistant", "two")]
    messages = [{"role": role, "content": text} for role, text in said]
    rows = [{"messages": [*messages[:-1], {**messages[-1], "content": f"{n}!"}], "answer": n,
             "problem": f"{n}?"} for n in range(30)]  # fmt: skip
    path = write(tmp_path / "c.jsonl", rows)
    tokenizer = LanguageTokenizer(inner=make_tokenizer(), name="m", vocab_size=99)
    data = FilesConfig(problems=str(path), expert=str(path)).build(tokenizer)
    text = shown(data, 1)
    # "hm" and its end in green (32), what follows dim (2).
    assert "\x1b[32mhm<|im_end|>\x1b[0m" in text
    assert "\x1b[2m<|im_start|>user" in text
    assert "<|im_start|>assistant" in text


def test_prompts_and_answers_are_those_of_the_first_step(tmp_path: Path) -> None:
    rows = sums(40)
    path = write(tmp_path / "p.jsonl", rows)
    data = corpus(path, write(tmp_path / "e.jsonl", worked(rows)))
    text = shown(data)
    for pair in data.pairs(0, 0, 2):
        assert f" {pair.problem.prompt} " in text
        assert f"{pair.response}<end>" in text
    without = shown(corpus(path))
    assert all(problem.prompt in without for problem in corpus(path).problems(0, 0, 2))
    assert "<end>" in shown(TestbedConfig().build())


def test_pieces_are_the_text_of_the_tokens(tmp_path: Path) -> None:
    tokenizer = LanguageTokenizer(inner=make_tokenizer(), name="m", vocab_size=99)
    ids = [*tokenizer.encode("a b\n"), tokenizer.eos_id]
    assert tokenizer.pieces(ids) == ["a", " ", "b", "\n", "<|im_end|>"]
