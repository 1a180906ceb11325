"""Texts and tokens of real kinds of tokenizers: what is written is read back, and what is read is
what was written."""

from __future__ import annotations

import pytest
from chat_templates import FAMILIES, ZEPHYR, inner_of, wrapped
from language_models import CHARACTERS, CHATML, SPECIAL, make_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from chord.data.batch import Pair, Problem
from chord.models.hf.tokenizer import LanguageTokenizer

SIMPLE = Problem("2+3?", "5", key=1)


def of_bytes(template: str | None = CHATML) -> LanguageTokenizer:
    """GPT-2's kind: words of bytes with the space before them, and line ends that are joined."""
    letters = {char: n for n, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("I", "t"), ("\u0120", "It"), ("\u0120", "i"), ("\u0120i", "s"), ("\u010a", "\u010a")]
    vocabulary = letters | {a + b: len(letters) + n for n, (a, b) in enumerate(merges)}
    inner = Tokenizer(models.BPE(vocabulary, merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return finished(inner, template, SPECIAL, eos=SPECIAL[2])


def of_pieces(template: str | None = ZEPHYR) -> LanguageTokenizer:
    """Llama 2's kind: a sign for the space, also before the first word of any text."""
    sign = "\u2581"
    vocabulary = {token: n for n, token in enumerate(["<unk>", "<s>", "</s>", sign, *CHARACTERS])}
    merges = [("I", "t"), (sign, "It"), ("i", "s"), (sign, "is"), (sign, "5"), ("\n", "\n")]
    vocabulary |= {a + b: len(vocabulary) + n for n, (a, b) in enumerate(merges)}
    inner = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    inner.normalizer = normalizers.Sequence(
        [normalizers.Prepend(sign), normalizers.Replace(" ", sign)]
    )
    inner.decoder = decoders.Sequence(
        [decoders.Replace(sign, " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return finished(inner, template, ("<unk>", "<s>", "</s>"), eos="</s>")


def finished(
    inner: Tokenizer, template: str | None, special: tuple[str, ...], *, eos: str
) -> LanguageTokenizer:
    inner.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=eos)
    if template is not None:
        tokenizer.chat_template = template
    return wrapped(tokenizer, chat=template is not None)


@pytest.mark.parametrize("answer", ["It is 5", " It is 5", "5 is It\n\nIt", "It\n", "caf\u00e9 It"])
def test_tokens_of_bytes_are_those_of_the_answer_alone(answer: str) -> None:
    tokenizer = of_bytes()
    ids, written = tokenizer.response(Pair(SIMPLE, answer))
    assert ids == [*tokenizer.encode(answer), tokenizer.eos_id]
    assert all(written)
    assert tokenizer.decode(ids) == answer


def test_an_answer_that_grows_together_with_its_prompt_has_tokens_of_its_own() -> None:
    """In a text the first two line ends are one token, which doesn't follow the prompt's."""
    tokenizer = of_bytes()
    prompt, (ids, _) = tokenizer.prompt(SIMPLE), tokenizer.response(Pair(SIMPLE, "\n\nIt"))
    assert tokenizer.encode(tokenizer.inner.decode([*prompt, *ids])) != [*prompt, *ids]
    assert tokenizer.inner.decode(prompt).endswith("assistant\n")
    assert tokenizer.decode(ids) == "\n\nIt"


@pytest.mark.parametrize("answer", ["It is 5", "5", "is It?", "It\n\nis 5"])
def test_the_first_word_has_a_space_only_where_the_template_has_one(answer: str) -> None:
    tokenizer = of_pieces()
    ids, _ = tokenizer.response(Pair(SIMPLE, answer))
    prompt = tokenizer.prompt(SIMPLE)
    messages = [{"role": "user", "content": "2+3?"}, {"role": "assistant", "content": answer}]
    whole = tokenizer.inner.apply_chat_template(messages, tokenize=False)
    assert tokenizer.encode(whole)[: len(prompt) + len(ids)] == [*prompt, *ids]
    pieces = tokenizer.inner.convert_ids_to_tokens(ids)
    assert not pieces[0].startswith("\u2581")
    assert tokenizer.decode(ids) == answer
    spaced = of_pieces(ZEPHYR.replace("\n{{ m.content }}", "\n {{ m.content }}"))
    first = spaced.inner.convert_ids_to_tokens(spaced.response(Pair(SIMPLE, answer))[0])[0]
    assert first.startswith("\u2581")


@pytest.mark.parametrize("build", [of_bytes, of_pieces])
def test_without_a_template_the_answer_follows_the_problem_at_once(build: type) -> None:
    tokenizer: LanguageTokenizer = build(None)
    for prompt in ("2+3?", "2+3?\n", "2+3? "):
        problem = Problem(prompt, "5", key=1)
        ids, _ = tokenizer.response(Pair(problem, "It is 5"))
        assert ids[-1] == tokenizer.eos_id
        whole = [*tokenizer.prompt(problem), *ids[:-1]]
        assert tokenizer.inner.decode(whole) == f"{prompt}It is 5"


def test_what_is_decoded_is_what_was_written() -> None:
    inner = make_tokenizer(clean_up_tokenization_spaces=True)
    tokenizer = wrapped(inner)
    for text in ("x != 3", "I 'm , he 's .", "do n't ?", "a , b ."):
        ids, _ = tokenizer.response(Pair(SIMPLE, text))
        assert tokenizer.decode(ids) == text
        assert "".join(tokenizer.pieces(tokenizer.encode(text))) == text


@pytest.mark.parametrize("special", [True, False])
def test_special_tokens_within_an_answer_are_read(special: bool) -> None:
    inner = make_tokenizer()
    marks = ["<think>", "</think>", "<answer>", "<tool_call>"]
    inner.add_tokens([AddedToken(mark, special=special, normalized=False) for mark in marks])
    tokenizer = wrapped(inner)
    text = "<think>I add.</think><tool_call><answer>5"
    ids, _ = tokenizer.response(Pair(SIMPLE, text))
    assert len(ids) == 4 + len("I add.") + len("5") + 1
    assert tokenizer.decode(ids) == text


def test_padding_is_no_text() -> None:
    inner = make_tokenizer(pad_token="<pad>")
    tokenizer = wrapped(inner)
    padded = [tokenizer.pad_id, *tokenizer.encode("5"), tokenizer.pad_id, *tokenizer.encode("6")]
    assert tokenizer.decode(padded) == "56"


FORMS = {
    "NFC": (normalizers.NFC(), "Cafe\u0301", "Caf\u00e9"),
    "NFKC": (normalizers.NFKC(), "x\u00b2 \ufb01", "x2 fi"),
    "lower": (normalizers.Lowercase(), "Paris", "paris"),
    "accents": (
        normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
        "Caf\u00e9",
        "Cafe",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_known_answers_have_the_form_that_the_tokenizer_writes(form: str) -> None:
    normalizer, text, written = FORMS[form]
    inner = make_tokenizer()
    inner.add_tokens(["\u00e9"])
    inner.backend_tokenizer.normalizer = normalizer
    tokenizer = wrapped(inner)
    assert tokenizer.notes() == []
    ids, _ = tokenizer.response(Pair(SIMPLE, text))
    assert tokenizer.decode(ids) == tokenizer.written(text) == written
    assert tokenizer.written("12") == "12"
    (line,) = tokenizer.notes()
    assert line.startswith("m: its tokenizer changes characters (")
    assert ascii(written) in line


def test_a_sign_for_spaces_is_no_other_form() -> None:
    for tokenizer in (of_pieces(), of_bytes(), wrapped(inner_of(FAMILIES["gemma3"]))):
        assert tokenizer.written("It  is\n5") == "It  is\n5"
        assert tokenizer.notes() == []
