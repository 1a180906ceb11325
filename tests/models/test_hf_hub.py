"""Models by their hub ids: a hub that is not reached, and what its cache holds."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants
from language_models import make_model

from chord.models.hf import resolving
from chord.models.hf.config import HFModel

# The library itself asks for something of its own besides.
ONCE = 2


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """An empty cache, and a hub that no name leads to; the hosts that were asked for."""
    asked: list[str] = []

    def unknown(host: str, *_: object, **__: object) -> None:
        asked.append(str(host))
        raise socket.gaierror("there is no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    close_session()
    forget = resolving.answers.cache_clear
    forget()
    yield asked
    forget()


def test_a_hub_that_is_not_reached_is_asked_once(hub: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^model\.path=org/name: no such directory; as a hub id"):
        HFModel(path="org/name").tokenizer()
    assert 1 <= len(hub) <= ONCE


@pytest.mark.parametrize("offline", [False, True])
def test_what_is_in_the_cache_needs_no_hub(
    hub: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    place = tmp_path / "hub" / "models--org--name"
    make_model(place / "snapshots" / ("0" * 40))
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    model = HFModel(path="org/name")
    assert model.tokenizer().vocab_size == model.build().vocab_size
    assert len(hub) <= (0 if offline else ONCE)


def test_an_id_that_the_hub_refuses_is_its_own_fault(
    hub: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolving, "answers", lambda place, revision: True)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", failing)
    with pytest.raises(ValueError, match=r"can't be loaded \(no such model\)$"):
        HFModel(path="org/name").tokenizer()


def failing(*_: object, **__: object) -> None:
    raise OSError("no such model")
