"""What is said of a file in the place of a checkpoint that is none of ours."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from chord.errors import ConfigError
from chord.run.checkpoint import read_saved


class Theirs:
    """What only a program can read."""


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_of_a_pickle_no_advice_is_given_to_run_its_code(tmp_path: Path, protocol: int) -> None:
    for name, value in (("theirs", Theirs()), ("plain", {1})):
        file = tmp_path / f"{name}.ckpt"
        file.write_bytes(pickle.dumps({"chord": value}, protocol=protocol))
        with pytest.raises(ConfigError, match=r"ckpt can't be read \(") as raised:
            read_saved(file, "resume=run")
        assert "weights_only" not in str(raised.value)
    torch.save({"chord": Theirs()}, file)
    with pytest.raises(ConfigError) as raised:
        read_saved(file, "resume=run")
    said = "resume=run: checkpoints/plain.ckpt can't be read (it holds more than tensors and plain "
    assert str(raised.value) == f"{said}values, which is not read)"


def test_a_text_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_text("hello, world " * 20)
    with pytest.raises(ConfigError, match=r"can't be read \(torch\.save has not written it\)$"):
        read_saved(tmp_path / "last.ckpt", "resume=run")
