"""Prompts and responses in tokens: one prompt in both branches, masks by the template's turns."""

from __future__ import annotations

from dataclasses import replace

import pytest
from chat_templates import QWEN3
from language_models import make_tokenizer

from chord.data.batch import Pair, Problem, Turn, collate_pairs
from chord.models.hf.tokenizer import LanguageTokenizer

SIMPLE = Problem("2+3?", "5", key=1)
END = 2


def build(chat: bool = True, **settings: str | None) -> LanguageTokenizer:
    inner = make_tokenizer(chat)
    return LanguageTokenizer(
        inner=inner, name="m", vocab_size=len(inner), chat=chat, system=settings.get("system")
    )


def text(tokenizer: LanguageTokenizer, ids: list[int]) -> str:
    return str(tokenizer.inner.decode(ids))


def test_a_prompt_is_a_users_turn_and_the_beginning_of_the_assistants() -> None:
    tokenizer = build()
    written = text(tokenizer, tokenizer.prompt(SIMPLE))
    assert written == "<|im_start|>user\n2+3?<|im_end|>\n<|im_start|>assistant\n"
    with_system = build(system="Be brief.")
    written = text(with_system, with_system.prompt(SIMPLE))
    assert written.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n2+3?")


def test_a_system_turn_of_the_data_is_kept() -> None:
    tokenizer = build(system="Be brief.")
    problem = Problem("2+3?", "5", 1, turns=(Turn("system", "Sing."), Turn("user", "2+3?")))
    assert text(tokenizer, tokenizer.prompt(problem)).startswith("<|im_start|>system\nSing.<|im_e")


def test_a_response_ends_with_the_templates_end_of_turn() -> None:
    tokenizer = build()
    ids, written = tokenizer.response(Pair(SIMPLE, "It is 5"))
    assert text(tokenizer, ids) == "It is 5<|im_end|>"
    assert ids[-1] == tokenizer.eos_id == tokenizer.pad_id == END
    assert all(written)


def test_an_end_token_that_is_also_the_pad_counts_once_and_padding_never() -> None:
    tokenizer = build()
    batch = collate_pairs([Pair(SIMPLE, "5"), Pair(SIMPLE, "five")], tokenizer)
    # "5" and its end; "five" and its end.
    assert batch.mask.sum(dim=1).tolist() == [2, 5]
    assert batch.targets[0][batch.mask[0]].tolist() == [*tokenizer.encode("5"), END]


def test_of_several_turns_only_the_assistants_count() -> None:
    tokenizer = build()
    ids, written = tokenizer.response(Pair(SIMPLE, "6.", turns=SEVERAL))
    counted = [token for token, own in zip(ids, written, strict=True) if own]
    assert text(tokenizer, counted) == "5.<|im_end|>6.<|im_end|>"
    between = [token for token, own in zip(ids, written, strict=True) if not own]
    assert text(tokenizer, between) == "\n<|im_start|>user\n+1?<|im_end|>\n<|im_start|>assistant\n"
    # The conversation as a whole is the template's own, but for what follows the last end.
    whole = tokenizer.inner.apply_chat_template(
        [{"role": "user", "content": "2+3?"}]
        + [{"role": turn.role, "content": turn.content} for turn in SEVERAL],
        tokenize=False,
    )
    assert text(tokenizer, tokenizer.prompt(SIMPLE) + ids) + "\n" == whole


def test_decoding_stops_at_the_first_of_several_end_tokens() -> None:
    inner = make_tokenizer()
    tokenizer = LanguageTokenizer(
        inner=inner, name="m", vocab_size=len(inner), stops=frozenset({0})
    )
    assert tokenizer.stop_ids == {0, END}
    assert tokenizer.decode([*tokenizer.encode("yes"), 0, *tokenizer.encode("no")]) == "yes"


def test_plain_text_has_no_turns() -> None:
    tokenizer = build(chat=False)
    assert text(tokenizer, tokenizer.prompt(SIMPLE)) == "2+3?"
    conversation = Problem("2+3?", "5", 1, turns=(Turn("user", "2+3?"),))
    with pytest.raises(ValueError, match=r"model.chat=false: the data are conversations"):
        tokenizer.prompt(conversation)


def test_a_tokenizer_without_a_template_or_an_end_is_refused() -> None:
    inner = make_tokenizer(chat=False)
    with pytest.raises(ValueError, match=r"model.chat=true: the tokenizer of m has no chat templ"):
        LanguageTokenizer(inner=inner, name="m", vocab_size=len(inner))
    endless = make_tokenizer(eos_token=None)
    with pytest.raises(ValueError, match=r"model.path=m: its tokenizer has no end token"):
        LanguageTokenizer(inner=endless, name="m", vocab_size=len(endless))


