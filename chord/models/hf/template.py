"""A model's chat template, and what it writes around a turn, which a few renderings show."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chord.data.batch import Turn
from chord.errors import ConfigError, first_line

_USER, _ANSWER = Turn("user", "Well?"), Turn("assistant", "Yes.")
_TAG = re.compile(r"[<\[](\w[\w:]*)[>\]]\s*\Z")


@dataclass
class ChatTemplate:
    """The chat template of a transformers tokenizer, `inner`.

    `variables`: what the template reads besides the turns, such as `enable_thinking`.

    Raises ConfigError if there is no template, or if it reads no such variable.
    """

    inner: Any
    name: str
    variables: Mapping[str, Any]
    opened: str = field(init=False)
    r"""What a prompt already holds of the answer and leaves open, such as `<think>\n`."""
    mark: str = field(init=False)
    """What stands before an answer, like the header of a turn: a channel's name."""
    behind: str = field(init=False)
    """What stands after the last answer, from its end token on."""
    marks: frozenset[str] = field(init=False)
    """The special tokens around a user's turn."""
    _written: dict[str, bool] = field(init=False, default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        template = self.inner.chat_template
        if not template:
            raise ConfigError(
                f"model.chat=true: the tokenizer of {self.name} has no chat template; "
                "model.chat=false writes prompts as plain text, and model.chat_template=FILE names "
                "a template"
            )
        taken = {"messages", *inspect.signature(self.inner.apply_chat_template).parameters}
        for variable in self.variables:
            if variable in taken or not re.search(rf"\b{re.escape(variable)}\b", str(template)):
                value = self.variables[variable]
                raise ConfigError(
                    f"model.chat_kwargs.{variable}={value}: the chat template of {self.name} reads "
                    f"no variable {variable}"
                )
        self._look()

    def render(self, turns: Sequence[Turn], *, begin: bool) -> str:
        """The text of a conversation; `begin`: with what opens the assistant's next turn.

        Raises ConfigError if the template refuses it.
        """
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            text: str = self.inner.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=begin, **self.variables
            )
        except Exception as error:  # a template raises whatever its author chose
            raise ConfigError(
                f"model.path={self.name}: its chat template refuses a conversation of "
                f"{', '.join(turn.role for turn in turns)} ({first_line(error)})"
            ) from error
        return text

    def continued(self, answer: str) -> str | None:
        """An answer without the part that the prompt has opened; None if it lacks a part.

        It begins with what is opened, or it closes it.
        """
        opened = self.opened.strip()
        if answer.lstrip().startswith(opened):
            rest = answer.lstrip().removeprefix(opened)
            # The line break is in the prompt already.
            return rest.removeprefix(self.opened[self.opened.find(opened) + len(opened) :])
        tag = _TAG.search(opened)
        return answer if tag and f"/{tag[1]}" in answer else None

    def behind_prompt(self, prompt: str, whole: str, asked: str) -> str | None:
        """What a rendering has after a prompt; None if the two don't match.

        Some templates write the turns before an answer otherwise than those before a generation
        prompt: then what counts is the text after the last question, `asked`.
        """
        if whole.startswith(prompt):
            return whole[len(prompt) :]
        place = prompt.rfind(asked.strip())
        last = prompt[place:] if place >= 0 else ""
        found = whole.rfind(last) if last else -1
        return whole[found + len(last) :] if found >= 0 else None

    def writes(self, role: str) -> bool:
        """Whether the template writes a turn of a role before the user's, or leaves it out."""
        if role not in self._written:
            told = Turn(role, "Be kind.")
            self._written[role] = told.content in self.render([told, _USER], begin=True)
        return self._written[role]

    def _look(self) -> None:
        """Find out what the template writes around an answer."""
        asked = self.render([_USER], begin=False)
        begun = self.render([_USER], begin=True)
        whole = self.render([_USER, _ANSWER], begin=False)
        later = self.render([_USER, _ANSWER, _USER], begin=False)
        before, _, self.behind = whole.rpartition(_ANSWER.content)
        lead = before.removeprefix(begun) if before.startswith(begun) else ""
        self.opened = "" if before == begun else _opened(asked, begun, later)
        tokens = [str(token) for token in self.inner.added_tokens_decoder.values()]
        around = later.rpartition(_ANSWER.content)[2]
        self.marks = frozenset(token for token in tokens if token in around)
        self.mark = lead.strip() if any(token in lead for token in self.marks) else ""


def _opened(asked: str, begun: str, later: str) -> str:
    """What the prompt has beyond the header of an assistant's turn, as an earlier turn shows it."""
    prompt = begun.removeprefix(asked)
    header = later.removeprefix(asked).partition(_ANSWER.content)[0]
    if prompt.startswith(header):
        return prompt[len(header) :] if prompt[len(header) :].strip() else ""
    tag = None if header.startswith(prompt) and "/" not in header else _TAG.search(prompt)
    return "" if tag is None else prompt[tag.start() :]
