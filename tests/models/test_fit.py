"""What follows the loop: which numbers are reported, and runs that go wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import small_composed

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.data.tasks import ALPHABET
from chord.data.tokenizer import CharTokenizer
from chord.errors import ConfigError
from chord.models.config import TransformerConfig
from chord.models.storage import save_policy
from chord.models.tiny import MODEL
from chord.models.transformer import Transformer
from chord.run.checkpoint import CHECKPOINT
from chord.run.directory import RunDirectory
from chord.run.loop import Outcome
from chord.run.trained import last_alpha, trained_model
from chord.run.training import train
from chord.train import refuse_directories


def run(models: Path, path: Path, *overrides: str) -> Outcome:
    composed = small_composed(models, *overrides)
    return train(parse(composed, TrainConfig), RunDirectory(path, composed, "test"))


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("tracking", ["off", "csv"])
def test_a_selecting_run_reports_the_trained_model_on_validation(
    small_models: Path, tmp_path: Path, tracking: str
) -> None:
    selecting = ["evaluation.test=false", "evaluation.every=0", f"tracking={tracking}"]
    outcome = run(small_models, tmp_path / "run", *selecting)
    assert outcome.validation["balance_at_0.5"] == outcome.trained.metrics["balance_at_0.5"]
    found = rows(tmp_path / "run" / "evaluations.jsonl")
    assert {row["split"] for row in found} == {"val"}
    # The last step is evaluated once, not again for the report.
    assert sorted((row["model"], row["step"]) for row in found) == [("base", 0), ("trained", 2)]


def test_base_and_trained_are_balanced_at_the_same_alpha(
    small_models: Path, tmp_path: Path
) -> None:
    # linear over 2 steps: alpha .6 at the last one.
    metrics = run(small_models, tmp_path / "run", "schedule=linear").base.metrics
    expected = 0.6 * metrics["sft_accuracy"] + 0.4 * metrics["rl_reward"]
    assert metrics["balance"] == pytest.approx(expected)


def test_the_last_alpha_of_a_controller_is_the_one_on_record(
    small_models: Path, tmp_path: Path
) -> None:
    # Entropies of an untrained model are some 3 nats: alpha falls from .5 by a tenth of them.
    metrics = run(
        small_models, tmp_path / "run", "schedule=entropy", "schedule.rate=.05"
    ).base.metrics
    alpha = rows(tmp_path / "run" / "metrics.jsonl")[-1]["alpha"]
    assert isinstance(alpha, float)
    assert 0 < alpha < 0.4
    expected = alpha * metrics["sft_accuracy"] + (1 - alpha) * metrics["rl_reward"]
    assert metrics["balance"] == pytest.approx(expected)
    config = parse(small_composed(small_models, "schedule=entropy"), TrainConfig)
    assert last_alpha(tmp_path / "run", config) == alpha
    assert last_alpha(tmp_path / "none", config) == 0.5
    linear = parse(small_composed(small_models, "schedule=linear"), TrainConfig)
    assert last_alpha(tmp_path / "run", linear) == pytest.approx(0.6)


def test_a_run_without_its_final_model_is_scored_at_its_checkpoint(
    small_models: Path, tmp_path: Path
) -> None:
    path, config = tmp_path / "run", parse(small_composed(small_models), TrainConfig)
    trained = run(small_models, path).module.policy.state_dict()
    (path / MODEL).unlink()
    found = trained_model(path, config).state_dict()
    assert all(torch.equal(found[name], weights) for name, weights in trained.items())
    (path / CHECKPOINT).unlink()
    with pytest.raises(ValueError, match="run: holds neither a final model nor a checkpoint yet"):
        trained_model(path, config)


def test_a_diverging_run_stops_in_one_line_and_keeps_its_rows(
    small_models: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=r"^trainer\.on_nonfinite=stop: the gradient of step \d+ is"
    ):
        run(small_models, tmp_path / "run", "optimizer.lr=1e30", "steps=9", "optimizer.warmup=0")
    assert rows(tmp_path / "run" / "metrics.jsonl")


def test_models_of_another_vocabulary_are_refused(small_models: Path, tmp_path: Path) -> None:
    import torch

    from chord.models.config import TransformerConfig
    from chord.models.storage import save_policy
    from chord.models.transformer import Transformer

    torch.manual_seed(0)
    other = TransformerConfig(vocab_size=40, width=16, layers=1, heads=2, context=96)
    save_policy(Transformer(other), tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=r"model\.path: the model has a vocabulary of 40"):
        run(small_models, tmp_path / "run", f"model.path={tmp_path}/other.safetensors")


def test_answers_that_do_not_fit_the_context_are_refused(
    small_models: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"rollout\.max_new_tokens=83: must be at most 82"):
        run(small_models, tmp_path / "run", "rollout.max_new_tokens=83")


def test_weights_without_a_teacher_are_said_at_the_start(
    small_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(small_models, tmp_path / "run", "weighting=margin", "weighting.expert=one_hot")
    assert "weighting.expert=one_hot: no teacher, w = 1 - max P" in capsys.readouterr().out


def test_wrong_directories_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    refuse_directories(["steps=3", "resume=null", f"resume={tmp_path / 'run'}"])
    for arguments, message in [
        ([f"resume={tmp_path / 'typo'}"], "no such directory; give a run directory"),
        ([f"hydra.run.dir={tmp_path / 'run'}"], "already holds a run"),
        ([f"resume={tmp_path / 'run'}", "hydra.run.dir=x"], "its own directory"),
    ]:
        with pytest.raises(ConfigError, match=message):
            refuse_directories(arguments)
    assert not (tmp_path / "typo").exists()


def test_expert_answers_longer_than_the_models_context_are_refused(
    small_models: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    size = CharTokenizer(ALPHABET).vocab_size
    config = TransformerConfig(vocab_size=size, width=16, layers=1, heads=2, context=40)
    save_policy(Transformer(config), tmp_path / "short.safetensors")
    with pytest.raises(ConfigError, match=r"data\.expert_pairs=256: the longest has \d+ tokens"):
        run(small_models, tmp_path / "run", f"model.path={tmp_path}/short.safetensors")
