"""Characters to token ids and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chord.errors import ConfigError, quoted

if TYPE_CHECKING:
    from chord.data.batch import Pair, Problem, Turn


class UnknownCharacterError(ConfigError):
    """A character for which there is no token."""


@dataclass(frozen=True)
class CharTokenizer:
    """One token per character: id 0 is padding, id 1 ends a sequence, the alphabet follows.

    Worked value: ``CharTokenizer("ab").encode("ba") == [3, 2]``.

    Raises ConfigError if the alphabet is empty or has a character twice.
    """

    alphabet: str
    pad_id: int = field(default=0, init=False)
    eos_id: int = field(default=1, init=False)
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.alphabet:
            raise ConfigError("alphabet='': must hold at least one character")
        ids = {char: index for index, char in enumerate(self.alphabet, start=2)}
        if len(ids) != len(self.alphabet):
            repeated = sorted(c for c in ids if self.alphabet.count(c) > 1)
            raise ConfigError(f"alphabet={self.alphabet!r}: repeats {''.join(repeated)!r}")
        object.__setattr__(self, "_ids", ids)

    @property
    def vocab_size(self) -> int:
        return len(self.alphabet) + 2

    @property
    def stop_ids(self) -> frozenset[int]:
        """The one end token."""
        return frozenset({self.eos_id})

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The character of each id; `<pad>` and `<end>` for the two special ones."""
        return [("<pad>", "<end>", *self.alphabet)[token] for token in ids]

    def written(self, text: str) -> str:
        """The text itself: a character is written as it is."""
        return text

    def notes(self) -> list[str]:
        """Nothing is to be said."""
        return []

    def prompt(self, problem: Problem) -> list[int]:
        """The ids of the prompt's characters; ConfigError for a conversation."""
        _refuse_turns(problem.turns)
        return self.encode(problem.prompt)

    def response(self, pair: Pair) -> tuple[list[int], list[bool]]:
        """The ids of the response's characters and the end token, all of them the expert's."""
        _refuse_turns(pair.turns)
        tokens = [*self.encode(pair.response), self.eos_id]
        return tokens, [True] * len(tokens)

    def encode(self, text: str) -> list[int]:
        """Return one id per character, without an end token.

        Raises UnknownCharacterError for one that is not in the alphabet.
        """
        try:
            return [self._ids[char] for char in text]
        except KeyError as error:
            raise UnknownCharacterError(
                f"character {error.args[0]!r} of {quoted(text)} is not in the "
                f"alphabet {self.alphabet!r}"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text before the first end token, without padding.

        Raises ConfigError on an id outside the vocabulary.
        """
        chars: list[str] = []
        for token in ids:
            token = int(token)
            if token == self.eos_id:
                break
            if token == self.pad_id:
                continue
            if not 0 <= token < self.vocab_size:
                raise ConfigError(f"token id {token}: must be within [0, {self.vocab_size - 1}]")
            chars.append(self.alphabet[token - 2])
        return "".join(chars)


def _refuse_turns(turns: Sequence[Turn]) -> None:
    """Characters alone say nothing of who speaks."""
    if turns:
        raise ConfigError(
            "model=tiny: the data are conversations, which need a chat template; use model=hf"
        )
