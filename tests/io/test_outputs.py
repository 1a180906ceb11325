"""A file is replaced by one of its own kind, and written by one process."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from chord.cache_teacher import CACHE
from chord.dashboard.command import SPECIFICATION
from chord.errors import ConfigError
from chord.io.locking import sole_writer
from chord.io.outputs import PNG, Kind, refuse_other
from chord.models.storage import write_tensors

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def refused(path: Path, kind: Kind) -> str:
    """What is said of a file that must not be replaced; nothing of one that may be."""
    try:
        refuse_other(path, "--to", kind)
    except ConfigError as error:
        return str(error)
    return ""


def test_what_is_of_the_kind_is_replaced(tmp_path: Path) -> None:
    cache, other = tmp_path / "t.safetensors", tmp_path / "model.safetensors"
    write_tensors(cache, {"ids": torch.zeros(1)}, {"chord_teacher": "{}"})
    write_tensors(other, {"ids": torch.zeros(1)}, {"chord": "{}"})
    picture, spec = tmp_path / "a.png", tmp_path / "d.json"
    picture.write_bytes(SIGNATURE + b"rest")
    spec.write_text(json.dumps({"specification": {}, "workspace": {}}))
    own = {cache: CACHE, picture: PNG, spec: SPECIFICATION}
    for kind in own.values():
        for path in (cache, other, picture, spec):
            said = f"--to: is there already and is not {kind.name}, "
            assert refused(path, kind).startswith(said) == (own.get(path) is not kind)
        # What holds nothing can be replaced, and what is not there.
        (tmp_path / "empty").touch()
        assert not refused(tmp_path / "empty", kind)
        assert not refused(tmp_path / "new", kind)


def test_what_can_not_be_read_is_of_no_kind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "long").write_bytes((2**60).to_bytes(8, "little") + b"{}")
    (tmp_path / "list").write_bytes((2).to_bytes(8, "little") + b"[]")
    for path in sorted(tmp_path.iterdir()):
        for kind in (PNG, CACHE, SPECIFICATION):
            assert refused(path, kind), (path, kind)


def test_one_process_alone_writes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "e.jsonl"
    with sole_writer(path, "--to e") as file:
        with (
            pytest.raises(ConfigError, match=r"^--to e: another process is writing it; wait until"),
            sole_writer(path, "--to e"),
        ):
            pass
        file.write(b"row\n")
    with sole_writer(path, "--to e") as file:
        file.write(b"row\n")
    assert path.read_bytes() == b"row\nrow\n"


def test_what_was_made_for_nothing_is_removed(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "a" / "b" / "e.jsonl", "--to e"):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").touch()
    with sole_writer(tmp_path / "mine", "--to mine"):
        pass
    assert (tmp_path / "mine").exists()
