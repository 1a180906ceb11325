"""A directory that is no model of its kind is named for what it is, with what to type."""

from __future__ import annotations

from pathlib import Path

import pytest

from chord.errors import ConfigError
from chord.models.hf.config import HFModel, HFTeacher
from chord.models.tiny import Tiny

RUN, HF, LORA, TINY = (
    "run.json",
    "model/config.json",
    "model/adapter_config.json",
    "model.safetensors",
)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([RUN, HF], "is a run directory; give model.run={}"),
        ([RUN, LORA], "is a run directory; give model.run={}"),
        ([RUN, TINY], "is a run directory; give model.run={}"),
        ([RUN], "is a run directory; give model.run={}"),
        (["adapter_config.json"], "holds adapters (LoRA), no whole model; give model.run={}"),
    ],
)
def test_a_directory_of_something_else_says_what_to_type(
    tmp_path: Path, files: list[str], message: str
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    for build in (
        lambda: HFModel(path=str(tmp_path)),
        lambda: Tiny(path=str(tmp_path), pretraining_seed=0).build(),
        lambda: Tiny(path=str(tmp_path), pretraining_seed=0).shape(),
    ):
        with pytest.raises(ConfigError) as refused:
            build()
        assert str(refused.value) == f"model.path={tmp_path}: {message.format(tmp_path)}"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([RUN, HF], "is a run directory; give teacher=hf teacher.path={}/model"),
        ([RUN, TINY], "is a run directory; give teacher=tiny teacher.path={}/model.safetensors"),
        ([RUN, LORA], "is a run directory; type python -m chord.export {} --to DIR, which writes "),
        ([RUN], "is a run directory; type python -m chord.export {} --to DIR, which writes its "),
        (["adapter_config.json"], "holds adapters (LoRA), no whole model; merge them into their "),
    ],
)
def test_a_teacher_is_a_whole_model(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError) as refused:
        HFTeacher(path=str(tmp_path))
    assert str(refused.value).startswith(f"teacher.path={tmp_path}: {message.format(tmp_path)}")
    assert "model=" not in str(refused.value)


def test_the_adapters_of_a_run_name_their_run(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name in (RUN, LORA):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError) as refused:
        HFTeacher(path=str(tmp_path / "model"))
    assert f"; type python -m chord.export {tmp_path} --to DIR, which writes its" in str(
        refused.value
    )


def test_a_model_of_transformers_is_no_tiny_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        ConfigError, match=f"is a model of transformers; give model=hf model.path={tmp_path}"
    ):
        Tiny(path=str(tmp_path), pretraining_seed=0).build()