SEVERAL = (Turn("assistant", "5."), Turn("user", "+1?"), Turn("assistant", "6."))


def of_thoughts() -> LanguageTokenizer:
    tokenizer = build()
    tokenizer.inner.chat_template = QWEN3
    return replace(tokenizer)


EMPTY = "<think>\n\n</think>\n\n"


def test_only_the_last_answer_has_an_empty_thought() -> None:
    tokenizer = of_thoughts()
    assert tokenizer.eos_id == END
    # Each answer stands behind what the model sees when it is to give it.
    ids, written = tokenizer.response(Pair(SIMPLE, "6.", turns=SEVERAL))
    whole = tokenizer.prompt(SIMPLE) + ids
    second = Problem("+1?", "6", 1, turns=(Turn("user", "2+3?"), *SEVERAL[:2]))
    prompt, (last, _) = tokenizer.prompt(second), tokenizer.response(Pair(second, "6."))
    assert whole == prompt + last
    assert text(tokenizer, last) == f"{EMPTY}6.<|im_end|>"
    assert sum(written) == len("5.") + 1 + len(last)


def test_a_thought_in_the_last_answer_is_imitated_and_one_before_it_refused() -> None:
    tokenizer = of_thoughts()
    thought = "<think>\n5 and 1\n</think>\n\n6."
    turns = (*SEVERAL[:2], Turn("assistant", thought))
    ids, written = tokenizer.response(Pair(SIMPLE, thought, turns=turns))
    counted = [token for token, own in zip(ids, written, strict=True) if own]
    assert text(tokenizer, counted) == f"5.<|im_end|>{thought}<|im_end|>"
    first = (Turn("assistant", thought), *SEVERAL[1:])
    with pytest.raises(
        ValueError, match=r"anew when the conversation goes on, .* a row of its own"
    ):
        tokenizer.response(Pair(SIMPLE, "6.", turns=first))
    # In a row of its own each is imitated.
    assert text(tokenizer, tokenizer.response(Pair(SIMPLE, thought))[0]) == f"{thought}<|im_end|>"
    later = Problem("+1?", "6", 1, turns=(Turn("user", "2+3?"), *first[:2]))
    assert "think" not in text(tokenizer, tokenizer.prompt(later))


def test_thoughts_between_the_calls_of_tools_are_imitated() -> None:
    tokenizer = of_thoughts()
    called = "<think>\nI look.\n</think>\n\nlook(5)"
    turns = (Turn("assistant", called), Turn("tool", "five"), Turn("assistant", "5."))
    ids, written = tokenizer.response(Pair(SIMPLE, "5.", turns=turns))
    counted = [token for token, own in zip(ids, written, strict=True) if own]
    assert text(tokenizer, counted) == f"{called}<|im_end|>{EMPTY}5.<|im_end|>"


def test_tokens_beyond_the_models_are_refused_where_a_text_needs_them() -> None:
    inner = make_tokenizer(pad_token="<pad>")
    inner.add_tokens(["<image>"], special_tokens=True)
    size = len(inner) - 2
    tokenizer = LanguageTokenizer(inner=inner, name="m", vocab_size=size)
    assert tokenizer.pad_id == tokenizer.eos_id == END
    assert len(tokenizer.prompt(SIMPLE)) < 60
    message = rf"^model.path=m: the token '<image>' has the id {size + 1} in .* has {size} tokens"
    for say in (
        lambda: tokenizer.prompt(Problem("What is on <image>?", "5", key=1)),
        lambda: tokenizer.response(Pair(SIMPLE, "<image>")),
    ):
        with pytest.raises(ValueError, match=message):
            say()
    plain = LanguageTokenizer(inner=inner, name="m", vocab_size=size, chat=False)
    with pytest.raises(ValueError, match=message):
        plain.prompt(Problem("<image>", "5", key=1))
    with pytest.raises(ValueError, match=r"the token '<\|im_end\|>' has the id 2 in"):
        LanguageTokenizer(inner=inner, name="m", vocab_size=END, chat=False)


def test_a_template_that_changes_earlier_turns_is_refused_for_several_turns() -> None:
    tokenizer = build()
    tokenizer.inner.chat_template = "{{ messages | length }}" + str(tokenizer.inner.chat_template)
    with pytest.raises(
        ValueError, match=r"model.path=m: its chat template writes an answer of the"
    ):
        tokenizer.response(Pair(SIMPLE, "6.", turns=SEVERAL))


def test_a_template_that_raises_is_quoted() -> None:
    tokenizer = build()
    tokenizer.inner.chat_template = "{{ raise_exception('only users here') }}"
    with pytest.raises(ValueError, match=r"refuses a conversation of user \(only users here\)"):
        tokenizer.prompt(SIMPLE)
