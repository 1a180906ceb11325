"""Which run is this? What makes a run another one, for comparisons, sweeps and a resume."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import compose_config
from omegaconf import OmegaConf
from sweeps import Command, command, interrupt_at

from chord.compare.finding import find_runs
from chord.compare.grouping import compare
from chord.compare.model import Comparison
from chord.compare.reading import read_runs
from chord.compare.settings import flat_settings
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.run.identity.frozen import freeze
from chord.run.identity.lengthening import altered, followers, switched
from chord.run.identity.lengths import length_text, lengthened
from chord.run.identity.versions import (
    ENVIRONMENT,
    NAMED_LATER,
    VARIABLES,
    equal_versions,
    versions,
)
from chord.run.opening import configuration, open_run
from chord.step.module import ChordModule

__all__ = ["command"]


def compared(path: Path) -> Comparison:
    """The comparison of all runs under a directory."""
    runs, left_out = read_runs(find_runs([path]).runs)
    return compare(runs, left_out)


def alphas(path: Path) -> list[float]:
    rows = (path / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row)["alpha"] for row in rows]


def test_the_lengths_of_a_run_are_those_under_which_it_took_steps() -> None:
    fresh = lengthened([], 0, 24)
    assert (fresh, length_text(fresh)) == ([[0, 24]], None)
    longer = lengthened(fresh, 24, 36)
    assert (longer, length_text(longer)) == ([[0, 24], [24, 36]], "24, from step 24 on 36")
    # Killed at step 30 and resumed from 28, it goes on as it was.
    assert lengthened(longer, 28, 36) == longer
    # Killed before its first step of 36: it never had that length.
    assert lengthened(longer, 24, 48) == [[0, 24], [24, 48]]
    assert lengthened(longer, 24, 24) == [[0, 24]]
    # Without a checkpoint nothing of it is left.
    assert lengthened(longer, 0, 36) == [[0, 36]]


def test_a_run_that_was_lengthened_is_another_than_a_fresh_one(command: Command) -> None:
    typed = ["schedule=linear", "schedule.initial=1", "schedule.final=0"]
    outputs = command.where / "outputs"
    assert command(*typed, "steps=2", "hydra.run.dir=outputs/long") == 0
    assert command("resume=outputs/long", "steps=3", own=False) == 0, command.err
    fresh = ["-m", *typed, "steps=3", "skip_finished=true"]
    assert command(*fresh, "hydra.sweep.dir=outputs/s") == 0, command.err
    assert "not run" not in command.out
    # 1 - t / T: two steps of two, then the last of three; and all of three.
    assert alphas(outputs / "long") == pytest.approx([1, 1 / 2, 1 / 3], abs=1e-12)
    assert alphas(outputs / "s/0") == pytest.approx([1, 2 / 3, 1 / 3], abs=1e-12)
    found = compared(outputs)
    assert [group.varied.get("lengths") for group in found.groups] == ["2, from step 2 on 3", None]
    assert not found.left_out
    # An equal one is found all the same, and the long one stays what it is in its own place.
    assert command(*fresh, "hydra.sweep.dir=outputs/t") == 0
    assert "not run: equal to outputs/s/0" in command.out
    status = command.status("outputs/long")
    assert command("resume=outputs/long", own=False) == 0
    assert command.status("outputs/long") == status


def facts_of(path: Path) -> dict[str, Any]:
    return dict(json.loads((path / "run.json").read_text()))


def rewrite(path: Path, **facts: object) -> None:
    """Other facts in a run's `run.json`; None takes one out."""
    known = {key: value for key, value in (facts_of(path) | facts).items() if value is not None}
    (path / "run.json").write_text(json.dumps(known))


