"""How many faults are tried."""

from __future__ import annotations

import pytest
from faults import drawn, seeds, tries
from hypothesis import given
from hypothesis import strategies as st


def test_a_few_faults_are_tried_unless_all_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FAULTS", "FAULTS_SEED"):
        monkeypatch.delenv(name, raising=False)
    assert tries(few=2, full=100) == 2
    assert list(seeds(few=2, full=100)) == [0, 1]
    monkeypatch.setenv("FAULTS", "full")
    monkeypatch.setenv("FAULTS_SEED", "7")
    assert list(seeds(few=2, full=4)) == [7, 8, 9, 10]


def test_another_seed_draws_other_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAULTS", raising=False)

    def examples(seed: str) -> list[int]:
        monkeypatch.setenv("FAULTS_SEED", seed)
        found: list[int] = []

        @drawn(few=20, full=100_000)
        @given(st.integers())
        def collect(number: int) -> None:
            found.append(number)

        collect()
        assert len(found) == 20
        return found

    assert examples("") == examples("0") != examples("7") == examples("7")
