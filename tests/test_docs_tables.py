"""The lists that `make docs-tables` writes are up to date, and it writes what is missing."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from types import ModuleType

import pytest
from pages import ROOT, code, table

from chord.config.composing import register
from chord.config.registry import SCHEMAS
from chord.weightings import Phi


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    register()
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_list_is_up_to_date(tables: ModuleType) -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in tables.rewritten().items()
        if path.read_text() != text
    ]
    assert not stale, f"{', '.join(stale)}: run `make docs-tables`"


def without(text: str, pattern: str) -> str:
    shorter = re.sub(pattern, "", text)
    assert shorter != text
    return shorter


def test_a_missing_export_is_written(tables: ModuleType) -> None:
    path = ROOT / "chord" / "weightings" / "__init__.py"
    short = without(path.read_text(), r'\bRlPlus, |    "?RlPlus"?,\n')
    assert tables.exports("chord.weightings", short) == path.read_text()


def test_a_missing_option_joins_the_row_of_its_group(tables: ModuleType) -> None:
    text = (ROOT / "README.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `tracking`"))
    short = text.replace(row, without(row, ", `off`"))
    assert tables.options_table(short) == text


def test_a_missing_row_says_what_the_yaml_file_says(tables: ModuleType) -> None:
    header = ["mix", "shares of SFT and RL", "defaults", "source"]
    rows = tables.named("mix", header, [["`convex`", "kept", "", ""], ["`gone`", "", "", ""]])
    assert rows[0] == ["`convex`", "kept", "", ""]
    assert rows[1][0] == "`additive`"
    assert rows[1][1] == "coef alpha SFT + RL: SFT as an auxiliary loss"
    assert rows[1][2] == "coef 1.0"
    assert [row[0] for row in rows] == ["`convex`", "`additive`", "`srft`"]


def test_a_new_row_says_what_a_weighting_reads_and_where_a_reward_scores(
    tables: ModuleType,
) -> None:
    for page, group in (("docs/methods.md", "weighting"), ("docs/rewards.md", "reward")):
        header, *rows = table(page, f"| {group} |")
        written = tables.named(group, header, [])
        for row in rows:
            if code(row[0])[0] not in ("weighted", "length"):  # whose rows say more
                (new,) = [each for each in written if each[0] == row[0]]
                assert new[2] == row[2], new


def test_numbers_are_computed_anew(tables: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(kw_only=True)
    class Twice(Phi):
        def raw(self, at):  # type: ignore[no-untyped-def]
            return 2 * super().raw(at)

    monkeypatch.setitem(SCHEMAS, "weighting", {"phi": Phi, "twice": Twice})
    # p (1 - p) at .1 and .5, and double that.
    rows = tables.weights(["weighting", ".1", ".5"], [["`phi`", "9", "9"]])
    assert rows == [["`phi`", ".0900", ".2500"], ["`twice`", ".1800", ".5000"]]
    assert tables.alphas(["schedule", "0", "60"], [["`linear`", "", ""]]) == [
        ["`linear`", "1.000", ".600"]
    ]
