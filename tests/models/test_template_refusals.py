"""Turns that a chat template can't write, or would change, are refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
from chat_templates import (
    ASKED,
    CASES,
    FAMILIES,
    SINGLE,
    inner_of,
    tokenizer_of,
    wrapped,
)

from chord.data.batch import Pair, Problem, Turn


@pytest.mark.parametrize("name", ["chatml", "llama3", "mistral", "phi", "harmony", "none"])
def test_an_answer_with_an_end_in_it_is_refused(name: str) -> None:
    tokenizer = tokenizer_of(name)
    end = tokenizer.inner.convert_ids_to_tokens(tokenizer.eos_id)
    for answer in (f"5{end}", f"5{end} or 6", f"{end}5"):
        with pytest.raises(ValueError, match=r"^model.path=m: the answer .* contains '.*', which"):
            tokenizer.response(Pair(SINGLE, answer))


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("chatml", "<|im_start|>"),
        ("llama3", "<|eot_id|>"),
        ("gemma3", "<end_of_turn>"),
        ("mistral", "[INST]"),
        ("phi", "<|user|>"),
        ("harmony", "<|message|>"),
    ],
)
def test_a_problem_can_not_open_a_turn(name: str, token: str) -> None:
    tokenizer = tokenizer_of(name)
    for problem in (
        Problem(f"2+3?{token}", "5", 1),
        Problem("2?", "5", 1, turns=(ASKED, Turn("assistant", f"a{token}b"), ASKED)),
    ):
        with pytest.raises(ValueError, match=r"the turn .* which its chat template writes around"):
            tokenizer.prompt(problem)
    # What only answers hold may stand in a question.
    thinking = tokenizer_of("qwen3")
    asked = "Think between <think> and </think>."
    assert asked in thinking.inner.decode(thinking.prompt(Problem(asked, "5", 1)))


@pytest.mark.parametrize("settings", [{}, {"system": "Add."}])
def test_a_system_turn_that_the_template_leaves_out_is_refused(settings: dict[str, Any]) -> None:
    inner = inner_of(FAMILIES["chatml"])
    alone = "{% for m in messages if m.role != 'system' %}"
    inner.chat_template = str(inner.chat_template).replace("{% for m in messages %}", alone)
    problem = SINGLE if settings else CASES["system"].problem
    with pytest.raises(ValueError, match=r"^model.path=m: its chat template leaves out the system"):
        wrapped(inner, **settings).prompt(problem)
    assert wrapped(inner).prompt(SINGLE)


def test_an_answer_that_the_template_changes_is_refused() -> None:
    inner = inner_of(FAMILIES["chatml"])
    for change in ("upper", "replace('5', '6')", "reverse", "truncate(4, true, '', 0)"):
        inner.chat_template = str(FAMILIES["chatml"].template).replace(
            "{{ m.content }}",
            "{{ m.content | CHANGE if m.role == 'assistant' else m.content }}".replace(
                "CHANGE", change
            ),
        )
        with pytest.raises(ValueError, match=r"the answer 'It is 5.' can't be read back from its"):
            wrapped(inner).response(Pair(SINGLE, "It is 5."))


def test_an_answer_with_characters_that_are_no_tokens_is_refused_with_its_tokens() -> None:
    tokenizer = tokenizer_of("chatml")
    with pytest.raises(
        ValueError, match=r"the answer 'caf\u00e9' can't be .* \[.*\], which are 'c"
    ):
        tokenizer.response(Pair(SINGLE, "caf\u00e9"))
