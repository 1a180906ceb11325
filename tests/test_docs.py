"""What the README and the site say is true: commands, tables, names of options and tests."""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from conftest import compose_config
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from pages import PAGES, ROOT, TEXTS, blocks, code, commands, hooks, table, text
from rows.weightings import PROBABILITIES, Row
from typed import check_command, write_own_configuration
from vectors import stats_of, weight

import chord
from chord.config.composing import register
from chord.config.location import CONF_DIR
from chord.config.messages import GROUP_ORDER, one_line
from chord.config.parse import parse
from chord.config.registry import SCHEMAS
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.weightings import Phi, Weighting


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_command_can_be_typed(page: str, command: str, tmp_path: Path) -> None:
    check_command(command, tmp_path)


def test_a_preset_of_ones_own_does_what_it_says(tmp_path: Path) -> None:
    write_own_configuration(tmp_path)
    searchpath = f"hydra.searchpath=[file://{tmp_path / 'my_conf'}]"
    mine = parse(compose_config(searchpath, "experiment=mine"), TrainConfig)
    assert (mine.steps, mine.weighting.normalize) == (200, "mean1")
    assert mine.schedule(200) == pytest.approx(0.05)
    slow = parse(compose_config(searchpath, "schedule=slow"), TrainConfig)
    assert slow.schedule(0) == pytest.approx(0.9)


def test_every_error_is_answered_as_documented() -> None:
    for typed, answer in table("docs/configuration.md", "| typed |")[1:]:
        (overrides,), (line,) = code(typed), code(answer)
        with pytest.raises((ConfigError, HydraException, OmegaConfBaseException)) as caught:
            parse(compose_config(*overrides.split()), TrainConfig)
        assert one_line(caught.value).startswith(line)


def test_the_library_loop_learns(capsys: pytest.CaptureFixture[str]) -> None:
    (loop,) = [block for block in blocks(ROOT / "README.md", "python") if "from chord" in block]
    assert len(loop.splitlines()) <= 20
    names: dict[str, object] = {}
    torch.manual_seed(0)
    exec(compile(loop, "README.md", "exec"), names)
    policy, prompts = names["policy"], names["prompts"]
    answers = policy(prompts).argmax(-1)  # type: ignore[operator]
    assert torch.equal(answers, (prompts + 1) % 10)  # type: ignore[operator]


def test_the_readme_names_every_group_and_its_default() -> None:
    rows = table("README.md", "| group |")[1:]
    assert [code(row[0])[0] for row in rows] == GROUP_ORDER
    defaults = hooks().defaults()
    for cells in rows:
        group = code(cells[0])[0]
        bold = re.findall(r"\*\*`(\w+)`\*\*", cells[2])
        assert bold == ([defaults[group]] if group in defaults else [])
        options = sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
        assert sorted(code(cells[2])) == options, group


def test_the_readme_names_every_module() -> None:
    text = (ROOT / "README.md").read_text()
    layout = text[text.index("\n    chord/\n") : text.index("\n## Results")]
    named = re.findall(r"[\w.]+", layout)
    there = {path.name for path in (ROOT / "chord").iterdir() if not path.name.startswith("__")}
    assert there - {*named, "py.typed"} == set()


def test_the_configuration_page_lists_every_option_and_setting() -> None:
    module = hooks()
    page = module.on_page_markdown((ROOT / "docs" / "configuration.md").read_text(), page=None)
    assert module.MARKER not in page
    for group in GROUP_ORDER:
        for path in (CONF_DIR / group).glob("*.yaml"):
            assert f"\n#### {group}={path.stem}\n" in page
    for group, schemas in SCHEMAS.items():
        for schema in schemas.values():
            for field in fields(schema):
                assert f"| `{group}.{field.name}" in page, f"{group}.{field.name}"
    for setting in module.settings(CONF_DIR / "train.yaml"):
        assert f"| `{setting.name}` | `{setting.value}` | {setting.comment} |" in page


def test_the_methods_page_names_real_options() -> None:
    groups = ("schedule", "weighting", "objective", "advantage", "gate", "mix", "target")
    for group in (*groups, "experiment"):
        rows = table("docs/methods.md", f"| {group} |")[1:]
        named = sorted(option for cells in rows for option in code(cells[0]))
        assert named == sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml")), group


def test_presets_select_what_the_methods_page_says() -> None:
    for cells in table("docs/methods.md", "| experiment |")[1:]:
        text = (CONF_DIR / "experiment" / f"{code(cells[0])[0]}.yaml").read_text()
        for group, cell in zip(("schedule", "weighting"), cells[1:3], strict=True):
            found = re.findall(rf"override /{group}: (\w+)", text, re.M)
            assert found == code(cell)


