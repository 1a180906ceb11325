"""Every pair of options meets: in two steps that equal a plain reference, or in a refusal.

The configurations are a covering array over the factors of `pairs.factors`, which are read off
`conf/`. Those of `make test` are its first rows, `make test-all` takes all of them.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from conftest import compose_config
from pairs import running
from pairs.activity import meets
from pairs.bed import make_models
from pairs.compare import differences
from pairs.composing import checked, compose, composed_of, overrides
from pairs.covering import Array, all_pairs
from pairs.factors import FACTORS, FIXED, FORMULAS, PLAIN, Row, has_formula, options
from pairs.refusals import REFUSALS, refused_by

import chord.config.consistency
from chord.config.registry import SCHEMAS
from chord.errors import ConfigError

DOCS = Path(__file__).parent.parent / "docs"
FEW = 24
PARTS = 12
"""Of the whole array, so that its tests show how far they are and run side by side."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models(tmp_path_factory.mktemp("models"))


@cache
def first_rows() -> list[Row]:
    return Array(FACTORS, REFUSALS, limit=FEW).rows


@cache
def whole_array() -> Array:
    return Array(FACTORS, REFUSALS)


def differing(rows: list[tuple[int, Row]], models: Path, where: Path) -> dict[str, list[str]]:
    """The configurations that are not equal to their reference, with the first differences."""

    def work(job: tuple[int, Row]) -> list[str]:
        number, row = job
        composed = compose(row, models, seed=number)
        return differences(composed, checked(composed), where / str(number))

    alone = [(number, row) for number, row in rows if row["ranks"] == "1"]
    both = [(number, row) for number, row in rows if row["ranks"] != "1"]
    found = [(job, work(job)) for job in alone]
    if both:
        found += zip(both, running.on_two_ranks(work, both), strict=True)
    return {
        f"{number}: {' '.join(overrides(row, models, seed=number))}": wrong[:6]
        for (number, row), wrong in found
        if wrong
    }


