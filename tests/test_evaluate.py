"""What `chord.evaluate` finds of a run is saved in it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, NoReturn

import orjson
import pytest
import trusting
from conftest import SMALL, compose_config
from texts import sums, worked, write

from chord.compare.reading import read_runs
from chord.compare.saved import metrics_of, with_evaluation
from chord.config.parse import parse
from chord.config.root import EvaluateConfig, TrainConfig
from chord.errors import ConfigError
from chord.evaluate import LIMIT, evaluate_run
from chord.evaluation.report import Report
from chord.io.reading import read_json
from chord.run.alone import evaluate_alone, refuse_unchosen
from chord.run.directory import RunDirectory
from chord.run.files import read_rows, read_status
from chord.run.training import train

ROWS = sums(60)
QUICK = ("evaluation=quick", *(word for word in SMALL if word.startswith("evaluation.")))


@pytest.fixture(scope="module")
def finished(language_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run of two steps, beside its files and `new.jsonl`."""
    place = tmp_path_factory.mktemp("evaluated")
    write(place / "p.jsonl", ROWS[:40])
    write(place / "e.jsonl", worked(ROWS[:20]))
    write(place / "new.jsonl", ROWS[50:57])
    composed = compose_config(
        *SMALL, "model=hf", f"model.path={language_model}", "teacher=none", "data=jsonl",
        f"data.problems={place}/p.jsonl", f"data.expert={place}/e.jsonl",
        "data.validation=.2", "data.test=.2", "schedule=constant",
    )  # fmt: skip
    train(parse(composed, TrainConfig), RunDirectory(place / "run", composed, "run"))
    return place / "run"


def evaluated(run: Path, *words: str) -> tuple[Report, Report]:
    config = compose_config(*QUICK, *words, name="evaluate")
    return evaluate_run(run, parse(config, EvaluateConfig))


def saved(run: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: read_json(path) for path in (run / "evaluations").glob("*.json")}