@pytest.mark.faults
def test_a_run_whose_files_have_changed_is_another(command: Command) -> None:
    outputs, model = command.where / "outputs", command.where / "m.safetensors"
    one, two = (Path(word.partition("=")[2]) for word in command.small[-2:])
    grid = ["-m", "steps=1", f"model.path={model}", "schedule=linear"]
    shutil.copy(one, model)
    assert command(*grid, "seed=0,1", "hydra.sweep.dir=outputs/s") == 0, command.err
    known = facts_of(outputs / "s/0")
    assert (known["format"], known["changes"], list(known["contents"])) == (2, [], ["model.path"])
    # Equal contents under another time are the same run.
    model.touch()
    assert command(*grid, "seed=0", "skip_finished=true", "hydra.sweep.dir=outputs/t") == 0
    assert "not run: equal to outputs/s/0" in command.out
    shutil.copy(two, model)
    status = command.status("outputs/s/0")
    assert command("resume=outputs/s/0", "steps=2", own=False) == 1
    assert command.err.startswith(f"error: model.path={model}: has changed (sha256 ")
    assert command.err.count("\n") == 1
    assert command(*grid, "seed=0,1", "resume_sweep=outputs/s") == 1
    assert "since the run in outputs/s/0 began; restore it" in command.err
    assert command("allow_changed=[model.path]", "steps=1") == 1
    assert command.err.startswith("error: allow_changed=[model.path]: is only for a resumed run")
    assert (command.status("outputs/s/0"), facts_of(outputs / "s/0")) == (status, known)
    configuration(outputs / "s/0")
    assert command.capsys.readouterr().err.startswith(f"warning: model.path={model}: has changed")
    assert command(*grid, "seed=0,2", "skip_finished=true", "hydra.sweep.dir=outputs/u") == 0
    assert "not run" not in command.out
    # Seeds 0 and 1 with the one model, 0 and 2 with the other, and no seed twice.
    found = compared(outputs)
    assert [[run.seed for run in group.runs] for group in found.groups] == [[0, 1], [0, 2]]
    assert any(note.startswith("files have changed between runs") for note in found.notes)
    assert command("resume=outputs/s/0", "allow_changed=[model.path]", own=False) == 0, command.err
    (change,) = facts_of(outputs / "s/0")["changes"]
    assert (change["step"], change["setting"]) == (1, "model.path")
    assert change["before"] == known["contents"]["model.path"] != change["after"]
    # What was allowed once is not allowed for ever.
    assert command("resume=outputs/s/0", own=False) == 0
    shutil.copy(one, model)
    assert command("resume=outputs/s/0", own=False) == 1
    assert len(compared(outputs).groups) == 3


def test_a_run_without_hashes_goes_on_with_one_warning(command: Command) -> None:
    path = command.where / "one"
    assert command("steps=1", "seed=0", "hydra.run.dir=one") == 0
    rewrite(path, format=None, contents=None, changes=None, lengths=None, expressions=None)
    assert command("resume=one", "steps=2", own=False) == 0
    lines = [line for line in command.err.splitlines() if line.startswith("warning: resume=one: ")]
    assert len(lines) == 1
    assert "whether any has changed since it began is not known: model.path" in lines[0]
    assert (facts_of(path)["lengths"], facts_of(path)["format"]) == ([[0, 1], [1, 2]], 2)
    assert facts_of(path)["changes"][0]["before"] is None
    assert command("resume=one", own=False) == 0
    assert "is not known" not in command.err
    rewrite(path, format=3)
    with pytest.raises(
        ConfigError, match=r"^.*one: run\.json has format 3, of a newer chord; this"
    ):
        open_run(path)


def test_a_run_that_goes_on_with_another_version_is_of_neither(command: Command) -> None:
    path = command.where / "one"
    assert command("steps=1", "seed=0", "hydra.run.dir=one") == 0
    versions = facts_of(path)["versions"]
    rewrite(path, versions=versions | {"torch": "1.0"})
    assert command("resume=one", "steps=2", own=False) == 0
    said = f"version of torch: 1.0, now {versions['torch']}; numbers may differ"
    assert f"warning: resume=one: {said}\n" in command.err
    (change,) = facts_of(path)["changes"]
    assert (change["step"], change["setting"], change["before"]) == (1, "version of torch", "1.0")
    assert facts_of(path)["versions"] == versions
    (group,) = compared(path).groups
    assert group.runs[0].versions["torch"] == f"1.0, from step 1 on {versions['torch']}"


def test_what_decides_the_last_digits_is_among_the_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    here = versions()
    assert here["environment"] == "default"
    # Other generated problems, another scorer, another model: packages that decide numbers, too.
    for name in ("reasoning-gym", "math-verify", "transformers"):
        assert here[name] != "not installed"
        assert not equal_versions({**here, name: "0.0.1"}, here)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert versions() == {**here, "environment": "NVIDIA_TF32_OVERRIDE=1"}
    assert not equal_versions(here, versions())
    # A run from before they were recorded counts as it did.
    of_old = {name: text for name, text in here.items() if name not in (*NAMED_LATER, ENVIRONMENT)}
    assert equal_versions(of_old, here)
    assert not equal_versions({**of_old, "torch": "1.0"}, here)
    assert not equal_versions(None, here)


def test_a_run_whose_file_is_gone_counts_as_no_other(command: Command) -> None:
    (command.where / "gone.py").write_text("def score(response):\n    return 0.0\n")
    words = ["-m", "reward=function", "reward.function=gone:score", "steps=1", "seed=0"]
    with command.monkeypatch.context() as patch:
        patch.syspath_prepend(str(command.where))
        assert command(*words, "hydra.sweep.dir=outputs/s") == 0, command.err
    (command.where / "gone.py").unlink()
    assert command(*words, "skip_finished=true", "hydra.sweep.dir=outputs/t") == 1
    assert "not run" not in command.out
    assert "reward.function=gone:score: can't be imported" in command.out


