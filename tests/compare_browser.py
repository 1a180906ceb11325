"""A comparison's page in a browser that nothing is fetched by.

Chromium comes from the system (`apt-get install chromium`), Playwright from the extra `dev`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chord.compare.model import Comparison
from chord.compare.page import write_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]

IN_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a comparison; at the end, nothing was said on the console and nothing was fetched."""
    troubles: list[str] = []
    contexts = []

    def open_page(comparison: Comparison, **settings: Any) -> Any:
        write_page(comparison, tmp_path / "page.html")
        address = (tmp_path / "page.html").as_uri()
        # A page that is still scrolling has moved on when the pointer gets there.
        wanted = {"viewport": {"width": 1400, "height": 900}, "reduced_motion": "reduce"}
        context = browser.new_context(**{**wanted, **settings})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.on(
            "request",
            lambda request: (
                troubles.append(request.url)
                if request.url != address and not request.url.startswith("data:")
                else None
            ),
        )
        page.goto(address)
        page.wait_for_selector("html[data-ready]", timeout=20_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []
