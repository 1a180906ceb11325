"""The teacher on disk: what it keeps, what it refuses, and the command that writes it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from language_models import make_model, make_tokenizer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from steps import response_logits

from chord.cache_teacher import main
from chord.data import batch
from chord.data.batch import Pair, Problem, collate, collate_pairs, collated
from chord.data.testbed import TestbedConfig
from chord.models.hf.config import HFTeacher
from chord.models.hf.tokenizer import LanguageTokenizer
from chord.models.storage import load_policy
from chord.models.teacher_cache import TeacherCache, digests, write_cache


@pytest.fixture
def data():
    return TestbedConfig(expert_pairs=6).build()


@pytest.fixture
def teacher(small_models):
    return load_policy(small_models / "teacher.safetensors").eval()


def test_rows_are_the_teachers_own_likeliest_tokens(tmp_path, data, teacher):
    pairs, path = data.expert_pairs, tmp_path / "cache.safetensors"
    left = write_cache(path, teacher, [collate_pairs(pairs, data.tokenizer)], k=3)
    assert 0 < left["mean"] < left["largest"] < 1
    cache = TeacherCache.open(str(path))
    cache.check([collate_pairs(pairs, data.tokenizer)], data.tokenizer.vocab_size)
    # Other pairs in another order than in the file.
    some = [pairs[4], pairs[1]]
    tokens = collate_pairs(some, data.tokenizer)
    found = cache.rows(tokens, torch.float64)[tokens.mask]
    with torch.no_grad():
        probabilities = response_logits(teacher, tokens).softmax(-1).double()
    assert found.ids is not None
    torch.testing.assert_close(
        found.logprobs[:, :3].exp(), probabilities.topk(3).values, rtol=1e-5, atol=1e-8
    )
    torch.testing.assert_close(
        found.logprobs[:, 3].exp(),
        1 - probabilities.gather(-1, found.ids).sum(-1),
        rtol=1e-5,
        atol=1e-6,
    )


def test_many_pairs_are_collated_some_at_a_time(tmp_path, data, teacher, monkeypatch):
    monkeypatch.setattr(batch, "AT_ONCE", 4)
    parts = list(collated(data.expert_pairs, data.tokenizer))
    assert [len(part.mask) for part in parts] == [4, 2]
    whole = collate_pairs(data.expert_pairs, data.tokenizer)
    # Each is as wide as its own longest row.
    widths = whole.attention_mask.sum(dim=1)
    assert [part.input_ids.shape[1] for part in parts] == [
        int(widths[:4].max()),
        int(widths[4:].max()),
    ]
    paths = [tmp_path / "parts", tmp_path / "whole"]
    for path, batches in zip(paths, (parts, [whole]), strict=True):
        write_cache(path, teacher, batches, k=3)
    found, expected = map(load_file, paths)
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name])
    TeacherCache.open(str(paths[0])).check(iter(parts), data.tokenizer.vocab_size)


def test_a_cache_of_the_whole_vocabulary_leaves_nothing_out(tmp_path, data, teacher):
    pairs, path = data.expert_pairs, tmp_path / "cache.safetensors"
    left = write_cache(path, teacher, [collate_pairs(pairs, data.tokenizer)], k=1000)
    assert left == {"mean": 0.0, "largest": 0.0}
    cache = TeacherCache.open(str(path))
    assert cache.ids.shape == cache.logprobs.shape == (len(cache.ids), data.tokenizer.vocab_size)


def test_a_cache_of_other_pairs_or_another_vocabulary_is_refused(tmp_path, data, teacher):
    path = tmp_path / "cache.safetensors"
    few, all_six = (collate_pairs(data.expert_pairs[:n], data.tokenizer) for n in (4, 6))
    write_cache(path, teacher, [few], k=2)
    cache = TeacherCache.open(str(path))
    with pytest.raises(ValueError, match=r"target\.cache=.*lacks 2 of the 6 expert pairs"):
        cache.check([all_six], data.tokenizer.vocab_size)
    with pytest.raises(ValueError, match="the data has 99"):
        cache.check([few], 99)


def test_a_row_is_known_by_all_its_tokens_and_by_which_of_them_count():
    # The same last question and answer behind another turn, and with another share of the answer.
    row = ([5, 6, 7], [8, 9, 1], [True, True, True])
    others = [([5, 4, 7], *row[1:]), ([4, *row[0]], *row[1:]), (*row[:2], [False, True, True])]
    prompts, responses, written = zip(row, row, *others, strict=True)
    names = digests(collate(prompts, responses, pad_id=0, written=written))
    assert names[0] == names[1]
    assert len(set(names)) == 4
    # The longest row pads the others.
    alone = collate(prompts[:1], responses[:1], pad_id=0, written=written[:1])
    assert digests(alone) == names[:1]


def test_a_cache_under_another_system_turn_or_template_is_refused(tmp_path):
    path, pairs = tmp_path / "cache.safetensors", [Pair(Problem("2+3?", "5", key=1), "5")]
    teacher = HFTeacher(path=str(make_model(tmp_path / "teacher"))).build()
    inner = make_tokenizer()
    made = LanguageTokenizer(inner=inner, name="m", vocab_size=teacher.vocab_size)
    write_cache(path, teacher, [collate_pairs(pairs, made)], k=2)
    cache = TeacherCache.open(str(path))
    cache.check([collate_pairs(pairs, made)], made.vocab_size)
    for other in (replace(made, system="Be brief."), replace(made, chat=False)):
        with pytest.raises(ValueError, match="lacks 1 of the 1 expert pairs in this model's"):
            cache.check([collate_pairs(pairs, other)], other.vocab_size)


def test_a_cache_of_the_first_format_is_refused(tmp_path, data, teacher):
    path, tokens = tmp_path / "cache.safetensors", collate_pairs(data.expert_pairs, data.tokenizer)
    write_cache(path, teacher, [tokens], k=2)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["chord_teacher"])
    del header["format"]
    save_file(load_file(path), path, {"chord_teacher": json.dumps(header)})
    with pytest.raises(ValueError, match=r"has the format 1, .*python -m chord\.cache_teacher"):
        TeacherCache.open(str(path)).check([tokens], data.tokenizer.vocab_size)


def test_a_missing_or_foreign_file_is_said_in_one_line(tmp_path, small_models):
    for path in (tmp_path / "none", small_models / "teacher.safetensors", Path(__file__)):
        with pytest.raises(ValueError, match=r"target\.cache=.*chord\.cache_teacher") as error:
            TeacherCache.open(str(path))
        assert "\n" not in str(error.value)


def test_the_command_writes_the_file_and_says_how_to_use_it(tmp_path, small_models, capsys):
    path = tmp_path / "deep" / "cache.safetensors"
    settings = ["data.expert_pairs=5", f"teacher.path={small_models}/teacher.safetensors"]
    main(["--to", str(path), "--k", "4", *settings])
    assert len(TeacherCache.open(str(path)).spans) == 5
    out = capsys.readouterr().out
    assert "5 responses, 4 tokens per position" in out
    assert f"target=soft target.cache={path}" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k", "0"], "--k 0: must be a whole number, at least 1"),
        (["teacher=none"], "teacher=none: there is nothing to cache"),
        (["data.expert_pears=5"], "did you mean 'expert_pairs'"),
        (["teacher=tony"], "did you mean 'tiny'"),
    ],
)
def test_what_cannot_be_cached_is_said_in_one_line(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit, match="1"):
        main(["--to", str(tmp_path / "cache.safetensors"), *arguments])
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help_does_not_import_torch():
    code = (
        "import sys; from chord.cache_teacher import parser; parser().format_help();"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
