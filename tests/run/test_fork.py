"""`fork=RUN`: a new run from a checkpoint of another one, with its settings but for those typed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import trusting
from conftest import compose_config, small_composed
from forks import composed, fork, forks, source
from omegaconf import OmegaConf

from chord.config.lineage import Lineage
from chord.config.schemas import schema_names
from chord.doctor.directory import source as lineage_of
from chord.errors import ConfigError
from chord.io.reading import read_yaml
from chord.run.checkpoint import CHECKPOINT, read_saved
from chord.run.directory import RunDirectory
from chord.run.files import EVALUATIONS, METRICS, kept_file, read_rows
from chord.run.fork.base import recipe
from chord.run.fork.start import TakingOver, differences
from chord.run.identity.settings import telling
from chord.run.opening import open_run
from chord.run.resuming import resume_run
from chord.run.status import fingerprint
from chord.run.training import train
from chord.step.module import ChordModule

__all__ = ["forks", "source"]


class Killed(BaseException):
    """A kill, from within."""


def killed(*_: object) -> None:
    raise Killed


def resume(path: Path) -> None:
    run = resume_run(path, compose_config(f"resume={path}"), [f"resume={path}"])
    train(run.checked(), run)


def weights(file: Path) -> Mapping[str, torch.Tensor]:
    found = read_saved(file, "").weights
    assert found is not None
    return found


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def validation(path: Path, step: int) -> dict[str, Any]:
    rows = [row for row in read_rows(path / EVALUATIONS) if row["model"] == "trained"]
    (row,) = [row for row in rows if row["step"] == step]
    return {name: value for name, value in row.items() if name not in ("step", "val/balance")}


def test_a_fork_begins_with_the_weights_of_the_checkpoint(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fork(source, tmp_path / "fork", "checkpoint=4")
    assert same(weights(kept_file(run.path, 0)), weights(kept_file(source, 4)))
    assert validation(run.path, 0) == validation(source, 4)
    assert validation(run.path, 0) != validation(source, 0)
    # A new run of as many steps, whose schedule begins anew.
    alphas = [row["alpha"] for row in read_rows(run.path / METRICS)]
    assert alphas == [row["alpha"] for row in read_rows(source / METRICS)]
    assert not same(weights(run.path / CHECKPOINT), weights(source / CHECKPOINT))
    said = capsys.readouterr().out
    assert f"fork of {source} after 4 train steps: its weights and the optimizer's state" in said
    assert "seed=0 as in the source" in said
    assert run.config.lineage.fingerprint == fingerprint(open_run(source).config)


def test_what_is_typed_goes_on_top_of_the_settings_of_the_source(source: Path) -> None:
    plain, base = composed(source), open_run(source).config
    changed = {"fork", "lineage", "resume", "hydra", "tracking"}
    for name in [str(name) for name in base if name not in changed]:
        assert plain[name] == base[name], name
    assert schema_names(plain) == schema_names(base)
    typed = composed(
        source,
        "optimizer.lr=1e-4",
        "schedule=cosine",
        "schedule.final=.3",
        "weighting.normalize=none",
    )
    assert typed.optimizer.lr == 1e-4
    assert (schema_names(typed)["schedule"], typed.schedule.final) == ("cosine", 0.3)
    # Of an option of the source, whose settings the default option hasn't got.
    assert schema_names(typed)["weighting"] == "phi"
    assert typed.schedule.total_steps == typed.steps == 6
    assert composed(source, "steps=9").schedule.total_steps == 9
    # What an option chooses with itself, it chooses here too.
    rloo = compose_config("objective=rloo").advantage
    assert composed(source, "objective=rloo").advantage == rloo != plain.advantage


def test_the_lineage_is_read_back_whatever_its_hashes_look_like(
    source: Path, tmp_path: Path
) -> None:
    cfg = composed(source)
    for digest in ("1" + 63 * "a", 64 * "1", "1e" + 62 * "2"):
        cfg.lineage.sha256 = cfg.lineage.fingerprint = digest
        RunDirectory(tmp_path / "fork", cfg, "fork").write()
        values = read_yaml(tmp_path / "fork" / "config.yaml")["lineage"]
        assert values["sha256"] == values["fingerprint"] == digest
        assert open_run(tmp_path / "fork").config.lineage.sha256 == digest


def test_what_differs_from_the_source_is_said(source: Path, tmp_path: Path) -> None:
    words = ["schedule=cosine", "optimizer.lr=1e-4", "tracking=csv", "trainer.keep.every=0"]
    run = RunDirectory(tmp_path / "fork", composed(source, *words), "fork")
    assert list(differences(open_run(source), run)) == [
        "schedule=cosine, where the source has linear",
        "optimizer.lr=0.0001, where the source has 0.01",
    ]


def test_an_option_keeps_its_name(source: Path) -> None:
    from hydra import compose

    from chord.config.composing import reading_conf

    with reading_conf():
        cfg = compose("train", [f"fork={source}", "weighting=uniform"], return_hydra_config=True)
    choices = cfg.hydra.runtime.choices
    assert (choices["schedule"], choices["weighting"]) == ("linear", "uniform")
    assert choices["weighting@off_policy"] == schema_names(cfg)["off_policy"]
    assert cfg.hydra.job.config_name == "train"


def test_a_weighted_reward_is_taken_over_with_its_parts(small_models: Path, tmp_path: Path) -> None:
    words = ["reward=weighted", "+reward@reward.parts.short=length", "+reward.weights.short=.5"]
    base = small_composed(small_models, *words, "reward.parts.short.soft=.5")
    trusting.begun(RunDirectory(tmp_path / "run", base, "run"))
    (tmp_path / "run" / "checkpoints").mkdir()
    kept_file(tmp_path / "run", 1).touch()
    found = composed(tmp_path / "run", "checkpoint=1", "reward.weights.format=2")
    assert schema_names(found) == schema_names(base)
    assert found.reward.parts == base.reward.parts
    assert found.reward.weights == {"answer": 1.0, "format": 2.0, "short": 0.5}
    other = composed(tmp_path / "run", "checkpoint=1", "reward@reward.parts.answer=exact")
    assert schema_names(other)["reward.parts.answer"] == "exact"


def test_the_state_of_the_optimizer_is_taken_over_but_not_its_settings(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    original = TakingOver.on_train_start

    def watched(self: TakingOver, trainer: Any, module: Any) -> None:
        original(self, trainer, module)
        seen.extend(optimizer.state_dict() for optimizer in trainer.strategy.optimizers)
        seen[-1] = {**seen[-1], "state": {k: dict(v) for k, v in seen[-1]["state"].items()}}
        for each in seen[-1]["state"].values():
            each.update({name: value.clone() for name, value in each.items()})

    monkeypatch.setattr(TakingOver, "on_train_start", watched)
    words = ["checkpoint=4", "optimizer.weight_decay=.3", "steps=1"]
    fork(source, tmp_path / "fork", *words)
    (state,) = seen
    (theirs,) = torch.load(kept_file(source, 4), weights_only=True)["optimizer_states"]
    assert state["param_groups"][0]["weight_decay"] == 0.3
    for number, each in theirs["state"].items():
        assert all(torch.equal(state["state"][number][name], each[name]) for name in each)
    assert state["state"][0]["step"] == 4
    seen.clear()
    fresh = fork(source, tmp_path / "fresh", *words, "fresh_optimizer=true")
    assert not seen
    assert not fresh.config.lineage.optimizer
    assert not same(weights(fresh.path / CHECKPOINT), weights(tmp_path / "fork" / CHECKPOINT))
    # A second optimizer is another one.
    assert not composed(source, "optimizer@sft_optimizer=adamw").lineage.optimizer


def test_a_fork_goes_on_though_its_source_is_gone(source: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(source, tmp_path / "source"))
    words = ["checkpoint=2", "steps=2", "optimizer.lr=1e-3"]
    whole = fork(base, tmp_path / "whole", *words)
    begun = tmp_path / "begun"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(ChordModule, "update", killed)
        with pytest.raises(Killed):
            fork(base, begun, *words)
    shutil.rmtree(base)
    # It was killed before its first checkpoint, and begins again.
    resume(begun)
    assert same(weights(begun / CHECKPOINT), weights(whole.path / CHECKPOINT))
    assert (begun / METRICS).read_bytes() == (whole.path / METRICS).read_bytes()
    assert validation(begun, 2) == validation(whole.path, 2)
    # It has a checkpoint of its own, and is made longer.
    kept_file(begun, 0).unlink()
    (longer := resume_run(begun, compose_config(f"resume={begun}", "steps=3"), ["steps=3"])).write()
    train(longer.checked(), longer)
    assert len(read_rows(begun / METRICS)) == 3
    # Without any, there is nothing to begin with.
    for file in (begun / CHECKPOINT, kept_file(begun, 2)):
        file.unlink()
    with pytest.raises(ConfigError, match=r"fork=.*: the checkpoint after step 2 is gone, or"):
        resume(begun)


def test_a_fork_that_has_lost_its_checkpoint_does_not_begin_again_unasked(
    source: Path, tmp_path: Path
) -> None:
    run = fork(source, tmp_path / "fork", "checkpoint=2", "trainer.keep.every=0")
    (run.path / CHECKPOINT).unlink()
    with pytest.raises(ConfigError, match=r"last.ckpt is missing, but the run has finished all 6"):
        resume(run.path)


def test_a_fork_of_a_fork_from_its_start_has_the_weights_of_the_first_source(
    source: Path, tmp_path: Path
) -> None:
    first = fork(source, tmp_path / "first", "checkpoint=4", "steps=1")
    second = composed(first.path, "checkpoint=0")
    assert second.lineage.sha256 == first.config.lineage.sha256
    assert second.lineage.step == 0
    assert second.lineage.fingerprint == fingerprint(first.config)
    assert second.steps == 1


def test_forks_are_told_apart_by_where_they_start(source: Path, small_models: Path) -> None:
    two, four, best = (composed(source, f"checkpoint={which}") for which in (2, 4, "last"))
    prints = {fingerprint(each) for each in (two, four, best)}
    assert len(prints | {fingerprint(open_run(source).config)}) == 4
    assert fingerprint(composed(source, "checkpoint=4", "fresh_optimizer=true")) not in prints
    assert fingerprint(composed(source, "checkpoint=6")) == fingerprint(best)
    # Runs from before had no such settings.
    plain = OmegaConf.to_container(small_composed(small_models))
    assert isinstance(plain, dict)
    assert not {"fork", "checkpoint", "fresh_optimizer", "lineage"} & telling(plain).keys()


def test_seeds_of_a_source_are_one_recipe(small_models: Path) -> None:
    configs = [small_composed(small_models, f"seed={seed}") for seed in (1, 2)]
    assert recipe(configs[0], []) == recipe(configs[1], [])
    assert recipe(small_composed(small_models, "steps=3"), []) != recipe(configs[0], [])
    for config in configs:
        of = f"of {config.seed}"
        config.lineage = Lineage(fingerprint=of, recipe="r", step=1, sha256=of, optimizer=True)
    assert recipe(configs[0], []) == recipe(configs[1], [])
    configs[0].lineage.step = 2
    assert recipe(configs[0], []) != recipe(configs[1], [])


def test_a_fork_says_its_source_to_the_doctor(source: Path, tmp_path: Path) -> None:
    cfg = composed(source, "checkpoint=2", "fresh_optimizer=true")
    (found,) = lineage_of(RunDirectory(tmp_path, cfg, "fork"))
    print_of_source = fingerprint(open_run(source).config)
    assert found.what == (
        f"a fork of {source} after 2 train steps, with a new optimizer; the source has the "
        f"fingerprint {print_of_source}"
    )
    assert not list(lineage_of(open_run(source)))


def test_files_of_the_source_are_found_from_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = compose_config("model.path=base.safetensors", "evaluation.retained=[kept.jsonl]")
    for name in ("base.safetensors", "kept.jsonl"):
        (tmp_path / name).touch()
    trusting.begun(RunDirectory(tmp_path / "run", base, "run", started_in=tmp_path))
    (tmp_path / "run" / "checkpoints").mkdir()
    kept_file(tmp_path / "run", 1).touch()
    monkeypatch.chdir(tmp_path / "run")
    found = composed(tmp_path / "run", "checkpoint=1")
    assert found.model.path == f"{tmp_path}/base.safetensors"
    assert found.evaluation.retained == [f"{tmp_path}/kept.jsonl"]
