"""What a message or a page says to install can be installed."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from chord.config.messages import EXTRAS
from chord.io import extras
from chord.io.extras import install

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]
MODULES = sorted((ROOT / "chord").rglob("*.py"))
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*.ipynb")]


def test_an_extra_is_named_by_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    required = [
        "torch>=2.10",
        "numpy>=1; python_version >= '3'",
        "b>=2,<3; extra == 'one'",
        "a; extra == 'one'",
        "chord-posttraining[one]; extra == 'both'",
        "c!=1.5,>=1; extra == 'both'",
        "d; extra == 'both' and python_version < '3'",
    ]
    monkeypatch.setattr(extras, "requires", lambda name: required)
    assert install("one") == "pip install 'a' 'b>=2,<3'"
    assert install("both") == "pip install 'a' 'b>=2,<3' 'c>=1,!=1.5'"


def test_without_an_installed_distribution_the_clone_is_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "requires", missing)
    assert install("hf") == "pip install -e '.[hf]'"


def test_every_message_names_an_extra_that_there_is() -> None:
    found = set(EXTRAS.values())
    for module in MODULES:
        text = module.read_text(encoding="utf-8")
        found |= set(re.findall(r"install\(['\"](\w+)['\"]\)", text))
        # No index has the package itself.
        assert not re.search(r"pip install [^\n]*posttraining", text), module
    assert {"hf", "math", "parquet", "optuna", "joblib"} <= found <= OPTIONAL.keys()
    for extra in found:
        names = [re.split(r"[<>=!\[]", each)[0] for each in OPTIONAL[extra]]
        assert all(name in install(extra) for name in names if name != "chord-posttraining")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_says_what_works_in_a_clone(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "pip install" not in text or not re.search(r"pip install [^`\n]*posttraining", text)
    for names in re.findall(r"\.\[([\w,]+)\]", text):
        assert {*names.split(",")} <= OPTIONAL.keys()