def test_a_run_that_goes_on_elsewhere_is_no_run_of_one_place(command: Command) -> None:
    path = command.where / "outputs" / "one"
    typed = ["seed=0", "steps=2"]
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 2)
        assert command(*typed, "hydra.run.dir=outputs/one") == 130
    command.monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert command("resume=outputs/one", "threads=2", own=False) == 0, command.err
    (change,) = facts_of(path)["changes"]
    assert change == {"step": 1, "setting": "threads", "before": "1", "after": "2"}
    fresh = ["-m", *typed, "threads=2", "skip_finished=true"]
    assert command(*fresh, "hydra.sweep.dir=outputs/s") == 0
    assert "not run" not in command.out
    changes = [{"step": 1, "setting": "trainer.accelerator", "before": "cpu", "after": "gpu"}]
    found = flat_settings({"trainer": {"accelerator": "gpu"}}, {"changes": changes})
    assert found == {"trainer.accelerator": "cpu, from step 1 on gpu"}


@pytest.mark.faults
def test_a_file_that_changes_while_the_run_goes_on_is_said_and_put_on_record(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, model = command.where / "kept.jsonl", command.where / "m.safetensors"
    rows = [json.dumps({"problem": f"{n}+1=", "answer": str(n + 1)}) for n in range(10, 50)]
    kept.write_text("\n".join(rows) + "\n")
    shutil.copy(command.small[-2].partition("=")[2], model)
    update = ChordModule.update

    def updated(*arguments: Any) -> Any:
        if arguments[1:2] == (1,):
            kept.write_text(kept.read_text() + "\n")
            shutil.copy(command.small[-1].partition("=")[2], model)
        return update(*arguments)

    monkeypatch.setattr(ChordModule, "update", updated)
    settings = [f"evaluation.retained=[{kept}]", f"model.path={model}"]
    assert command(*settings, "hydra.run.dir=one") == 0, command.err
    assert f"warning: evaluation.retained.kept={kept}: has changed (sha256 " in command.err
    assert f"warning: model.path={model}: has changed (sha256 " in command.err
    # The model was read when the run began.
    (change,) = facts_of(command.where / "one")["changes"]
    assert (change["step"], change["setting"]) == (1, "evaluation.retained.kept")


@pytest.mark.faults
def test_a_resumed_run_is_what_it_was_in_another_environment(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = command.where / "one"
    monkeypatch.setenv("TASK", "3")
    typed = ["steps=1", "seed=${oc.env:TASK}", "+tracking.note=x", "tracking=csv"]
    assert command(*typed[:2], "hydra.run.dir=one") == 0, command.err
    first = (path / "config.yaml").read_text()
    known = facts_of(path)
    assert (known["config"]["seed"], known["expressions"]) == (3, {"seed": "${oc.env:TASK}"})
    for variable in ("7", None):
        if variable is None:
            monkeypatch.delenv("TASK")
        else:
            monkeypatch.setenv("TASK", variable)
        assert command("resume=one", own=False) == 0, command.err
        assert configuration(path).seed == 3
        assert (path / "config.yaml").read_text() == first.replace("resume: null", "resume: one")
    # A reference follows the setting that it names.
    assert open_run(path).of_length(9).checked().optimizer.total_steps == 9
    # A run of old has the call in its record, and its value in config.yaml.
    rewrite(path, format=None, expressions=None, contents=None, changes=None)
    rewrite(path, config={**known["config"], "seed": "${oc.env:TASK}"})
    # The record was edited, so it is not this user's own any more.
    assert configuration(path, trust=True).seed == 3
    assert open_run(path, trust=True).expressions == {"seed": "${oc.env:TASK}"}


def test_calls_are_frozen_and_references_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "b")
    text = {
        "steps": 3, "call": "x${oc.env:A}", "list": ["${steps}", "${oc.env:A}"],
        "deep": {"both": "${oc.env:A}${steps}", "select": "${oc.select:steps}", "none": None},
        "escaped": r"\${oc.env:A}", "default": "${oc.env:NONE,${steps}}", "group": "${deep}",
    }  # fmt: skip
    config, calls = freeze(OmegaConf.create(text))
    monkeypatch.delenv("A")
    assert list(calls) == ["call", "list[1]", "deep.both", "default"]
    assert calls["deep.both"] == "${oc.env:A}${steps}"
    config.steps = 4
    assert (config.call, config.list, config.default) == ("xb", [4, "b"], "3")
    assert config.deep == {"both": "b3", "select": 4, "none": None}
    # A name that is put together may be that of any resolver; one of a setting is a reference.
    monkeypatch.setenv("A", "b")
    named = {"how": "oc.env", "part": "env", "call": "${${how}:A}", "half": "${oc.${part}:A}",
             "of": {"oc": 1}, "setting": "${of.${word}}", "word": "oc"}  # fmt: skip
    together, calls = freeze(OmegaConf.create(named))
    assert calls == {"call": "${${how}:A}", "half": "${oc.${part}:A}"}
    monkeypatch.delenv("A")
    together.of.oc = 2
    assert (together.call, together.half, together.setting) == ("b", "b", 2)
    # What was, where that is known.
    was, _ = freeze(OmegaConf.create(text), lambda: {"call": "old", "list": [0, "o"], "default": 1,
                                                    "deep": {"both": "o"}})  # fmt: skip
    assert (was.call, was.list[1], was.deep.both) == ("old", "o", "o")


def lengthened_to(steps: int, *words: str) -> tuple[TrainConfig, TrainConfig]:
    return tuple(  # type: ignore[return-value]
        parse(compose_config(*words, f"steps={length}"), TrainConfig) for length in (4, steps)
    )


def test_what_another_length_changes_is_found_by_asking_both_for_the_same_steps() -> None:
    words = ["schedule=constant", "optimizer.lr=1e-3", "optimizer.warmup=0"]
    old, new = lengthened_to(8, *words, "optimizer.decay=cosine")
    # lr (1 + cos(pi t / T)) / 2: of 4 steps at t = 3 and at their end, of 8 at t = 4 and 7.
    three_quarters, seven_eighths = math.cos(math.pi * 3 / 4), math.cos(math.pi * 7 / 8)
    last = 1e-3 * (1 + three_quarters) / 2
    rates = [last, 0, 1e-3 / 2, last, 1e-3 * (1 + seven_eighths) / 2]
    assert altered(old, new, 4) == {"lr": pytest.approx(rates, abs=1e-15)}
    assert altered(*lengthened_to(8, *words), 4) == {}
    # alpha = 1 - .8 t / T; after 2 of the 4 steps the third has .6, and .8 of 8.
    old, new = lengthened_to(8, "schedule=linear", "optimizer.decay=constant")
    assert altered(old, new, 2) == {"alpha": pytest.approx([0.8, 0.6, 0.8, 0.4, 0.3], abs=1e-12)}
    old, new = lengthened_to(8, "schedule=step", "optimizer.decay=constant")
    assert switched(old, new) == "RL begins at step 4, no longer at step 2"
    assert list(altered(old, new, 2)) == ["alpha", "lr"]
    # RL begins with the first of the new steps: in none of them it would have been otherwise.
    phases = ["schedule=step", "optimizer.decay=constant", "optimizer.warmup=0"]
    assert altered(*lengthened_to(8, *phases), 4) == {}
    prefix = ["schedule=rl_only", "rollout=prefix_rft", "data.pairing=paired"]
    old, new = lengthened_to(8, *prefix, "optimizer.decay=constant")
    assert list(altered(old, new, 2)) == ["p_t of rollout.prefix"]
    second = ["schedule=constant", "optimizer@sft_optimizer=adamw", "sft_optimizer.decay=cosine"]
    old, new = lengthened_to(8, *second, "optimizer.decay=constant")
    assert list(altered(old, new, 2)) == ["lr of sft_optimizer"]
    values = [
        OmegaConf.to_container(
            compose_config(f"steps={n}", "evaluation.every=${steps}"), resolve=True
        )
        for n in (4, 8)
    ]
    assert list(followers(*values)) == ["evaluation.every: 4, now 8"]  # type: ignore[arg-type]


def test_what_another_length_changes_is_said_before_it_is_done(command: Command) -> None:
    constant = ["schedule=constant", "steps=1", "optimizer.decay=constant"]
    assert command(*constant, "hydra.run.dir=same") == 0
    assert command("resume=same", "steps=2", own=False) == 0
    assert "steps become" not in command.out
    decays = ["schedule=constant", "steps=1", "optimizer.decay=cosine", "optimizer.warmup=0"]
    assert command(*decays, "optimizer.lr=2e-4", "hydra.run.dir=other") == 0
    assert command("resume=other", own=False) == 0
    assert "steps become" not in command.out
    assert command("resume=other", "steps=2", own=False) == 0
    title, rest = command.out.split("1 steps become 2, after 1")[1].split("lr", 1)
    # The first step of 1 has all of lr, the second of 2 half of it.
    assert rest.split()[:4] == ["0.0002", "0.0001", "0.0002", "0.0001"]
    assert "step 1 of 2" in title
    assert "step 1 of 1" not in title
    assert command.out.index("steps become") < command.out.index("trained")
