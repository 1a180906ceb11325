"""The tokenizer of a language model: prompts by its chat template, then responses.

Prompt and response are tokenised separately, in both branches: a sampled response follows exactly
the same tokens as an expert's response does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, takewhile
from typing import Any

from chord.data.batch import Pair, Problem, Turn
from chord.errors import ConfigError, first_line


@dataclass
class LanguageTokenizer:
    """A transformers tokenizer, `inner`; see `chord.data.batch.Tokenizer`.

    `chat`: prompts are conversations, written with the chat template, with the turn `system` before
    those that have no system turn; otherwise they are plain text. The pad and the end token can be
    the same, because masks decide which tokens count, not their values.

    `vocab_size`: the number of tokens that the model knows. The tokenizer can have more, as Gemma
    3's has one for images; a text that needs those is refused.
    """

    inner: Any
    name: str
    vocab_size: int
    chat: bool = True
    system: str | None = None
    stops: frozenset[int] = frozenset()
    """Further tokens that end a response, from the model's generation settings."""
    eos_id: int = field(init=False)
    pad_id: int = field(init=False)

    def __post_init__(self) -> None:
        if self.inner.eos_token_id is None:
            raise ConfigError(f"model.path={self.name}: its tokenizer has no end token")
        if self.chat and not self.inner.chat_template:
            raise ConfigError(
                f"model.chat=true: the tokenizer of {self.name} has no chat template; "
                "model.chat=false writes prompts as plain text"
            )
        self.eos_id = self._end_of_turn() if self.chat else int(self.inner.eos_token_id)
        self._known([self.eos_id])
        pad = self.inner.pad_token_id
        self.pad_id = self.eos_id if pad is None or pad >= self.vocab_size else int(pad)

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end a turn or a text, and those that the model's settings add."""
        return self.stops | {self.eos_id, int(self.inner.eos_token_id)}

    def difference(self, inner: Any, stops: frozenset[int]) -> str | None:
        """How a teacher's tokenizer differs from the policy's; None if it does not.

        `stops`: further tokens that end the teacher's responses. The responses of one have to end
        where those of the other do; other end tokens are not compared.
        """
        own, other = self.inner.get_vocab(), inner.get_vocab()
        odd = own.items() ^ other.items()
        if odd:
            _, token = min((number, token) for token, number in odd)
            there, here = other.get(token, "none"), own.get(token, "none")
            return f"the token {token!r} has the id {there}, in the policy's tokenizer {here}"
        chat = self.chat and bool(inner.chat_template)
        teacher = replace(self, inner=inner, stops=stops, chat=chat)
        if self.eos_id not in teacher.stop_ids or teacher.eos_id not in self.stop_ids:
            there, here = inner.convert_ids_to_tokens([teacher.eos_id, self.eos_id])
            return f"its answers end with {there!r}, the policy's with {here!r}"
        return None

    def encode(self, text: str) -> list[int]:
        """Tokens of a text as it is, with nothing added before or after it.

        Raises `ConfigError` if the model does not know one of them.
        """
        ids: list[int] = self.inner(text, add_special_tokens=False)["input_ids"]
        return self._known(ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text before the first end token, without special tokens."""
        stops = self.stop_ids
        written = list(takewhile(lambda token: token not in stops, ids))
        text: str = self.inner.decode(written, skip_special_tokens=True)
        return text

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text that each token adds; for a character in several tokens, the last one has it."""
        texts: list[str] = []
        start = 0
        for end in range(1, len(ids) + 1):
            text: str = self.inner.decode(ids[start:end], skip_special_tokens=False)
            # Not yet a whole character; some texts contain that sign themselves.
            if text.endswith("\ufffd") and end - start < 4 and end < len(ids):
                texts.append("")
                continue
            texts.append(text)
            start = end
        return texts

    def prompt(self, problem: Problem) -> list[int]:
        """The conversation up to where the assistant begins to write."""
        if not self.chat:
            if problem.turns:
                raise ConfigError(
                    "model.chat=false: the data are conversations, which need a chat template"
                )
            return self._plain(problem.prompt)
        return self.encode(self._render(self.turns(problem), begin=True))

    def turns(self, problem: Problem) -> list[Turn]:
        """The turns of a problem, after the system turn."""
        turns = list(problem.turns) or [Turn("user", problem.prompt)]
        if self.system is not None and turns[0].role != "system":
            turns = [Turn("system", self.system), *turns]
        return turns

    def response(self, pair: Pair) -> tuple[list[int], list[bool]]:
        """The response and the end of its turn; of several turns, those of the assistant count.

        Before each one is what the template writes to open an assistant's turn, which is what the
        model sees when it generates. Raises ConfigError if the template writes an earlier response
        differently from the expert.
        """
        *earlier, (last,) = _exchanges(pair.turns or (Turn("assistant", pair.response),))
        done = self.turns(pair.problem)
        text = self._render(done, begin=True) if pair.turns else ""
        ids: list[int] = []
        written: list[bool] = []
        for turns in earlier:
            done = [*done, *turns]
            longer = self._render(done, begin=True)
            tokens = self._added(text, longer, turns[0])
            if not tokens:
                raise ConfigError(
                    f"model.path={self.name}: its chat template writes an answer of the assistant "
                    "anew when the conversation goes on, as those do that leave thoughts out; give "
                    "each turn of the assistant a row of its own, with messages up to the user's "
                    "turn before it, and the turn itself as response"
                )
            end = tokens.index(self.eos_id) + 1
            # What the template puts after the end of a turn is not for the model to write.
            written += [place < end for place in range(len(tokens))]
            ids += tokens
            text = longer
        own = [*self.encode(last.content), self.eos_id]
        if pair.turns:
            # Written like earlier responses; some templates put an empty thought before the last.
            longer = self._render([*done, last, Turn("user", "1")], begin=False)
            tokens = self._added(text, longer, last)
            own = tokens[: tokens.index(self.eos_id) + 1] if tokens else own
        return [*ids, *own], [*written, *[True] * len(own)]

    def _added(self, text: str, longer: str, answer: Turn) -> list[int]:
        """Tokens that a rendering adds: a response and its end; none if it changes either."""
        end = self.inner.convert_ids_to_tokens(self.eos_id)
        own, ended, _ = longer.removeprefix(text).partition(end)
        as_it_was = longer.startswith(text) and ended and answer.content.strip() in own
        return self.encode(longer[len(text) :]) if as_it_was else []

    def _plain(self, text: str) -> list[int]:
        """Tokens of a prompt without a template: with the beginning token, without an end token."""
        ids: list[int] = self.inner(text)["input_ids"]
        return self._known(ids[:-1] if ids and ids[-1] == self.inner.eos_token_id else ids)

    def _known(self, ids: list[int]) -> list[int]:
        highest = max(ids, default=0)
        if highest >= self.vocab_size:
            token = self.inner.convert_ids_to_tokens(highest)
            # Not all texts are tokenised before the first step, so this can end a run.
            raise ConfigError(
                f"model.path={self.name}: the token {token!r} has the id {highest} in its "
                f"tokenizer, and the model has {self.vocab_size} tokens; leave such texts out"
            )
        return ids

    def _render(self, turns: Sequence[Turn], *, begin: bool) -> str:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            text: str = self.inner.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=begin
            )
        except Exception as error:  # a template raises whatever its author chose
            raise ConfigError(
                f"model.path={self.name}: its chat template refuses a conversation of "
                f"{', '.join(turn.role for turn in turns)} ({first_line(error)})"
            ) from error
        return text

    def _end_of_turn(self) -> int:
        """The token that the template puts after an assistant's turn, else the end of a text."""
        user, answer = Turn("user", "1"), "2"
        whole = self._render([user, Turn("assistant", answer)], begin=False)
        begun = self._render([user], begin=True)
        behind = whole[len(begun) :] if whole.startswith(begun) else ""
        ids = self.encode(behind[behind.find(answer) + len(answer) :]) if answer in behind else []
        special = set(self.inner.all_special_ids)
        return next((token for token in ids if token in special), int(self.inner.eos_token_id))


def _exchanges(turns: Sequence[Turn]) -> list[Sequence[Turn]]:
    """Each assistant turn with the others' turns after it; first and last are the assistant's."""
    starts = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    return [turns[start:end] for start, end in pairwise([*starts, len(turns)])]
