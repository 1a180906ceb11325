"""Files that a run names are found from every directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from chord.run.located import located


def test_a_chat_template_is_found_from_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for place in (here, there):
        place.mkdir()
    (here / "chat.jinja").write_text("x")
    config = OmegaConf.create({"model": {"path": "org/name", "chat_template": "chat.jinja"}})
    monkeypatch.chdir(there)
    found = located(config, here)
    # An id on the hub stays one.
    assert found.model == {"path": "org/name", "chat_template": str(here / "chat.jinja")}
    monkeypatch.chdir(here)
    assert located(config, here) == config
