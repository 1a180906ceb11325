"""The data set: disjoint splits, streams that are functions of (seed, step), readable errors."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chord.config.consistency import overlap_report
from chord.data.tasks import MANNERS, RETAINED, part_of, worked
from chord.data.testbed import HELD_OUT_PAIRS, Testbed, TestbedConfig
from chord.errors import ConfigError


@pytest.fixture(scope="module", params=["separate", "paired"])
def testbed(request: pytest.FixtureRequest) -> Testbed:
    return TestbedConfig(pairing=request.param).build()


def test_no_problem_is_in_two_splits(testbed: Testbed) -> None:
    pairs = {pair.problem.key for pair in testbed.expert_pairs}
    rl = {problem.key for step in range(40) for problem in testbed.problems(step, 0, 50)}
    validation = {problem.key for problem in testbed.validation}
    test = {problem.key for problem in testbed.test}
    assert not (pairs | rl) & validation
    assert not (pairs | rl | validation) & test
    assert {part_of(key) for key in rl | pairs} == {"train"}
    if testbed.config.pairing == "paired":
        assert rl <= pairs
    else:
        assert not rl & pairs
        assert len(rl) > 1000


def test_no_retained_problem_is_in_two_splits(testbed: Testbed) -> None:
    splits = {split: testbed.retained(split) for split in ("validation", "test")}
    for skill in RETAINED:
        keys = [{problem.key for problem in splits[split][skill]} for split in splits]
        assert not keys[0] & keys[1]
        assert len(keys[1]) == 500


def test_sizes(testbed: Testbed) -> None:
    assert len(testbed.validation) == 500
    assert len(testbed.test) == 1000
    assert len(testbed.validation_pairs) == len(testbed.test_pairs) == HELD_OUT_PAIRS
    assert len(testbed.expert_pairs) == testbed.config.expert_pairs
    assert [pair.problem for pair in testbed.test_pairs] == testbed.test[:HELD_OUT_PAIRS]


@pytest.mark.parametrize("manner", MANNERS)
def test_the_expert_answers_in_the_manner_asked_for(manner: str) -> None:
    testbed = TestbedConfig(manner=manner, expert_pairs=4).build()
    for pair in (*testbed.expert_pairs, *testbed.held_out_pairs("test")):
        assert pair.response == MANNERS[manner](pair.problem)
        assert testbed.is_expert_style(pair.response)
    assert testbed.is_expert_style("4042") == (manner == "direct")


@pytest.mark.parametrize("sizes", [(100, 999, 11, 29), (1000, 9999, 51, 99), (100, 9999, 11, 99)])
def test_difficulty_sets_the_operands(sizes: tuple[int, int, int, int]) -> None:
    testbed = TestbedConfig(
        min_first=sizes[0], max_first=sizes[1], min_second=sizes[2], max_second=sizes[3]
    ).build()
    problems = testbed.problems(0, 0, 500) + testbed.validation + testbed.test
    operands = [
        [int(number) for number in problem.prompt.rstrip("=").split("*")] for problem in problems
    ]
    assert sizes[0] <= min(row[0] for row in operands) < 1.1 * sizes[0]
    assert 0.9 * sizes[1] < max(row[0] for row in operands) <= sizes[1]
    assert min(row[1] for row in operands) == sizes[2]
    assert max(row[1] for row in operands) == sizes[3]
    assert len({problem.key for problem in testbed.test}) == 1000
    assert len({problem.key for problem in testbed.validation}) == 500


@given(seed=st.integers(0, 99), step=st.integers(0, 10_000))
def test_streams_are_functions_of_seed_and_step(seed: int, step: int) -> None:
    first, second = TestbedConfig().build(), TestbedConfig().build()
    assert first.problems(step, seed, 24) == second.problems(step, seed, 24)
    assert first.pairs(step, seed, 32) == second.pairs(step, seed, 32)
    assert first.problems(step, seed, 24) != first.problems(step + 1, seed, 24)
    assert first.problems(step, seed, 24) != first.problems(step, seed + 1, 24)


def test_pairs_come_by_reshuffled_epochs() -> None:
    testbed = TestbedConfig(expert_pairs=100).build()
    # 25 steps of 8 are exactly two epochs of 100.
    rows = [pair.problem.key for step in range(25) for pair in testbed.pairs(step, 0, 8)]
    assert len(set(rows[:100])) == len(set(rows[100:])) == 100
    assert rows[:100] != rows[100:]


def test_rl_problems_are_drawn_with_replacement() -> None:
    testbed = TestbedConfig(pairing="paired", expert_pairs=2, expert_batch=2).build()
    assert len(testbed.problems(0, 0, 24)) == 24


def test_pairs_hold_the_worked_response(testbed: Testbed) -> None:
    for pair in testbed.expert_pairs + testbed.validation_pairs:
        assert pair.response == worked(pair.problem)
        assert testbed.is_expert_style(pair.response)
        assert testbed.tokenizer.decode(testbed.tokenizer.encode(pair.response)) == pair.response


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"min_first": 99}, r"data.min_first=99: must be within \[100, 9999\]"),
        ({"max_first": 10_000}, r"data.max_first=10000: must be within \[\d+, 9999\]"),
        (
            {"min_first": 500, "max_first": 499},
            r"data.min_first=500: must be at most data.max_first=499",
        ),
        ({"max_second": 100}, r"data.max_second=100: must be within \[\d+, 99\]"),
        ({"min_first": 9990}, r"data.max_first=9999: leaves \d+ products .* at least 8000"),
        ({"expert_pairs": -1}, r"data.expert_pairs=-1: must be within \[0, 1024\]"),
        ({"expert_batch": -1}, r"data.expert_batch=-1: must be within \[0, 1024\]"),
        ({"pairing": "both"}, "data.pairing=both: must be one of separate, paired, all"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(
    setting: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TestbedConfig(**setting)  # type: ignore[arg-type]


def test_configuration_does_not_import_torch() -> None:
    code = (
        "import sys, chord.data.testbed as t, chord.rewards as r; t.TestbedConfig().build(); "
        "r.Verifier(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_expert_problems_occur_in_no_held_out_part_and_in_the_stream_only_if_paired():
    for pairing, drawn in (("separate", 0), ("paired", 256)):
        data = TestbedConfig(pairing=pairing).build()
        assert data.overlap() == {"rl": drawn, "validation": 0, "test": 0}
        said = f"expert responses for training: 256, {drawn} of them to problems of RL"
        assert overlap_report(data) == said
    for problem in data.problems(3, 0, 20):
        assert data.pair_with(problem.key).problem == problem


def test_an_expert_problem_that_is_held_out_stops_the_run():
    data = TestbedConfig().build()
    data.test[0] = data.expert_pairs[7].problem
    with pytest.raises(ConfigError, match="data: 1 of 256 expert problems are also in test"):
        overlap_report(data)
