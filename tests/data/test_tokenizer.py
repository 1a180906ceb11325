"""Characters to ids and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chord.data.batch import Pair, Problem, Turn
from chord.data.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer("0123456789+=")


def test_padding_is_0_the_end_is_1_and_the_alphabet_follows() -> None:
    # "0" is the first character: id 2; "+" is the eleventh: id 12.
    assert (TOKENIZER.pad_id, TOKENIZER.eos_id, TOKENIZER.vocab_size) == (0, 1, 14)
    assert TOKENIZER.encode("0+9=") == [2, 12, 11, 13]


@given(st.text(alphabet="0123456789+="))
def test_decoding_undoes_encoding(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_text_ends_at_the_first_end_token_and_padding_is_left_out() -> None:
    assert TOKENIZER.decode([0, 0, 3, 0, 4, 1, 5, 1, 0]) == "12"


def test_an_unknown_character_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"character 'x' of '1x' is not in the alphabet"):
        TOKENIZER.encode("1x")


@pytest.mark.parametrize("token", [-1, 14])
def test_an_id_outside_the_vocabulary_is_an_error(token: int) -> None:
    with pytest.raises(ValueError, match=rf"token id {token}: must be within \[0, 13\]"):
        TOKENIZER.decode([2, token])


@pytest.mark.parametrize(("alphabet", "reason"), [("", "at least one"), ("aba", "repeats 'a'")])
def test_an_alphabet_is_neither_empty_nor_repetitive(alphabet: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        CharTokenizer(alphabet)


def test_a_conversation_is_refused_rather_than_cut() -> None:
    turns = (Turn("user", "1"), Turn("assistant", "2"), Turn("user", "3"))
    with pytest.raises(ValueError, match=r"^model=tiny: the data are conversations, which need a"):
        TOKENIZER.prompt(Problem("3", "4", key=0, turns=turns))
    with pytest.raises(ValueError, match=r"^model=tiny: the data are conversations, which need a"):
        TOKENIZER.response(Pair(Problem("1", "4", key=0), "2", turns=turns[1:2]))