def test_scores_and_responses_are_saved(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, trained = evaluated(finished)
    (name,) = saved(finished)
    assert f"saved: {finished}/evaluations/{name}.json\n" in capsys.readouterr().out
    found = saved(finished)[name]
    assert name.startswith("test-2-")
    known = {key: value for key, value in trained.metrics.items() if math.isfinite(value)}
    assert known.items() <= found["trained"].items()
    assert found["base"]["target_accuracy"] == base.metrics["target_accuracy"]
    assert found["fingerprint"] == read_status(finished)["fingerprint"]
    assert found["evaluation"]["test_problems"] == 4
    rows = read_rows(finished / "evaluations" / f"{name}.jsonl")
    assert [row["trained"] for row in rows] == [answer.text for answer in trained.answers]
    assert [row["base_score"] for row in rows] == [answer.score for answer in base.answers]
    gained = [row["trained_score"] - row["base_score"] for row in rows]
    assert found["gain"]["mean"] == pytest.approx(sum(gained) / len(gained))
    # The same settings again replace it, and others do not.
    evaluated(finished)
    assert f"{name}.json (in place of an earlier one with the same" in capsys.readouterr().out
    assert saved(finished).keys() == {name}
    evaluated(finished, "split=val")
    assert len(saved(finished)) == 2


def test_a_file_takes_the_place_of_the_test_split(finished: Path) -> None:
    new = finished.parent / "new.jsonl"
    _, trained = evaluated(finished, f"problems={new}", "evaluation.test_problems=9")
    assert {answer.problem.prompt for answer in trained.answers} == {
        row["problem"] for row in ROWS[50:57]
    }
    (found,) = [each for each in saved(finished).values() if each["problems"] is not None]
    assert found["problems_content"]["bytes"] == new.stat().st_size
    assert any(name.startswith("new-2-") for name in saved(finished))
    before = len(saved(finished))
    new.write_bytes(new.read_bytes() + orjson.dumps(ROWS[58]) + b"\n")
    evaluated(finished, f"problems={new}", "evaluation.test_problems=9")
    assert len(saved(finished)) == before + 1


def test_what_a_file_repeats_is_counted_and_what_was_trained_on_is_said(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "repeats.jsonl"
    more = "evaluation.test_problems=60"
    write(file, [*ROWS[50:54], ROWS[50], {**ROWS[51], "answer": 77}])
    _, trained = evaluated(finished, f"problems={file}", more)
    assert len(trained.answers) == 4
    said = capsys.readouterr().out
    assert (
        f"problems={file}: 6 rows, 4 problems "
        "(2 rows repeat others and are left out, 1 with another answer)\n"
    ) in said
    assert "trained on" not in said
    # All of the run's own problems: those that it held out are not among what it was trained on.
    write(file, ROWS[:40])
    _, trained = evaluated(finished, f"problems={file}", more)
    assert len(trained.answers) == 40
    found = re.search(r"trained on (\d+) of its 40 problems, so", capsys.readouterr().out)
    assert found is not None
    assert 20 <= int(found[1]) <= 32


def test_a_file_is_evaluated_when_those_held_out_in_training_are_gone(
    finished: Path, language_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    composed = compose_config(
        *SMALL, "model=hf", f"model.path={language_model}", "teacher=none", "data=jsonl",
        f"data.problems={finished.parent}/p.jsonl", "schedule=rl_only",
        f"data.validation={tmp_path}/gone.jsonl", f"data.test={tmp_path}/t.jsonl",
    )  # fmt: skip
    write(tmp_path / "t.jsonl", ROWS[:5])
    write(tmp_path / "gone.jsonl", ROWS[5:10])
    train(parse(composed, TrainConfig), RunDirectory(tmp_path / "run", composed, "run"))
    (tmp_path / "gone.jsonl").unlink()
    write(tmp_path / "new.jsonl", ROWS[:12])
    capsys.readouterr()
    evaluated(tmp_path / "run", f"problems={tmp_path}/new.jsonl")
    said = capsys.readouterr().out
    assert f"warning: data.validation={tmp_path}/gone.jsonl: no such file, so problems that" in said
    # 5 of data.test are not trained on; of the others it is not known any more.
    assert "trained on 7 of its 12 problems" in said
    (tmp_path / "t.jsonl").unlink()
    evaluated(tmp_path / "run", f"problems={tmp_path}/new.jsonl")
    assert "trained on 12 of its 12 problems" in capsys.readouterr().out
    # Its own test split is another matter.
    with pytest.raises(ConfigError, match=r"^data\.(test|validation)=.*: no such file"):
        evaluated(tmp_path / "run")


def test_what_is_too_long_is_refused_with_what_can_be_typed_here(
    finished: Path, language_model: Path
) -> None:
    new = finished.parent / "long.jsonl"
    write(new, [{"problem": "1+1?" * 2000, "answer": 2}])
    with pytest.raises(ConfigError, match=rf"^{LIMIT}=\d+: 1 of 1 .*; give a smaller limit, or a "):
        evaluated(finished, f"problems={new}")
    words = ["model=hf", f"model.path={language_model}"]
    config = parse(compose_config(*QUICK, f"problems={new}", name="evaluate"), EvaluateConfig)
    with pytest.raises(ConfigError, match=r"^problems=.*: 1 of 1 .*; data=jsonl data.overlong=dro"):
        evaluate_alone(config, words)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (None, "problems=FILE: no such file"),
        ({"problem": "1+1?"}, r"new\.jsonl line 1: .* answer is missing"),
        ({"question": 1}, r"new\.jsonl line 1: field problem or messages is missing"),
        ({"problem": "1+1?", "answer": ""}, r"new\.jsonl line 1: "),
    ],
)
def test_a_file_that_can_not_be_asked_is_refused(
    finished: Path, tmp_path: Path, row: dict[str, Any] | None, said: str
) -> None:
    file = tmp_path / "new.jsonl"
    if row is not None:
        write(file, [row])
    with pytest.raises(ConfigError, match=f"^{said.replace('FILE', re.escape(str(file)))}"):
        evaluated(finished, f"problems={file}")


def test_what_can_not_be_saved_is_still_shown(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("chord.run.evaluated.write_atomically", full)
    evaluated(finished, "split=val")
    said = capsys.readouterr().out
    assert "target: greedy accuracy" in said
    assert f"warning: the evaluation can't be saved in {finished}: [Errno 28] No space" in said


def test_nothing_is_written_through_a_link(tmp_path: Path, small_models: Path) -> None:
    config = compose_config(*SMALL, f"model.path={small_models}/base.safetensors", "teacher=none")
    trusting.begun(RunDirectory(tmp_path / "run", config, "run"))
    (tmp_path / "outside").mkdir()
    (tmp_path / "run" / "evaluations").symlink_to("../outside")
    with pytest.raises(ConfigError, match=r"run: evaluations in it is a symbolic link, through"):
        evaluated(tmp_path / "run")


def test_a_file_needs_a_run_on_files(tmp_path: Path, small_models: Path) -> None:
    config = compose_config(*SMALL, f"model.path={small_models}/base.safetensors", "teacher=none")
    trusting.begun(RunDirectory(tmp_path, config, "run"))
    with pytest.raises(ConfigError, match=r"^problems=f\.jsonl: the run's own problems are not"):
        evaluated(tmp_path, "problems=f.jsonl")
    with pytest.raises(ValueError, match=r"problems=f\.jsonl: takes the place of the test split"):
        evaluated(tmp_path, "problems=f.jsonl", "split=val")


def test_samples_and_their_temperature_are_chosen(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, trained = evaluated(finished, "split=val", "samples=2", "temperature=0.5")
    assert len(trained.sampled) == 2 * len(trained.answers)
    assert "target_mean2" in trained.metrics
    assert "target_mean4" not in trained.metrics
    assert "target: mean@2 at temperature 0.5" in " ".join(capsys.readouterr().out.split())
    _, hotter = evaluated(finished, "split=val", "samples=2", "temperature=2")
    assert [each.text for each in hotter.answers] == [each.text for each in trained.answers]
    assert [each.text for each in hotter.sampled] != [each.text for each in trained.sampled]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("samples=0", "samples=0: must be at least 1"),
        ("temperature=0", "temperature=0.0: must be a number above 0; the accuracies are greedy"),
        ("temperature=nan", "temperature=nan: must be a number above 0"),
    ],
)
def test_samples_that_can_not_be_taken_are_refused(word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        parse(compose_config(word, name="evaluate"), EvaluateConfig)


def test_sampled_responses_their_intervals_and_the_model_are_saved(
    finished: Path, tmp_path: Path
) -> None:
    _, trained = evaluated(finished, "samples=3", f"to={tmp_path / 'there'}")
    (path,) = (tmp_path / "there").glob("*.json")
    found, rows = read_json(path), read_rows(path.with_suffix(".jsonl"))
    texts = [each["text"] for row in rows for each in row["trained_samples"]]
    assert texts == [each.text for each in trained.sampled]
    ended = [each["finished"] for row in rows for each in row["trained_samples"]]
    assert ended == [not each.cut_off for each in trained.sampled]
    for name in ("target_accuracy", "rl_reward"):
        interval = found["intervals"]["trained"][name]
        assert interval["mean"] == pytest.approx(found["trained"][name])
        assert interval["n"] == len(rows)
    assert found["model"]["path"] == str(finished / "model")
    assert found["reward"]["option"] == "auto"


def test_the_problems_decide_their_digest(finished: Path, tmp_path: Path) -> None:
    new = tmp_path / "one.jsonl"
    write(new, ROWS[50:53])
    write(tmp_path / "same.jsonl", ROWS[50:53])
    write(tmp_path / "other.jsonl", ROWS[51:54])
    found = []
    for name in ("one", "same", "other"):
        evaluated(finished, f"problems={tmp_path}/{name}.jsonl", f"to={tmp_path}/{name}")
        (path,) = (tmp_path / name).glob("*.json")
        found.append(read_json(path)["asked"])
    assert found[0] == found[1] != found[2]


def test_a_run_that_can_not_be_written_is_told_before_and_to_is_checked(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise ConfigError("no permission")

    with pytest.raises(ConfigError, match=r"^to=.*lies inside the run directory"):
        evaluated(finished, f"to={finished}/mine")
    monkeypatch.setattr("chord.evaluate.refuse_unwritable", refused)
    evaluated(finished, "split=val")
    out = capsys.readouterr().out
    said = f"warning: {finished}/evaluations can't be written, so the evaluation is only printed; "
    assert said + "to=DIR saves it elsewhere" in out
    assert out.index(said) < out.index("greedy accuracy")


def test_what_is_saved_can_be_compared(finished: Path) -> None:
    new = finished.parent / "compared.jsonl"
    write(new, ROWS[50:53])
    _, trained = evaluated(finished, f"problems={new}")
    (run,), left_out = with_evaluation(read_runs([finished])[0], "compared")
    assert left_out == []
    accuracy = trained.metrics["target_accuracy"]
    assert run.final["compared/target_accuracy"] == pytest.approx(accuracy)
    assert metrics_of([run])[:2] == ["compared/target_accuracy", "compared/target_mean4"]


def test_responses_may_be_as_long_as_in_the_run_unless_a_limit_is_typed(
    finished: Path, tmp_path: Path
) -> None:
    limits = []
    for number, typed in enumerate(([], [LIMIT])):
        config = parse(
            compose_config(*QUICK, f"{LIMIT}=3", f"to={tmp_path}/{number}", name="evaluate"),
            EvaluateConfig,
        )
        evaluate_run(finished, config, typed)
        (path,) = (tmp_path / str(number)).glob("*.json")
        limits.append(read_json(path)["evaluation"]["max_new_tokens"])
    own = read_json(finished / "run.json")["config"]["evaluation"]["max_new_tokens"]
    assert own != 3
    assert limits == [own, 3]


def alone(words: list[str], *more: str) -> Report:
    config = parse(compose_config(*QUICK, *more, name="evaluate"), EvaluateConfig)
    return evaluate_alone(config, refuse_unchosen(words))


def test_that_nothing_is_saved_is_said_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def started(*given: object) -> NoReturn:
        raise ConfigError("started")

    monkeypatch.setattr("chord.run.build.open_data", started)
    for more, said in (((), True), ((f"to={tmp_path}/to",), False)):
        with pytest.raises(ConfigError, match="started"):
            alone(["model=tiny", "data=testbed"], *more)
        assert ("only printed; to=DIR saves it\n" in capsys.readouterr().out) == said


def test_a_model_without_a_run_is_evaluated_on_any_file(
    finished: Path, language_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = finished.parent / "alone.jsonl"
    write(file, ROWS[50:57])
    words = ["model=hf", f"model.path={language_model}"]
    more = (f"problems={file}", "evaluation.test_problems=9", "samples=2", "temperature=0.5")
    report = alone(words, *more, f"to={tmp_path}/to")
    assert {answer.problem.prompt for answer in report.answers} == {
        row["problem"] for row in ROWS[50:57]
    }
    assert len(report.sampled) == 14
    said = capsys.readouterr().out
    assert "target: mean@2 at temperature 0.5" in said
    (path,) = (tmp_path / "to").glob("*.json")
    assert f"saved: {path}\n" in said
    found = read_json(path)
    assert found["model"]["path"] == str(language_model)
    assert found["reward"]["option"] == "auto"
    assert "trained" not in found
    assert found["base"]["target_accuracy"] == report.metrics["target_accuracy"]
    # A run of this model finds the same of its base; another model is saved beside it.
    base, _ = evaluated(finished, *more, f"to={tmp_path}/run")
    assert [each.text for each in base.answers] == [each.text for each in report.answers]
    (of_run,) = (tmp_path / "run").glob("*.json")
    assert read_json(of_run)["asked"] == found["asked"]
    alone(["model=hf", f"model.path={finished}/model"], *more, f"to={tmp_path}/to")
    assert len(list((tmp_path / "to").glob("*.json"))) == 2


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        (["model=tiny"], [], "model=tiny: needs problems=FILE, or data=OPTION with its own test"),
        (
            ["reward=math"],
            ["problems=f"],
            "reward=math: needs model=OPTION; without one, a ru",
        ),
        (
            ["model=tiny"],
            ["problems=f", "run=x"],
            "run=x: is of a run, and model=tiny of none; g",
        ),
        (
            ["model=tiny"],
            ["problems=f", "checkpoint=3"],
            "checkpoint=3: is of a run, and model=t",
        ),
        (
            ["model=tiny", "data=sums"],
            ["problems=f"],
            "problems=f: is read as data=jsonl; leave out",
        ),
        (
            ["model.path=x"],
            ["problems=f"],
            "model.path=x: is for the evaluation of a model with",
        ),
    ],
)
def test_what_is_missing_or_too_much_without_a_run_is_said(
    words: list[str], more: list[str], said: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        alone(words, *more)
    assert str(raised.value).startswith(said)
