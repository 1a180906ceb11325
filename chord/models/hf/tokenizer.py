"""The tokenizer of a language model: prompts and responses as its chat template writes them.

The template's rendering is the one source: a response consists of the tokens that the rendering of
problem and answer has after those of the prompt. So a sampled response follows exactly the same
tokens as an expert's does, and an expert's response is what the model would have to write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, takewhile
from typing import Any

from chord.data.batch import Pair, Problem, Turn
from chord.errors import ConfigError
from chord.models.hf.template import ChatTemplate

_FORMS = "\ufb01 \u2460 \uff21 e\u0301 A"
"""Characters that a tokenizer may write otherwise: a ligature, a circled digit, an accent."""
_SHOWN = 12
"""The number of tokens and, times five, of characters that an error shows."""


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
    variables: Mapping[str, Any] = field(default_factory=dict)
    """What the chat template reads besides the turns."""
    template: ChatTemplate | None = field(init=False)
    eos_id: int = field(init=False)
    pad_id: int = field(init=False)
    rewritten: tuple[str, str] | None = field(init=False, default=None, compare=False)
    """The first known answer that the tokenizer writes otherwise, and how."""

    def __post_init__(self) -> None:
        if self.inner.eos_token_id is None:
            raise ConfigError(f"model.path={self.name}: its tokenizer has no end token")
        self.template = (
            ChatTemplate(self.inner, self.name, dict(self.variables)) if self.chat else None
        )
        self.eos_id = self._end_of_turn()
        self._known([self.eos_id])
        pad = self.inner.pad_token_id
        self.pad_id = self.eos_id if pad is None or pad >= self.vocab_size else int(pad)
        backend = getattr(self.inner, "backend_tokenizer", None)
        self._normalizer = None if backend is None else backend.normalizer
        # A sign for spaces is no other form.
        self._rewrites = self._normal(_FORMS).replace("\u2581", " ").strip() != _FORMS

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
        teacher = replace(self, inner=inner, stops=stops, chat=chat, variables={})
        if self.eos_id not in teacher.stop_ids or teacher.eos_id not in self.stop_ids:
            there, here = inner.convert_ids_to_tokens([teacher.eos_id, self.eos_id])
            return f"its answers end with {there!r}, the policy's with {here!r}"
        return None

    def encode(self, text: str) -> list[int]:
        """Tokens of a text as it is, with nothing added before or after it.

        Raises `ConfigError` if the model does not know one of them.
        """
        return self._known(self._ids(text))

    def decode(self, ids: Iterable[int]) -> str:
        """The assistant's turn as it was written, up to the first end token.

        Special tokens stay, other than padding. What the prompt has opened, such as a thought, is
        part of the turn; a header that the template puts before an answer is not.
        """
        stops = self.stop_ids
        written = takewhile(lambda token: token not in stops, ids)
        text = self._read([token for token in written if token != self.pad_id])
        if self.template is None:
            return text
        if self.template.mark:
            text = text.rpartition(self.template.mark)[2]
        return self.template.opened + text

    def written(self, text: str) -> str:
        """A text as it comes back from its tokens: some tokenizers change the form of characters.

        A known answer in this form can be compared with responses.
        """
        if not self._rewrites:
            return text
        ids = self._ids(text)
        form = text if self.inner.unk_token_id in ids else self._read(ids)
        if form.strip() == text.strip():
            return text
        self.rewritten = self.rewritten or (text, form)
        return form

    def notes(self) -> list[str]:
        """What the start of a run should say about the texts."""
        if self.rewritten is None:
            return []
        text, form = (ascii(each[: 5 * _SHOWN]) for each in self.rewritten)
        return [
            f"{self.name}: its tokenizer changes characters ({text} becomes {form}); right answers "
            "are compared in that form"
        ]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text that each token adds; for a character in several tokens, the last one has it."""
        texts: list[str] = []
        start = 0
        for end in range(1, len(ids) + 1):
            text = self._read(ids[start:end])
            # Not yet a whole character; some texts contain that sign themselves.
            if text.endswith("\ufffd") and end - start < 4 and end < len(ids):
                texts.append("")
                continue
            texts.append(text)
            start = end
        return texts

    def prompt(self, problem: Problem) -> list[int]:
        """The conversation up to where the assistant begins to write."""
        if self.template is None:
            _refuse_turns(problem.turns)
            return self._plain(problem.prompt)
        return self.encode(self._begun(self.template, problem))

    def _begun(self, template: ChatTemplate, problem: Problem) -> str:
        first = self.turns(problem)[0].role
        if first not in ("user", "assistant") and not template.writes(first):
            raise ConfigError(
                f"model.path={self.name}: its chat template leaves out the {first} turn; put its "
                "text before the problem with data.prompt_template, or use model.chat_template"
            )
        for turn in problem.turns or (Turn("user", problem.prompt),):
            for token in template.marks:
                if token in turn.content:
                    raise ConfigError(
                        f"model.path={self.name}: the turn {_short(turn.content)} contains "
                        f"{token!r}, which its chat template writes around turns; leave such texts "
                        "out"
                    )
        return template.render(self.turns(problem), begin=True)

    def turns(self, problem: Problem) -> list[Turn]:
        """The turns of a problem, after the system turn."""
        turns = list(problem.turns) or [Turn("user", problem.prompt)]
        if self.system is not None and turns[0].role != "system":
            turns = [Turn("system", self.system), *turns]
        return turns

    def response(self, pair: Pair) -> tuple[list[int], list[bool]]:
        """The response and the end of its turn; of several turns, those of the assistant count.

        Before each one is what the template writes to open an assistant's turn, which is what the
        model sees when it generates. Raises ConfigError if the answer can't be read back from its
        tokens, if an end token is in it, or if the template writes an earlier response differently.
        """
        template = self.template
        if template is None:
            _refuse_turns(pair.turns)
            text, prompt = pair.problem.prompt, self.prompt(pair.problem)
            own = self._answer(text, prompt, pair.response, [pair.response])
            return own, [True] * len(own)
        *earlier, (last,) = _exchanges(pair.turns or (Turn("assistant", pair.response),))
        done = self.turns(pair.problem)
        text = self._begun(template, pair.problem)
        prompt = self.encode(text)
        ids: list[int] = []
        written: list[bool] = []
        for turns in earlier:
            done = [*done, *turns]
            longer = template.render(done, begin=True)
            tokens = self._added(text, longer, [*prompt, *ids], turns[0])
            end = tokens.index(self.eos_id) + 1
            # What the template puts after the end of a turn is not for the model to write.
            written += [place < end for place in range(len(tokens))]
            ids += tokens
            text = longer
        whole = template.render([*done, last], begin=False)
        rest = template.behind_prompt(text, whole, done[-1].content)
        forms = [] if rest is None else [rest]
        if template.opened and (continued := template.continued(last.content)) is not None:
            # Some templates take a thought out of a turn that their own prompt begins.
            forms.append(continued + template.behind)
        own = self._answer(text, [*prompt, *ids], last.content, forms)
        return [*ids, *own], [*written, *[True] * len(own)]

    def _answer(
        self, text: str, before: Sequence[int], answer: str, forms: Sequence[str]
    ) -> list[int]:
        """Tokens of an answer and its end, in the first of its forms that holds all of it.

        `before`: the tokens of `text`. Raises ConfigError if there is none.
        """
        tokens: list[int] = []
        template = self.template
        continued = None if template is None else template.continued(answer)
        for form in forms:
            tokens = self._cut(self._after(text, before, form))
            if self.stop_ids.isdisjoint(tokens[-1:]):
                # The template writes no end, so the tokenizer's own one ends the answer.
                place = form.find(answer)
                bare = form[: place + len(answer)] if place >= 0 else form.rstrip()
                tokens = [*self._after(text, before, bare), self.eos_id]
            read = self._normal(self._read(tokens[:-1]))
            parts = [answer] if continued is None else [answer, continued]
            if any(_holds(read, self._normal(part.strip()), form, part) for part in parts) and (
                self.stop_ids.isdisjoint(tokens[:-1])
            ):
                return tokens
        raise ConfigError(self._lost(answer, forms, tokens))

    def _lost(self, answer: str, forms: Sequence[str], tokens: Sequence[int]) -> str:
        """Why an answer can't be imitated, in one sentence."""
        said = f"model.path={self.name}: the answer {_short(answer)} "
        for token in self.inner.convert_ids_to_tokens(sorted(self.stop_ids)):
            if token is not None and token in answer:
                return f"{said}contains {token!r}, which ends a turn; leave it out"
        opened = "" if self.template is None else self.template.opened
        if opened:
            return (
                f"{said}neither begins nor closes what the prompt ends in, {opened!r}; answer so, "
                "or choose another prompt with model.chat_kwargs or model.chat_template"
            )
        if not forms:
            return f"{said}isn't behind its prompt where the chat template writes both"
        read = self._read(tokens)
        return (
            f"{said}can't be read back from its tokens {list(tokens[:_SHOWN])}, which are "
            f"{_short(read)}"
        )

    def _cut(self, tokens: list[int]) -> list[int]:
        """The tokens up to the first end token."""
        stops = self.stop_ids
        end = next((n for n, token in enumerate(tokens, start=1) if token in stops), len(tokens))
        return tokens[:end]

    def _after(self, text: str, before: Sequence[int], more: str) -> list[int]:
        """The tokens of `more`, which follows a text whose tokens are `before`.

        They are those of the whole text. If these don't begin with `before`, because the tokenizer
        joins characters of both, they are those of `more` alone, or in a line of its own if a sign
        for a space would come before its first word.
        """
        read: Callable[[str], list[int]] = self._plain if self.template is None else self.encode
        whole, size = read(text + more), len(before)
        if whole[:size] == list(before):
            return whole[size:]
        alone, line = self.encode(more), len(self._ids("\n"))
        joined = self._read(before) + more
        found = (alone, self.encode("\n" + more)[line:])
        return next((ids for ids in found if self._read([*before, *ids]) == joined), alone)

    def _added(self, text: str, longer: str, before: Sequence[int], answer: Turn) -> list[int]:
        """Tokens that a longer rendering adds: an earlier response, its end, and other turns.

        Raises ConfigError if the rendering changes what was written before, or the response.
        """
        tokens = self._after(text, before, longer[len(text) :])
        own = self._cut(tokens)
        read = self._normal(self._read(own[:-1]))
        as_it_was = longer.startswith(text) and own[-1:] == [self.eos_id]
        if not as_it_was or self._normal(answer.content.strip()) not in read:
            raise ConfigError(
                f"model.path={self.name}: its chat template writes an answer of the assistant "
                "anew when the conversation goes on, as those do that leave thoughts out; give "
                "each turn of the assistant a row of its own, with messages up to the user's "
                "turn before it, and the turn itself as response"
            )
        return tokens

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.inner(text, add_special_tokens=False)["input_ids"]
        return ids

    def _read(self, ids: Sequence[int]) -> str:
        """The text of all tokens, as it is."""
        text: str = self.inner.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def _normal(self, text: str) -> str:
        """The form in which the tokenizer reads a text."""
        return text if self._normalizer is None else str(self._normalizer.normalize_str(text))

    def _plain(self, text: str) -> list[int]:
        """Tokens of a text without a template: with the beginning token, without an end token."""
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

    def _end_of_turn(self) -> int:
        """The token that the template puts after an assistant's turn, else the end of a text."""
        last = int(self.inner.eos_token_id)
        if self.template is None:
            return last
        ends = {*self.inner.all_special_ids, *self.inner.added_tokens_decoder, *self.stops}
        return next((token for token in self._ids(self.template.behind) if token in ends), last)


def _holds(read: str, answer: str, form: str, original: str) -> bool:
    """Whether a text that was read back holds an answer: as it is, if its rendering has it so.

    A template may write other white space.
    """
    if original.strip() in form:
        return answer in read
    return "".join(answer.split()) in "".join(read.split())


def _short(text: str) -> str:
    """The beginning of a text, quoted."""
    return repr(text if len(text) <= 5 * _SHOWN else f"{text[: 5 * _SHOWN]}...")


def _refuse_turns(turns: Sequence[Turn]) -> None:
    """Plain text has none."""
    if turns:
        raise ConfigError(
            "model.chat=false: the data are conversations, which need a chat template"
        )


def _exchanges(turns: Sequence[Turn]) -> list[Sequence[Turn]]:
    """Each assistant turn with the others' turns after it; first and last are the assistant's."""
    starts = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    return [turns[start:end] for start, end in pairwise([*starts, len(turns)])]