def test_the_table_of_alphas_is_right() -> None:
    header, *rows = table("docs/methods.md", "| schedule | 0 |")
    steps = [int(cell) for cell in header[1:]]
    for name, *cells in rows:
        config = parse(compose_config("steps=120", f"schedule={code(name)[0]}"), TrainConfig)
        assert [f"{config.schedule(t):.3f}" for t in steps] == [_padded(cell) for cell in cells]


def test_the_table_of_weights_is_right() -> None:
    header, *rows = table("docs/methods.md", "| weighting | .001 |")
    named = {code(row[0])[0] for row in rows}
    assert SCHEMAS["weighting"].keys() - named == {"top_entropy", "iw", "adaptive"}
    for name, *cells in rows:
        settings = {"expert": "one_hot"} if "one_hot" in name else {}
        rule: Weighting = SCHEMAS["weighting"][code(name)[0]](**settings)
        for p, cell in zip(header[1:], cells, strict=True):
            value = weight(rule, stats_of(float(p), top_k=rule.top_k))
            assert _padded(cell) == (f"{value:.4f}" if "." in cell else f"{value:.0f}")
            assert "." in cell or value == pytest.approx(float(cell), abs=1e-12)


def test_the_table_of_the_attached_phi_is_right() -> None:
    # d/d(log p) of -p (1 - p) log p: the product rule gives p (1 - p) + p (1 - 2p) ln p.
    for p, detached, attached in table("docs/methods.md", "| p | phi, detached |")[1:]:
        x = float(p)
        assert _padded(detached) == f"{weight(Phi(), stats_of(x)):.4f}"
        assert _padded(attached) == f"{x * (1 - x) + x * (1 - 2 * x) * math.log(x):.4f}"


def _padded(cell: str) -> str:
    return re.sub(r"^(-?)\.", r"\g<1>0.", cell)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_named_tests_exist(path: Path) -> None:
    page, docs = text(path), ROOT / "docs"
    for target in re.findall(r"\]\(([^)\s]+)\)", page):
        if not target.startswith("http"):
            place = (path.parent / target.partition("#")[0]).resolve()
            assert place.exists(), target
            # The site has no page outside its folder.
            assert path.parent != docs or place.is_relative_to(docs), target
    tests = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", page):
        assert f"def {name}(" in tests, name


def test_the_api_page_names_modules_and_members_that_exist() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    shown = re.findall(r"^::: (\S+)\n(.*)$", text, re.M)
    for name, options in shown:
        module = importlib.import_module(name)
        for member in re.findall(r"members: \[(.*?)\]", options):
            assert not [m for m in member.split(", ") if not hasattr(module, m)], name
    homes = {getattr(chord, name).__module__ for name in chord.__all__}
    assert homes - {"builtins"} <= {name for name, _ in shown}  # an alias of a dict has that


def test_every_page_is_in_the_navigation() -> None:
    nav = re.findall(r"^  - .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(nav) == [page.name for page in PAGES]


def guide(language: str, words: str) -> str:
    """The first block of the contributing guide with these words."""
    found = blocks(ROOT / "CONTRIBUTING.md", language)
    return next(block for block in found if words in block)


def test_the_option_of_the_contributing_guide_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = guide("python", "class Band")
    assert len(source.splitlines()) <= 25
    names: dict[str, object] = {"__name__": "chord.weightings.probability"}
    family = (ROOT / "chord" / "weightings" / "probability.py").read_text()
    exec(compile(family + source, "probability.py", "exec", dont_inherit=True), names)
    band: type[Weighting] = names["Band"]  # type: ignore[assignment]
    monkeypatch.setitem(SCHEMAS["weighting"], band.option, band)  # type: ignore[attr-defined]
    register()
    (tmp_path / "weighting").mkdir()
    (tmp_path / "weighting" / "band.yaml").write_text(guide("yaml", "weighting/band@"))
    overrides = [f"hydra.searchpath=[file://{tmp_path}]", "weighting=band", "weighting.high=.95"]
    config = parse(compose_config(*overrides), TrainConfig)
    assert config.weighting == band(high=0.95)  # type: ignore[call-arg]
    row: Row = eval("{" + guide("python", '"band": Row') + "}", names | {"Row": Row})["band"]
    for rule, expected in row.tried:
        assert [weight(rule, stats_of(p)) for p in PROBABILITIES] == expected
    with pytest.raises(ValueError, match=r"^weighting\.high=0\.01: must be .* at least 0\.05"):
        band(high=0.01)  # type: ignore[call-arg]
