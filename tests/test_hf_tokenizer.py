"""Prompts and responses in tokens: one prompt in both branches, masks by the template's turns."""

from __future__ import annotations

import pytest
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
    turns = (Turn("assistant", "5."), Turn("user", "+1?"), Turn("assistant", "6."))
    ids, written = tokenizer.response(Pair(SIMPLE, "6.", turns=turns))
    counted = [token for token, own in zip(ids, written, strict=True) if own]
    assert text(tokenizer, counted) == "5.<|im_end|>6.<|im_end|>"
    between = [token for token, own in zip(ids, written, strict=True) if not own]
    assert text(tokenizer, between) == "\n<|im_start|>user\n+1?<|im_end|>\n<|im_start|>assistant\n"
    # The conversation as a whole is the template's own, but for what follows the last end.
    whole = tokenizer.inner.apply_chat_template(
        [{"role": "user", "content": "2+3?"}]
        + [{"role": turn.role, "content": turn.content} for turn in turns],
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


def test_a_template_that_changes_earlier_turns_is_refused_for_several_turns() -> None:
    tokenizer = build()
    tokenizer.inner.chat_template = "{{ messages | length }}" + str(tokenizer.inner.chat_template)
    turns = (Turn("assistant", "5."), Turn("user", "+1?"), Turn("assistant", "6."))
    with pytest.raises(ValueError, match="writes earlier turns anew"):
        tokenizer.response(Pair(SIMPLE, "6.", turns=turns))


def test_a_template_that_raises_is_quoted() -> None:
    tokenizer = build()
    tokenizer.inner.chat_template = "{{ raise_exception('only users here') }}"
    with pytest.raises(ValueError, match=r"refuses a conversation of user \(only users here\)"):
        tokenizer.prompt(SIMPLE)
