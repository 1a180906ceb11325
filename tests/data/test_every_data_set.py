"""What every data set of the registry offers to a run, with the tokenizer of the run's model.

Each has its row in `tests/rows/data.py`; one without fails the first test.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from conftest import compose_config
from rows.data import ROWS, Example
from rows.needs import placed, with_needs

from chord.config.location import CONF_DIR
from chord.config.parse import parse
from chord.config.registry import SCHEMAS
from chord.config.root import TrainConfig
from chord.data.base import SPLITS, Data
from chord.data.batch import Problem
from chord.run.build import build_data


@pytest.fixture(scope="module", params=ROWS)
def built(
    request: pytest.FixtureRequest, language_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Data]:
    """An option and its data set, as a run builds it."""
    typed = with_needs(f"data={request.param}")
    words = placed(typed, language_model, tmp_path_factory.mktemp("files"))
    return request.param, build_data(parse(compose_config(*words), TrainConfig))


def problems_of(data: Data) -> dict[str, list[Problem]]:
    """Some problems of each part."""
    return {
        "rl": data.problems(0, 0, 8),
        "experts": [pair.problem for pair in data.expert_pairs[:8]],
    } | {split: list(data.held_out(split)[:8]) for split in SPLITS}


def test_every_data_set_of_the_registry_has_a_row() -> None:
    missing = SCHEMAS["data"].keys() - ROWS.keys()
    assert not missing, f"data={','.join(missing)}: add a row to tests/rows/data.py"
    options = {path.stem for path in (CONF_DIR / "data").glob("*.yaml")}
    assert options >= ROWS.keys(), "a row is of an option in conf/data"


def test_the_table_of_sizes_and_first_problems(built: tuple[str, Data]) -> None:
    name, data = built
    pairs = [*data.expert_pairs, *(pair for split in SPLITS for pair in data.held_out_pairs(split))]
    answers = {pair.problem.key: pair.response for pair in reversed(pairs)}
    first = {
        part: Example(found[0].prompt, found[0].answer, answers.get(found[0].key))
        for part, found in problems_of(data).items()
        if found
    }
    sizes = {"experts": len(data.expert_pairs)} | {s: len(data.held_out(s)) for s in SPLITS}
    found = (sizes, first)
    assert found == (ROWS[name].sizes, ROWS[name].first), f"data={name} has {found}"


def test_no_problem_is_in_two_parts(built: tuple[str, Data]) -> None:
    _, data = built
    keys = [{problem.key for problem in data.held_out(split)} for split in SPLITS]
    trained = {problem.key for step in range(20) for problem in data.problems(step, 0, 16)}
    keys.append(trained | {pair.problem.key for pair in data.expert_pairs})
    for one, other in [*pairwise(keys), (keys[-1], keys[0])]:
        assert not one & other


def test_the_streams_are_functions_of_seed_and_step(built: tuple[str, Data]) -> None:
    _, data = built
    assert data.problems(3, 1, 8) == data.problems(3, 1, 8)
    assert data.problems(3, 1, 8)[:4] == data.problems(3, 1, 4)
    if data.expert_pairs:
        assert data.pairs(3, 1, 8) == data.pairs(3, 1, 8)


def test_the_models_tokenizer_writes_every_text(built: tuple[str, Data]) -> None:
    _, data = built
    found = [problem for part in problems_of(data).values() for problem in part]
    texts = [problem.prompt for problem in found]
    texts += [pair.response for pair in data.expert_pairs[:8]]
    for text in texts:
        assert data.tokenizer.decode(data.tokenizer.encode(text)) == text
    assert max(len(data.tokenizer.prompt(problem)) for problem in found) <= data.longest_prompt
