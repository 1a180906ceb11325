"""Assembles the HTML file from the assets in this directory and the data."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from chord.compare.model import Comparison
from chord.compare.page.data import content

ASSETS = Path(__file__).parent
SCRIPTS = (
    "dom", "state", "summary", "table", "plot", "curves", "scatter", "heat", "details", "main"
)  # fmt: skip


def write_page(comparison: Comparison, path: Path) -> None:
    """Write the comparison to `path` as HTML that opens from disk and needs no network.

    Names of runs cannot become markup: the data is one block of JSON without `<`, the scripts only
    show it as text, and a content security policy blocks all other scripts and resources.
    """
    path.write_text(render(content(comparison)), encoding="utf-8", newline="\n")


def render(data: Mapping[str, Any]) -> str:
    """Return the HTML of the page; `data` is the result of `content`."""
    style = _asset("page.css")
    script = '"use strict";\n{\n' + "\n".join(_asset(f"{name}.js") for name in SCRIPTS) + "}\n"
    policy = (
        f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(data["title"].encode("utf-8", "replace").decode()),
        "style": style,
        "data": embed(data),
        "script": script,
    }
    # In one pass, so that a marker inside the title is not replaced.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("page.html"))


def embed(data: Mapping[str, Any]) -> str:
    """Return JSON that cannot end its HTML element early: ASCII, with `<`, `>` and `&` escaped."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
