"""The turns of conversations, as the usual kinds of files write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chord.data.batch import Turn
from chord.errors import quoted, shortened

_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
"""The roles of ShareGPT."""
_OF_TOOLS = ("tool", "function", "function_call", "observation", "tool_call", "tool_response")
_ROLES_SAID = ("system", "developer", "user", "assistant")
_MEDIA = ("images", "videos", "audios")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_UNTRAINED = ("weight", "loss", "train")
"""What a message can say of itself: that it is not imitated."""
_LEAVE = "chord trains on turns of text alone, so leave such rows out"


class FieldError(ValueError):
    """What is wrong with a field of a row; the caller, which knows the row, adds where."""


def turns_of(name: str, messages: Any) -> tuple[Turn, ...]:
    """The turns of a field that holds a list of messages; raises FieldError.

    A message has `role` and `content`, or `from` and `value` as in ShareGPT, or is a question
    `human` with its answer `assistant` as in ms-swift.
    """
    if not isinstance(messages, list) or not messages:
        raise FieldError(f"field {name} is {kind(messages)}, must be a list of messages")
    return tuple(
        turn
        for number, message in enumerate(messages, start=1)
        for turn in _turns(name, number, message)
    )


def pairs_of(name: str, history: Any) -> tuple[Turn, ...]:
    """The turns of a list of questions, each with its answer; raises FieldError."""
    turns = []
    for number, pair in enumerate(history if isinstance(history, list) else [history], start=1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise FieldError(
                f"field {name}: element {number} must be a question with its answer, a list of two"
            )
        for role, text in zip(("user", "assistant"), pair, strict=True):
            turns.append(Turn(role, _text(name, role, number, text)))
    return tuple(turns)


def refuse_tools(name: str, tools: Any) -> None:
    """Raise FieldError where a row describes tools to be called."""
    if tools and tools != "[]":
        raise FieldError(f"field {name} describes tools; {_LEAVE}")


def refuse_media(row: Mapping[str, Any]) -> None:
    """Raise FieldError where a row is about more than its text."""
    for name in _MEDIA:
        if isinstance(row.get(name), list) and row[name]:
            raise FieldError(f"field {name} is not empty; {_LEAVE}")


def _turns(name: str, number: int, message: Any) -> Iterator[Turn]:
    fields = message if isinstance(message, dict) else {}
    if fields.get("tool_calls") or fields.get("function_call"):
        raise FieldError(f"field {name}: message {number} calls a tool; {_LEAVE}")
    if fields.get("from") is not None and "role" not in fields:
        said = fields["from"]
        _refuse_tool(name, number, said)
        if said not in _ROLES:
            raise FieldError(
                f"field {name}: from of message {number} is {quoted(said, 40)}, must be one of "
                f"{', '.join(_ROLES)}"
            )
        yield Turn(_ROLES[said], _text(name, "value", number, fields.get("value")))
    elif "human" in fields and "role" not in fields:
        for key, role in (("human", "user"), ("assistant", "assistant")):
            yield Turn(role, _text(name, key, number, fields.get(key)))
    else:
        said = _text(name, "role", number, fields.get("role") if fields else message)
        _refuse_tool(name, number, said)
        text = _text(name, "content", number, _joined(name, number, fields.get("content")))
        if said not in _ROLES_SAID:
            raise FieldError(
                f"field {name}: role of message {number} is {quoted(said, 40)}, must be one of "
                f"{', '.join(_ROLES_SAID)}"
            )
        if said == "assistant":
            _refuse_beside(name, number, fields)
        yield Turn(said, text)


def _joined(name: str, number: int, content: Any) -> Any:
    """The text of a content that is a list of parts, as OpenAI writes them; others as they are."""
    if not isinstance(content, list):
        return content
    for part in content:
        said = part.get("type") if isinstance(part, dict) else None
        if said != "text" or not isinstance(part.get("text"), str):
            raise FieldError(
                f"field {name}: content of message {number} has a part that is no text "
                f"(type {said!r:.40}); {_LEAVE}"
            )
    return "".join(part["text"] for part in content)


def _refuse_beside(name: str, number: int, fields: Mapping[str, Any]) -> None:
    """Refuse what an assistant's message says beside its content, and would be passed over."""
    for thought in _THOUGHTS:
        if fields.get(thought):
            raise FieldError(
                f"field {name}: message {number} has its thought in {thought}, which is not read; "
                "put it into the content, as the model writes it"
            )
    for mark in _UNTRAINED:
        if fields.get(mark) in (0, False):
            raise FieldError(
                f"field {name}: message {number} has {mark} {fields[mark]}, and all turns of the "
                "assistant are imitated; give each turn to imitate a row of its own, as response"
            )


def _refuse_tool(name: str, number: int, role: Any) -> None:
    if role in _OF_TOOLS:
        raise FieldError(f"field {name}: message {number} is of a tool; {_LEAVE}")


def _text(name: str, part: str, number: int, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise FieldError(f"field {name}: {part} of message {number} is {kind(value)}, must be text")
    return value


def inside(name: str, value: Any) -> str:
    """Of an object, its fields as `data.columns` would name them, for the end of a message."""
    if not isinstance(value, dict) or not value:
        return ""
    return f"; its fields are {shortened('', [f'{name}.{each}' for each in value])}"


def kind(value: Any) -> str:
    """The kind of a value, for an error message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "empty"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, bytes):
        return "bytes"
    return "an object" if isinstance(value, dict) else "a number"