def test_some_configurations_equal_their_reference(models: Path, tmp_path: Path) -> None:
    assert differing(list(enumerate(first_rows())), models, tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_configuration_equals_its_reference(models: Path, tmp_path: Path, part: int) -> None:
    rows = list(enumerate(whole_array().rows))[part::PARTS]
    assert differing(rows, models, tmp_path) == {}


@pytest.mark.slow
def test_all_pairs_meet_but_those_that_are_refused() -> None:
    array = whole_array()
    met = {
        pair
        for row in array.rows
        for pair in combinations(row.items(), 2)
        if pair in array.idle or meets(row, pair[0][0], pair[1][0])
    }
    assert not [row for row in array.rows if refused_by(row)]
    assert set(all_pairs(FACTORS)) - met == set(array.impossible)


@pytest.mark.slow
def test_a_pair_that_no_run_can_hold_is_refused_for_itself(models: Path) -> None:
    for one, other in whole_array().impossible:
        row = PLAIN | dict([one, other])
        with pytest.raises(ConfigError) as caught:
            checked(compose(row, models))
        # Where no refusal reads both, each of the two refuses what the other needs.
        either = [each for each in refused_by(row) if {one[0], other[0]} & {*each.reads}]
        both = [each for each in either if {one[0], other[0]} <= {*each.reads}]
        reasons = both or either
        assert any(re.match(each.says, str(caught.value)) for each in reasons), (one, other)


def test_an_array_is_small_and_complete() -> None:
    # Three factors of 3, 3 and 2 levels, of which one pair is refused: 9 rows hold all others.
    names = ("temperature", "target", "ranks")
    factors = {name: list(FACTORS[name]) for name in names}
    factors["target"] = ["tokens", "reverse_kl", "soft"]
    refusals = [each for each in REFUSALS if each.reads == ("target", "temperature")]
    array = Array(factors, refusals, activity={})
    refused = (("temperature", ".7"), ("target", "reverse_kl"))
    met = {pair for row in array.rows for pair in combinations(row.items(), 2)}
    assert met == set(all_pairs(factors)) - {refused}
    assert array.impossible == [refused]
    assert len(array.rows) <= 8
    assert array.rows == Array(factors, refusals, activity={}).rows


def test_nothing_refuses_the_plain_configuration(models: Path) -> None:
    assert refused_by(PLAIN) == []
    checked(compose(PLAIN, models))


@pytest.mark.parametrize("number", range(2))
def test_pieces_compose_as_hydra_does(models: Path, number: int) -> None:
    row = first_rows()[number]
    words = overrides(row, models, seed=number)
    assert compose(row, models, seed=number) == compose_config(*words)


def typed() -> set[str]:
    """The settings and groups that some level types."""
    words = [word for levels in FACTORS.values() for level in levels.values() for word in level]
    return {word.partition("=")[0] for word in words}


def test_every_option_of_every_group_is_a_level_or_has_a_reason() -> None:
    words = {word for each in FACTORS.values() for level in each.values() for word in level}
    groups = {name.partition("@")[0] for name in typed()} & SCHEMAS.keys()
    for group in SCHEMAS:
        for option in options(group):
            known = f"{group}={option}" in words or f"{group}={option}" in FIXED
            known = known or not has_formula(group, option)
            assert known or (group not in groups and group in FIXED), f"{group}={option}"


@pytest.mark.parametrize("group", FORMULAS)
def test_the_reference_has_a_formula_for_every_option(group: str) -> None:
    if without := [option for option in options(group) if not has_formula(group, option)]:
        pytest.skip(f"{group}={','.join(without)} is in no pair: tests/pairs/reference")


def choices() -> Iterator[str]:
    """Every setting, of the groups that have factors, that is no number."""
    groups = {name.partition("@")[0] for name in typed()} & SCHEMAS.keys()
    for group in groups - {"reward", "teacher"}:
        for schema in SCHEMAS[group].values():
            for each in fields(schema):
                kind = get_type_hints(schema)[each.name]
                if not {kind, *get_args(kind)} & {int, float}:
                    yield f"{group}.{each.name}"


def test_every_setting_that_chooses_is_varied_or_has_a_reason() -> None:
    varied = {name for name in typed() if "." in name}
    varied |= {name.rpartition(".")[0] for name in varied}
    assert {name for name in choices() if name not in varied and name not in FIXED} == set()


# The table of refusals


def table() -> list[tuple[str, str]]:
    """What is typed and how the sentence begins, row by row of the page."""
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", (DOCS / "refusals.md").read_text(), re.M)
    assert len(rows) > 40
    return [(typed.replace("\\|", "|"), sentence) for typed, sentence in rows]


def refusal(words: str, models: Path) -> Exception:
    """How a configuration is refused, composed of pieces."""
    with pytest.raises(ConfigError) as caught:
        checked(composed_of(words.split()))
    return caught.value


@pytest.mark.parametrize(("words", "sentence"), table())
def test_each_row_of_the_table_is_refused_with_its_sentence(
    models: Path, words: str, sentence: str
) -> None:
    assert str(refusal(words, models)).startswith(sentence)


@pytest.mark.slow
@pytest.mark.parametrize(("words", "sentence"), table())
def test_so_it_is_as_hydra_composes_it(words: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(compose_config(*words.split()))
    assert str(caught.value).startswith(sentence)


def test_each_refusal_of_the_array_is_in_the_table() -> None:
    sentences = [sentence for _, sentence in table()]
    for each in REFUSALS:
        assert any(re.match(each.says, sentence) for sentence in sentences), each.name


def test_each_refusal_of_the_checks_is_in_the_table(models: Path) -> None:
    # Those that need the data or the machine are below the table.
    elsewhere = ("check_experts", "check_validation", "check_answers_known", "overlap_report")
    source = inspect.getsource(chord.config.consistency)
    raises = {
        node.lineno
        for function in ast.parse(source).body
        if isinstance(function, ast.FunctionDef) and function.name not in elsewhere
        for node in ast.walk(function)
        if isinstance(node, ast.Raise)
    }
    seen = set()
    for words, _ in table():
        error: BaseException | None = refusal(words, models)
        while error is not None:
            frame = error.__traceback__
            while frame is not None:
                if frame.tb_frame.f_code.co_filename == chord.config.consistency.__file__:
                    seen.add(frame.tb_lineno)
                frame = frame.tb_next
            error = error.__cause__
    assert raises - seen == set()
