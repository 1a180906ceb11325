"""The weights of every rule at six p, by hand; a registered rule without a row fails the suite."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from pairs.reference.look import Token
from rows.weightings import PROBABILITIES, ROWS
from vectors import f64, stats_of

from chord.config.registry import SCHEMAS

VALUES = [
    pytest.param(name, rule, values, id=f"{name}-{number}")
    for name, row in ROWS.items()
    for number, (rule, values) in enumerate(row.tried)
    if values is not None
]


def test_every_rule_of_the_registry_has_a_row() -> None:
    assert ROWS.keys() == SCHEMAS["weighting"].keys(), "add a row to tests/rows/weightings.py"
    for name, schema in SCHEMAS["weighting"].items():
        assert {type(rule) for rule, _ in ROWS[name].tried} == {schema}
        assert ROWS[name].tried[0][0] == schema(), "the first rule has the defaults"
        assert any(values is not None for _, values in ROWS[name].tried), name


@pytest.mark.parametrize(("name", "rule", "expected"), VALUES)
def test_the_table_of_values(name, rule, expected):
    mask = torch.ones(1, 6, dtype=torch.bool)
    given = {"reference": f64([[0.2] * 6]).log(), "signal": f64([0.5])}
    weights = rule(stats_of(*PROBABILITIES, top_k=rule.top_k), mask, **given)
    assert weights[0].tolist() == pytest.approx(expected, rel=0, abs=1e-10)


@pytest.mark.parametrize(("name", "rule", "expected"), VALUES)
def test_the_plain_formula_has_the_same_values(name, rule, expected):
    plain = ROWS[name].plain
    if plain is None:
        return
    for p, value in zip(PROBABILITIES, expected, strict=True):
        token = Token(f64([p, 1 - p]).log(), 0)
        assert plain(asdict(rule), token) == pytest.approx(value, rel=0, abs=1e-10)
