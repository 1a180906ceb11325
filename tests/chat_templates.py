"""Chat templates that behave as those of known families do, each with a tokenizer made for it.

One token for each printable character, so that expected tokens can be written as text; the tokens
of the template besides, of which only the end of a text has a name, as converters make them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from language_models import CHARACTERS, CHATML
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from chord.data.batch import Pair, Problem, Turn
from chord.models.hf.tokenizer import LanguageTokenizer

LLAMA3 = (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# The system's turn goes into the user's first one; the assistant is called model.
GEMMA3 = (
    "<bos>{% set first = '' %}{% set turns = messages %}"
    "{% if messages[0].role == 'system' %}"
    "{% set first = messages[0].content + '\n\n' %}{% set turns = messages[1:] %}{% endif %}"
    "{% for m in turns %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ first if loop.first }}{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
# Nothing opens an answer. The system's turn goes into the last one, if that is the user's.
MISTRAL = (
    "<s>{% set turns = messages %}"
    "{% if messages[0].role == 'system' %}"
    "{% set told = messages[0].content %}{% set turns = messages[1:] %}{% endif %}"
    "{% for m in turns %}{% if m.role == 'user' %}[INST] "
    "{% if loop.last and told is defined %}{{ told }}\n\n{% endif %}{{ m.content }}[/INST]"
    "{% else %} {{ m.content | trim }}</s>{% endif %}{% endfor %}"
)
# Its tokens take the white space behind them; the end of the text stands behind the last turn.
PHI = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}<|endoftext|>{% endif %}"
)
# Thoughts stand behind the user's last question alone, where the last answer has one, if empty.
QWEN3 = (
    "{% set at = namespace(asked=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set at.asked = loop.index %}{% endif %}"
    "{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% set thought = m.content.split('</think>')[0].split('<think>')[-1].strip() %}"
    "{% set said = m.content.split('</think>')[-1].lstrip() %}"
    "{% set thinks = '</think>' in m.content %}"
    "{% if m.role == 'assistant' and loop.index > at.asked and (loop.last or thinks) %}"
    "<think>\n{{ thought if thinks }}\n</think>\n\n{% endif %}"
    "{{ said if m.role == 'assistant' else m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
# The same, for a model that always thinks: its prompt begins the thought.
QWEN3_THINKING = QWEN3.partition("{% if add_generation_prompt %}")[0] + (
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
# The prompt begins a thought, and no turn keeps one.
R1 = (
    "<s>{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}"
    "{% elif m.role == 'user' %}<|User|>{{ m.content }}"
    "{% else %}<|Assistant|>{{ m.content.split('</think>')[-1].lstrip() }}</s>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
# An answer has a channel; the last one ends otherwise than those before it.
HARMONY = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
    "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}"
    "{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
# Headers are no tokens of their own.
ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A template, the tokens that it writes, and the end of a text, which alone has a name."""

    template: str | None
    tokens: tuple[str, ...]
    eos: str
    strips: bool = False
    """Whether tokens take the white space behind them."""


FAMILIES = {
    "chatml": Family(CHATML, ("<|im_start|>", "<|im_end|>"), "<|endoftext|>"),
    "llama3": Family(
        LLAMA3,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|end_of_text|>",
    ),
    "gemma3": Family(GEMMA3, ("<bos>", "<start_of_turn>", "<end_of_turn>"), "<eos>"),
    "mistral": Family(MISTRAL, ("<s>", "[INST]", "[/INST]"), "</s>"),
    "phi": Family(
        PHI, ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"), "<|endoftext|>", strips=True
    ),
    "qwen3": Family(QWEN3, ("<|im_start|>", "<|im_end|>", "<think>", "</think>"), "<|endoftext|>"),
    "qwen3_thinking": Family(
        QWEN3_THINKING, ("<|im_start|>", "<|im_end|>", "<think>", "</think>"), "<|endoftext|>"
    ),
    "r1": Family(R1, ("<s>", "<|User|>", "<|Assistant|>", "<think>", "</think>"), "</s>"),
    "harmony": Family(
        HARMONY, ("<|start|>", "<|channel|>", "<|message|>", "<|end|>"), "<|return|>"
    ),
    "zephyr": Family(ZEPHYR, ("<s>",), "</s>"),
    "none": Family(None, ("<s>",), "</s>"),
}


def inner_of(family: Family, **settings: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of transformers for a family."""
    special = ("<unk>", *family.tokens, family.eos)
    vocabulary = {token: number for number, token in enumerate([*special, *CHARACTERS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    added = [AddedToken(token, special=True, rstrip=family.strips) for token in special]
    inner.add_special_tokens(added)
    names: dict[str, Any] = {"eos_token": family.eos, "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **(names | settings))
    if family.template is not None:
        tokenizer.chat_template = family.template
    return tokenizer


def tokenizer_of(name: str, **settings: Any) -> LanguageTokenizer:
    """The tokenizer of a family, without further settings of the model."""
    family = FAMILIES[name]
    return wrapped(inner_of(family), chat=family.template is not None, **settings)


def wrapped(inner: PreTrainedTokenizerFast, **settings: Any) -> LanguageTokenizer:
    return LanguageTokenizer(inner=inner, name="m", vocab_size=len(inner), **settings)


ASKED, SAID = Turn("user", "2+3?"), Turn("assistant", "It is 5.")
SYSTEM, MORE, THEN = Turn("system", "Add."), Turn("user", "+1?"), Turn("assistant", "6.")
THOUGHT = "<think>\nI add.\n</think>\n\n5"
SINGLE = Problem("2+3?", "5", key=1)
TOLD = Problem("2+3?", "5", key=1, turns=(SYSTEM, ASKED))
LATER = Problem("+1?", "6", key=2, turns=(ASKED, SAID, MORE))

CASES = {
    "single": Pair(SINGLE, SAID.content),
    "system": Pair(TOLD, SAID.content),
    "later": Pair(LATER, THEN.content),
    "conversation": Pair(SINGLE, THEN.content, turns=(SAID, MORE, THEN)),
    "thinking": Pair(SINGLE, THOUGHT),
}
"""A question alone, after a system turn, after another one; several answers; and a thought."""
_ANEW = "writes an answer of the assistant anew"
_OPEN = "neither begins nor closes what the prompt ends in, '<think>\\n'"
_PLAIN = "the data are conversations, which need a chat template"
REFUSED = {
    # Turns before the last one lose their thoughts, or end at a token where no model stops.
    ("qwen3_thinking", "conversation"): _ANEW,
    ("r1", "conversation"): _ANEW,
    ("harmony", "conversation"): _ANEW,
    # The prompt has begun a thought, and the template writes none for an answer without one.
    ("r1", "single"): _OPEN,
    ("r1", "system"): _OPEN,
    ("r1", "later"): _OPEN,
    ("none", "system"): _PLAIN,
    ("none", "later"): _PLAIN,
    ("none", "conversation"): _PLAIN,
}
"""The cells that are refused, and how that is said; all others work."""
CELLS = [(name, case) for name in FAMILIES for case in CASES if (name, case) not in REFUSED]
