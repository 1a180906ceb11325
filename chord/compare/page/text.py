"""Formats values and long strings for the page."""

from __future__ import annotations

import json


def shown(value: object, length: int = 300) -> str:
    """Format a setting's value: 1/3 is 0.333333333333, None is null."""
    if isinstance(value, float):
        return f"{value:.12g}"
    return cut(value if isinstance(value, str) else json.dumps(value, default=str), length)


def cut(text: str, length: int = 2000) -> str:
    """Return the text, cut to `length` characters with an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"
