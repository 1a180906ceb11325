"""What the files that a run's settings name hold: hashes that are never stale, and their record."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from compare_runs import make_run
from conftest import compose_config

from chord.compare.grouping import compare
from chord.config.parse import parse
from chord.config.plugins import register
from chord.config.root import TrainConfig
from chord.config.schemas import schema_names
from chord.errors import ConfigError
from chord.io import hashes
from chord.io.hashes import SETTLED, file_hash, hash_of
from chord.rewards import Function, Numeric, Weighted
from chord.run.identity.contents import (
    content_of,
    contents,
    hub_revision,
    read_from_hub,
    refuse_changed,
)
from chord.run.identity.histories import changes_at, histories
from chord.schedules import Linear
from chord.weightings import Uniform

EMPTY = hashlib.sha256(b"").hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read for their hash; all of them are large."""
    found: list[Path] = []
    read = hashes._read
    monkeypatch.setattr(hashes, "_read", lambda path: (found.append(path), read(path))[1])
    monkeypatch.setattr(hashes, "LARGE", 0)
    monkeypatch.setenv("CHORD_CACHE", str(tmp_path / "cache"))
    return found


def age(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be long after the file's last change."""
    later = path.stat().st_ctime_ns + 2 * SETTLED
    monkeypatch.setattr(time, "time_ns", lambda: later)


def test_a_large_file_is_read_once_and_again_after_any_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    # Just written, it may change again without a later time: it is read each time.
    assert [file_hash(path) for _ in range(2)] == [sha256(b"one")] * 2
    assert len(reads) == 2
    age(path, monkeypatch)
    assert [file_hash(path) for _ in range(3)] == [sha256(b"one")] * 3
    assert len(reads) == 3
    # Of the same size, and with the time of modification set back.
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    time.sleep(0.02)  # past the clock's tick of a local disk
    path.write_bytes(b"two")
    os.utime(path, ns=times)
    assert file_hash(path) == sha256(b"two")
    other = tmp_path / "g"
    other.write_bytes(b"abc")
    other.replace(path)
    assert file_hash(path) == sha256(b"abc")


def test_a_file_that_may_have_changed_within_the_reading_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    read = hashes._read

    def slow(path: Path) -> str:
        digest = read(path)
        age(path, monkeypatch)
        return digest

    monkeypatch.setattr(hashes, "_read", slow)
    assert [file_hash(path) for _ in range(3)] == [sha256(b"one")] * 3
    assert len(reads) == 2


def test_a_damaged_entry_and_a_cache_that_cannot_be_written_cost_a_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    age(path, monkeypatch)
    file_hash(path)
    (entry,) = (tmp_path / "cache" / "hashes").iterdir()
    for damage in ("", "[]", "{", '{"stamp": 1}', "\xff"):
        entry.write_text(damage)
        assert file_hash(path) == sha256(b"one")
    (tmp_path / "file").touch()
    monkeypatch.setenv("CHORD_CACHE", str(tmp_path / "file"))
    assert file_hash(path) == sha256(b"one")


def test_writers_at_the_same_time_leave_whole_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    age(path, monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(file_hash, [path] * 64)) == {sha256(b"one")}
    (entry,) = (tmp_path / "cache" / "hashes").iterdir()
    assert json.loads(entry.read_text())["sha256"] == sha256(b"one")


def test_the_hash_of_a_directory_is_of_its_files_and_their_names(tmp_path: Path) -> None:
    place = tmp_path / "model"
    (place / "a").mkdir(parents=True)
    (place / "a" / "x").write_bytes(b"")
    (place / "b").write_bytes(b"12")
    text = f"{EMPTY}  a/x\n{sha256(b'12')}  b\n"
    first = (sha256(text.encode()), 2)
    assert hash_of(place) == first
    # What is hidden, and what Python leaves, is no part of it.
    for name in (".git", "__pycache__"):
        (place / name).mkdir()
        (place / name / "x").touch()
    os.mkfifo(place / "pipe")
    assert hash_of(place) == first
    with pytest.raises(OSError, match="pipe is not a regular file"):
        hash_of(place / "pipe")
    (place / "b").rename(place / "c")
    assert hash_of(place)[0] != first[0]


def test_every_setting_that_names_a_file_has_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    files = ["p.jsonl", "e.jsonl", "t.jsonl", "kept.jsonl", "c.safetensors", "teacher/config.json"]
    files += ["model/config.json", "mine/__init__.py", "mine/judge.py"]
    for number, name in enumerate(files):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("x" * number)
    Path("mine/__init__.py").write_text("raise SystemExit('imported')")
    words = ["data=jsonl", "data.problems=p.jsonl", "data.expert=e.jsonl", "data.test=t.jsonl"]
    words += ["target=soft", "target.cache=c.safetensors", "model=hf", "model.path=model"]
    words += ["evaluation.retained=[chain_sum,kept.jsonl]", "weighting=adaptive"]
    words += ["teacher=hf", "teacher.path=teacher"]
    words += ["reward=function", "reward.function=mine.judge:score"]
    cfg = compose_config(*words)
    found = contents(parse(cfg, TrainConfig), schema_names(cfg))
    # Each has been read, once.
    assert read_from_hub(parse(cfg, TrainConfig), found) == {}
    names = {"data.problems": 0, "data.expert": 1, "data.test": 2, "evaluation.retained.kept": 3}
    # The 8 bytes of judge.py, and the 28 of the package's own file, which is run before.
    names |= {"target.cache": 4, "teacher.path": 5, "model.path": 6, "reward.function": 36}
    assert {name: content["bytes"] for name, content in found.items()} == names
    assert found["data.expert"] == {"path": "e.jsonl", "sha256": sha256(b"x"), "bytes": 1}
    # What nothing reads makes no run another one.
    unread = compose_config(*words, "weighting=uniform")
    assert "teacher.path" not in contents(parse(unread, TrainConfig), {})
    shipped = contents(parse(compose_config("experiment=chord_mu"), TrainConfig), {})
    assert list(shipped) == ["model.path"]
    own = Function(function="mine.judge:score")
    parts = Weighted(
        parts={"own": own, "exact": Numeric()}, weights={"own": 1, "exact": 1}, score="own"
    )
    assert parts.files() == {"reward.parts.own.function": str(tmp_path / "mine/judge.py")}
    assert Function(function="mine.none:score").files() == {}
    assert "mine" not in sys.modules


@dataclass(kw_only=True)
class OwnSchedule(Linear):
    pass


@dataclass(kw_only=True)
class OwnWeighting(Uniform):
    pass


@dataclass(kw_only=True)
class OwnReward(Numeric):
    def files(self) -> dict[str, str]:
        return {"reward.words": __file__}


def test_the_packages_of_plugins_in_use_have_theirs(registry: None) -> None:
    for group, schema in (
        ("schedule", OwnSchedule), ("weighting", OwnWeighting), ("reward", OwnReward)
    ):  # fmt: skip
        register(group, "own_contents", schema)
    config, own = parse(compose_config(), TrainConfig), sha256(Path(__file__).read_bytes())
    for setting in ("schedule", "off_policy", "reward.parts.own"):
        found = contents(config, {setting: "own_contents"})
        assert found[f"plugin {__name__}"]["sha256"] == own
    assert list(contents(config, {"schedule": "linear"})) == ["model.path"]
    # A file of a plugin's own option.
    assert contents(replace(config, reward=OwnReward()), {})["reward.words"]["sha256"] == own


def test_what_nobody_would_load_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").touch()
    for path in ("/dev/zero", str(tmp_path / "pipe"), str(tmp_path), str(tmp_path / "none")):
        assert content_of(path) is None
    (tmp_path / "state.json").touch()
    for path in (str(tmp_path), f"{tmp_path}:train"):
        assert content_of(path) is not None


def test_of_an_id_on_a_hub_the_revision_in_the_cache_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("models--me--small", "datasets--me--rows"):
        (tmp_path / name / "refs").mkdir(parents=True)
        (tmp_path / name / "refs" / "main").write_text("a" * 40)
    assert hub_revision("me/small") == hub_revision("hub://me/rows/default:train") == "a" * 40
    assert hub_revision("me/small@" + "b" * 40) == "b" * 40
    assert hub_revision("me/other") is hub_revision("me/small@v2") is hub_revision("/x") is None


def test_a_change_is_refused_unless_it_is_allowed_by_name() -> None:
    known = {"data.problems": {"path": "p", "sha256": "a" * 64, "bytes": 1200}}
    now = {"data.problems": {"path": "p", "sha256": "b" * 64, "bytes": 1201}}
    refuse_changed(known, dict(known), [], since="x")
    refuse_changed(known, now, ["data.problems"], since="x")
    refuse_changed({}, now, [], since="x")
    with pytest.raises(ConfigError) as refused:
        refuse_changed(known, now, [], since="the run began")
    assert str(refused.value) == (
        "data.problems=p: has changed (sha256 aaaaaaaaaaaa, 1,200 bytes; now sha256 bbbbbbbbbbbb, "
        "1,201 bytes) since the run began; restore it, or give "
        "allow_changed=[data.problems] to go on with it as it is now, which is recorded"
    )
    revisions = ({"model.path": {"path": "me/x", "revision": each * 40}} for each in "ab")
    with pytest.raises(ConfigError, match=r"^model\.path=me/x: has changed \(revision a{12}; now"):
        refuse_changed(*revisions, [], since="x")
    others = {"data.test": known["data.problems"]}
    with pytest.raises(ConfigError, match=r"^data\.problems=p: has changed"):
        refuse_changed(known | others, now | others, ["data.test"], since="x")
    with pytest.raises(ConfigError, match=r"^allow_changed=\[data\.problem\]: this .* mean"):
        refuse_changed(known, now, ["data.problem"], since="x")


def test_the_changes_of_a_run_are_those_under_which_it_took_steps() -> None:
    one, two, three = ({"p": {"path": "p", "sha256": x * 64, "bytes": 1}} for x in "abc")
    assert changes_at([], {}, one, 0) == []
    assert changes_at([], one, one, 5) == []
    changes = changes_at([], one, two, 5)
    assert changes == [{"step": 5, "setting": "p", "before": one["p"], "after": two["p"]}]
    assert histories(two, changes) == {"p": "a" * 12 + ", from step 5 on " + "b" * 12}
    # Killed before a step was taken with it, and changed once more, or back.
    again = changes_at(changes, two, three, 5)
    assert again == [{"step": 5, "setting": "p", "before": one["p"], "after": three["p"]}]
    assert changes_at(changes, two, one, 5) == []
    twice = changes_at(changes, two, three, 9)
    assert len(twice) == 2
    # Taken back to where neither was: what was there before the first counts.
    assert changes_at(twice, three, three, 5) == again
    # A run of old that goes on: what it began with stays unknown.
    unknown = changes_at([], {}, one, 5)
    assert histories(one, unknown) == {"p": None}
    for nonsense in (None, 3, [3], "x", {"p": 3}, {"p": {"sha256": 3}}):
        assert histories(nonsense, nonsense) in ({}, {"p": None})


def test_runs_of_other_contents_are_groups_of_their_own_and_the_reason_is_said() -> None:
    runs = [
        make_run(seed=seed, accuracy=0.1 * seed, settings={"data.problems": "p.jsonl"},
                 contents={"data.problems": text}, overrides=["data.problems=p.jsonl"])
        for seed, text in enumerate(["aa", "aa", "bb"])
    ]  # fmt: skip
    found = compare(runs)
    assert [[run.seed for run in group.runs] for group in found.groups] == [[0, 1], [2]]
    assert [group.varied["contents of data.problems"] for group in found.groups] == ["aa", "bb"]
    reason = "files have changed between runs, which are therefore in different groups: "
    assert f"{reason}data.problems=p.jsonl: aa (2), bb (1)" in found.notes
    # A run of old may have read either: it is of no group that it would have to choose.
    old = make_run(seed=3, settings={"data.problems": "p.jsonl"})
    assert [len(group.runs) for group in compare([*runs, old]).groups] == [2, 1, 1]
    found = compare([*runs[:2], old])
    assert [[run.seed for run in group.runs] for group in found.groups] == [[0, 1, 3]]
    assert any(note.startswith("1 of 3 runs have no hashes of their files") for note in found.notes)


def test_a_run_that_reads_no_teacher_lacks_no_hash() -> None:
    base, teacher = {"model.path": "aa"}, {"teacher.path": "bb"}
    runs = [make_run(seed=seed, contents=base | (teacher if seed else {})) for seed in range(2)]
    assert not [note for note in compare(runs).notes if "no hashes" in note]
