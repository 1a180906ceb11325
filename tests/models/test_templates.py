"""What is imitated is what the model would write, for the templates of known families.

Each family meets each case (`CASES`), and each cell has to have the same tokens wherever a row is
read. Texts stand for tokens: one for each character, and one for each of the template's own.

    where a row is read     what is compared                                        test
    SFT row                 prompt and response, written out by hand                here
    rollout prompt          the prompt of the SFT row                               here, in groups
    expert in a group       the whole SFT row                                       in groups
    expert prefix           the first tokens of the response, which are continued   here, in groups
    evaluation              prompts, end tokens, the text that is graded            in groups
    tokenizer, reloaded     prompt, response, end tokens                            here
    model, exported         the same, and log-probabilities                         in groups

In groups: tests/step/test_template_groups.py, which trains a small model of each family. The cells
of `REFUSED` are refused in one sentence; all others work.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from chat_templates import (
    CASES,
    CELLS,
    FAMILIES,
    REFUSED,
    SINGLE,
    THOUGHT,
    inner_of,
    tokenizer_of,
    wrapped,
)
from transformers import AutoTokenizer

from chord.data.batch import Pair, collate_pairs
from chord.models.hf.tokenizer import LanguageTokenizer
from chord.rollout.prefix import Given

IM, HEAD = "<|im_start|>", "<|start_header_id|>"
EXPECTED: dict[str, dict[str, tuple[str, str]]] = {
    # For each case the prompt and what is imitated, with a carriage return at both ends of others'
    # turns.
    "chatml": {
        "single": (f"{IM}user\n2+3?<|im_end|>\n{IM}assistant\n", "It is 5.<|im_end|>"),
        "system": (
            f"{IM}system\nAdd.<|im_end|>\n{IM}user\n2+3?<|im_end|>\n{IM}assistant\n",
            "It is 5.<|im_end|>",
        ),
        "later": (
            f"{IM}user\n2+3?<|im_end|>\n{IM}assistant\nIt is 5.<|im_end|>\n{IM}user\n+1?<|im_end|>"
            f"\n{IM}assistant\n",
            "6.<|im_end|>",
        ),
        "conversation": (
            f"{IM}user\n2+3?<|im_end|>\n{IM}assistant\n",
            f"It is 5.<|im_end|>\r\n{IM}user\n+1?<|im_end|>\n{IM}assistant\n\r6.<|im_end|>",
        ),
        "thinking": (
            f"{IM}user\n2+3?<|im_end|>\n{IM}assistant\n",
            "<think>\nI add.\n</think>\n\n5<|im_end|>",
        ),
    },
    "llama3": {
        "single": (
            f"<|begin_of_text|>{HEAD}user<|end_header_id|>\n\n2+3?<|eot_id|>"
            f"{HEAD}assistant<|end_header_id|>\n\n",
            "It is 5.<|eot_id|>",
        ),
        "system": (
            f"<|begin_of_text|>{HEAD}system<|end_header_id|>\n\nAdd.<|eot_id|>"
            f"{HEAD}user<|end_header_id|>\n\n2+3?<|eot_id|>{HEAD}assistant<|end_header_id|>\n\n",
            "It is 5.<|eot_id|>",
        ),
        "conversation": (
            f"<|begin_of_text|>{HEAD}user<|end_header_id|>\n\n2+3?<|eot_id|>"
            f"{HEAD}assistant<|end_header_id|>\n\n",
            f"It is 5.<|eot_id|>\r{HEAD}user<|end_header_id|>\n\n+1?<|eot_id|>"
            f"{HEAD}assistant<|end_header_id|>\n\n\r6.<|eot_id|>",
        ),
        "later": (
            f"<|begin_of_text|>{HEAD}user<|end_header_id|>\n\n2+3?<|eot_id|>"
            f"{HEAD}assistant<|end_header_id|>\n\nIt is 5.<|eot_id|>"
            f"{HEAD}user<|end_header_id|>\n\n+1?<|eot_id|>{HEAD}assistant<|end_header_id|>\n\n",
            "6.<|eot_id|>",
        ),
        "thinking": (
            f"<|begin_of_text|>{HEAD}user<|end_header_id|>\n\n2+3?<|eot_id|>"
            f"{HEAD}assistant<|end_header_id|>\n\n",
            f"{THOUGHT}<|eot_id|>",
        ),
    },
    "gemma3": {
        "single": (
            "<bos><start_of_turn>user\n2+3?<end_of_turn>\n<start_of_turn>model\n",
            "It is 5.<end_of_turn>",
        ),
        "system": (
            "<bos><start_of_turn>user\nAdd.\n\n2+3?<end_of_turn>\n<start_of_turn>model\n",
            "It is 5.<end_of_turn>",
        ),
        "conversation": (
            "<bos><start_of_turn>user\n2+3?<end_of_turn>\n<start_of_turn>model\n",
            "It is 5.<end_of_turn>\r\n<start_of_turn>user\n+1?<end_of_turn>\n"
            "<start_of_turn>model\n\r6.<end_of_turn>",
        ),
        "later": (
            "<bos><start_of_turn>user\n2+3?<end_of_turn>\n<start_of_turn>model\n"
            "It is 5.<end_of_turn>\n<start_of_turn>user\n+1?<end_of_turn>\n<start_of_turn>model\n",
            "6.<end_of_turn>",
        ),
        "thinking": (
            "<bos><start_of_turn>user\n2+3?<end_of_turn>\n<start_of_turn>model\n",
            f"{THOUGHT}<end_of_turn>",
        ),
    },
    "mistral": {
        "single": ("<s>[INST] 2+3?[/INST]", " It is 5.</s>"),
        # Without the last user's turn at its end, the template has no system turn.
        "system": ("<s>[INST] Add.\n\n2+3?[/INST]", " It is 5.</s>"),
        "later": ("<s>[INST] 2+3?[/INST] It is 5.</s>[INST] +1?[/INST]", " 6.</s>"),
        "conversation": (
            "<s>[INST] 2+3?[/INST]",
            " It is 5.</s>\r[INST] +1?[/INST]\r 6.</s>",
        ),
        "thinking": ("<s>[INST] 2+3?[/INST]", f" {THOUGHT}</s>"),
    },
    "phi": {
        "single": ("<|user|>2+3?<|end|><|assistant|>", "It is 5.<|end|>"),
        "system": ("<|system|>Add.<|end|><|user|>2+3?<|end|><|assistant|>", "It is 5.<|end|>"),
        "conversation": (
            "<|user|>2+3?<|end|><|assistant|>",
            "It is 5.<|end|>\r<|user|>+1?<|end|><|assistant|>\r6.<|end|>",
        ),
        "later": (
            "<|user|>2+3?<|end|><|assistant|>It is 5.<|end|><|user|>+1?<|end|><|assistant|>",
            "6.<|end|>",
        ),
        "thinking": ("<|user|>2+3?<|end|><|assistant|>", f"{THOUGHT}<|end|>"),
    },
    "qwen3": {
        "single": (
            f"{IM}user\n2+3?<|im_end|>\n{IM}assistant\n",
            "<think>\n\n</think>\n\nIt is 5.<|im_end|>",
        ),
        "later": (
            f"{IM}user\n2+3?<|im_end|>\n{IM}assistant\nIt is 5.<|im_end|>\n{IM}user\n+1?<|im_end|>"
            f"\n{IM}assistant\n",
            "<think>\n\n</think>\n\n6.<|im_end|>",
        ),
        "conversation": (
            f"{IM}user\n2+3?<|im_end|>\n{IM}assistant\n",
            f"It is 5.<|im_end|>\r\n{IM}user\n+1?<|im_end|>\n{IM}assistant\n\r"
            "<think>\n\n</think>\n\n6.<|im_end|>",
        ),
        "thinking": (
            f"{IM}user\n2+3?<|im_end|>\n{IM}assistant\n",
            "<think>\nI add.\n</think>\n\n5<|im_end|>",
        ),
        "system": (
            f"{IM}system\nAdd.<|im_end|>\n{IM}user\n2+3?<|im_end|>\n{IM}assistant\n",
            "<think>\n\n</think>\n\nIt is 5.<|im_end|>",
        ),
    },
    "qwen3_thinking": {
        "single": (
            f"{IM}user\n2+3?<|im_end|>\n{IM}assistant\n<think>\n",
            "\n</think>\n\nIt is 5.<|im_end|>",
        ),
        "thinking": (
            f"{IM}user\n2+3?<|im_end|>\n{IM}assistant\n<think>\n",
            "I add.\n</think>\n\n5<|im_end|>",
        ),
        "system": (
            f"{IM}system\nAdd.<|im_end|>\n{IM}user\n2+3?<|im_end|>\n{IM}assistant\n<think>\n",
            "\n</think>\n\nIt is 5.<|im_end|>",
        ),
        "later": (
            f"{IM}user\n2+3?<|im_end|>\n{IM}assistant\nIt is 5.<|im_end|>\n{IM}user\n+1?<|im_end|>"
            f"\n{IM}assistant\n<think>\n",
            "\n</think>\n\n6.<|im_end|>",
        ),
    },
    "r1": {
        "thinking": ("<s><|User|>2+3?<|Assistant|><think>\n", "I add.\n</think>\n\n5</s>"),
    },
    "harmony": {
        "single": (
            "<|start|>user<|message|>2+3?<|end|><|start|>assistant",
            "<|channel|>final<|message|>It is 5.<|return|>",
        ),
        "later": (
            "<|start|>user<|message|>2+3?<|end|><|start|>assistant<|channel|>final<|message|>"
            "It is 5.<|end|><|start|>user<|message|>+1?<|end|><|start|>assistant",
            "<|channel|>final<|message|>6.<|return|>",
        ),
        "system": (
            "<|start|>system<|message|>Add.<|end|><|start|>user<|message|>2+3?<|end|>"
            "<|start|>assistant",
            "<|channel|>final<|message|>It is 5.<|return|>",
        ),
        "thinking": (
            "<|start|>user<|message|>2+3?<|end|><|start|>assistant",
            f"<|channel|>final<|message|>{THOUGHT}<|return|>",
        ),
    },
    "zephyr": {
        "single": ("<|user|>\n2+3?</s>\n<|assistant|>\n", "It is 5.</s>"),
        "system": ("<|system|>\nAdd.</s>\n<|user|>\n2+3?</s>\n<|assistant|>\n", "It is 5.</s>"),
        "conversation": (
            "<|user|>\n2+3?</s>\n<|assistant|>\n",
            "It is 5.</s>\r\n<|user|>\n+1?</s>\n<|assistant|>\n\r6.</s>",
        ),
        "later": (
            "<|user|>\n2+3?</s>\n<|assistant|>\nIt is 5.</s>\n<|user|>\n+1?</s>\n<|assistant|>\n",
            "6.</s>",
        ),
        "thinking": ("<|user|>\n2+3?</s>\n<|assistant|>\n", f"{THOUGHT}</s>"),
    },
    "none": {
        "single": ("2+3?", "It is 5.</s>"),
        "thinking": ("2+3?", f"{THOUGHT}</s>"),
    },
}


def marked(tokenizer: LanguageTokenizer, ids: list[int], written: list[bool]) -> str:
    """The text of a response, with a sign where it changes between the expert and others."""
    text = ""
    for place, token in enumerate(ids):
        if place and written[place] != written[place - 1]:
            text += "\r"
        text += tokenizer.inner.decode([token])
    return text


def test_every_family_and_case_is_in_the_matrix() -> None:
    assert {(name, case) for name, cases in EXPECTED.items() for case in cases} == set(CELLS)
    assert REFUSED.keys() < {(name, case) for name in FAMILIES for case in CASES}


@pytest.mark.parametrize(("name", "case"), REFUSED)
def test_what_a_template_can_not_write_is_refused(name: str, case: str) -> None:
    with pytest.raises(ValueError, match=re.escape(REFUSED[name, case])):
        tokenizer_of(name).response(CASES[case])


@pytest.mark.parametrize(("name", "case"), CELLS)
def test_prompts_and_answers_are_those_of_the_template(name: str, case: str) -> None:
    tokenizer, pair, expected = tokenizer_of(name), CASES[case], EXPECTED[name][case]
    prompt, (ids, written) = tokenizer.prompt(pair.problem), tokenizer.response(pair)
    assert tokenizer.inner.decode(prompt) == expected[0]
    assert marked(tokenizer, ids, written) == expected[1]
    # One end behind each answer, and none within one.
    own = [token for token, expert in zip(ids, written, strict=True) if expert]
    ends = [place for place, token in enumerate(own, start=1) if token in tokenizer.stop_ids]
    assert len(ends) == expected[1].count("\r") // 2 + 1
    assert ends[-1] == len(own)


@pytest.mark.parametrize(("name", "case"), CELLS)
def test_all_that_reads_a_row_reads_the_same_tokens(tmp_path: Path, name: str, case: str) -> None:
    tokenizer, pair = tokenizer_of(name), CASES[case]
    prompt, response = tokenizer.prompt(pair.problem), tokenizer.response(pair)
    batch = collate_pairs([pair], tokenizer)
    assert batch.input_ids[0].tolist() == [*prompt, *response[0]]
    assert batch.response_mask[0].tolist() == [*[False] * len(prompt), *response[1]]
    given = Given(*response)
    # The policy goes on behind a prefix where the expert does, and both together are graded.
    for count in range(given.count):
        first = given.first(count)
        assert [*first.tokens, *given.tokens[len(first.tokens) :]] == response[0]
        assert first.count == count
    graded = tokenizer.decode(given.turn)
    assert "".join(graded.split()).endswith("".join(pair.response.split()))
    # Written out with a model and read again.
    tokenizer.inner.save_pretrained(tmp_path)
    again = wrapped(AutoTokenizer.from_pretrained(tmp_path), chat=tokenizer.chat)
    assert again.prompt(pair.problem) == prompt
    assert again.response(pair) == response
    assert again.stop_ids == tokenizer.stop_ids


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("chatml", "<|im_end|>"),
        ("llama3", "<|eot_id|>"),
        ("gemma3", "<end_of_turn>"),
        ("mistral", "</s>"),
        ("phi", "<|end|>"),
        ("r1", "</s>"),
        ("harmony", "<|return|>"),
    ],
)
def test_the_end_of_a_turn_needs_no_name(name: str, end: str) -> None:
    tokenizer = tokenizer_of(name)
    assert tokenizer.inner.convert_ids_to_tokens(tokenizer.eos_id) == end
    # Nor need it be special: converters add such tokens in either way.
    family = FAMILIES[name]
    inner = inner_of(family)
    inner.add_tokens(["<|stop|>"])
    inner.chat_template = str(inner.chat_template).replace(end, "<|stop|>")
    plain = wrapped(inner)
    assert plain.inner.convert_ids_to_tokens(plain.eos_id) == "<|stop|>"
    assert plain.response(Pair(SINGLE, THOUGHT))[0][-1] == plain.eos_id


def test_what_the_prompt_has_opened_is_read_with_the_answer() -> None:
    for name in ("qwen3_thinking", "r1"):
        tokenizer = tokenizer_of(name)
        ids, _ = tokenizer.response(Pair(SINGLE, THOUGHT))
        assert tokenizer.decode(ids) == THOUGHT
        # Begun or only closed by the expert, it is the same answer.
        closed = THOUGHT.removeprefix("<think>\n")
        assert tokenizer.response(Pair(SINGLE, closed))[0] == ids


def test_a_thought_that_the_prompt_closes_is_not_the_answers() -> None:
    tokenizer = tokenizer_of("qwen3", variables={"enable_thinking": False})
    assert tokenizer.inner.decode(tokenizer.prompt(SINGLE)).endswith("<think>\n\n</think>\n\n")
    ids, _ = tokenizer.response(Pair(SINGLE, "5"))
    assert tokenizer.inner.decode(ids) == "5<|im_end|>"
    assert tokenizer.decode(ids) == "5"
    with pytest.raises(ValueError, match=r"the answer '<think>\\nI add.* isn't behind its prompt"):
        tokenizer.response(Pair(SINGLE, THOUGHT))


def test_a_channel_is_imitated_and_not_graded() -> None:
    tokenizer = tokenizer_of("harmony")
    assert tokenizer.decode(tokenizer.response(Pair(SINGLE, "5"))[0]) == "5"
    thought = "<|channel|>analysis<|message|>I add.<|end|><|start|>assistant"
    written = tokenizer.encode(f"{thought}<|channel|>final<|message|>5<|return|>")
    assert tokenizer.decode(written) == "5"
    # Without an answer all is read.
    assert tokenizer.decode(tokenizer.encode(thought)) == thought


def test_white_space_at_the_ends_is_what_the_template_makes_of_it() -> None:
    trimmed = tokenizer_of("gemma3").response(Pair(SINGLE, "  5\n"))[0]
    assert trimmed == tokenizer_of("gemma3").response(Pair(SINGLE, "5"))[0]
    kept = tokenizer_of("chatml")
    assert kept.inner.decode(kept.response(Pair(SINGLE, "  5\n"))[0]) == "  5\n<|im_end|>"
