"""One expert's response has the same tokens where it is imitated and where it joins a group."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_templates import FAMILIES, inner_of
from conftest import SMALL, compose_config
from language_models import make_model
from steps import module_of
from texts import Row, write

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.data.batch import collate_pairs
from chord.step.module import ChordModule

THINKING = ("qwen3", "qwen3_thinking", "r1")


def made(path: Path, name: str, *overrides: str) -> ChordModule:
    """A model with a family's tokenizer, on sums that the expert answers, some with a thought."""
    inner = inner_of(FAMILIES[name])
    end = inner.convert_tokens_to_ids(FAMILIES[name].eos)
    make_model(path / "model", vocab_size=len(inner), eos_token_id=end)
    inner.save_pretrained(path / "model")
    thought = "<think>\nI add.\n</think>\n\n" if name in THINKING else ""
    rows: list[Row] = [{"problem": f"{n}+{n}?", "answer": 2 * n} for n in range(1, 41)]
    write(path / "p.jsonl", rows)
    write(path / "e.jsonl", [row | {"response": f"{thought}{row['answer']}"} for row in rows])
    composed = compose_config(
        *SMALL,
        "model=hf",
        f"model.path={path}/model",
        "teacher=none",
        "data=jsonl",
        f"data.problems={path}/p.jsonl",
        f"data.expert={path}/e.jsonl",
        "data.pairing=paired",
        "reward=text",
        "rollout.group_size=4",
        "rollout.max_new_tokens=40",
        *overrides,
    )
    return module_of(parse(composed, TrainConfig))


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "none"])
def test_an_expert_is_imitated_and_graded_by_the_same_tokens(tmp_path: Path, name: str) -> None:
    module = made(tmp_path, name, "rollout.expert_in_group=1")
    rollouts, data = module.collect(0), module.data
    tokens, expert = rollouts.rows.tokens, rollouts.rows.expert
    assert expert is not None
    for row in range(3, len(tokens.input_ids), 4):
        (imitated,) = collate_pairs(
            [data.pair_with(rollouts.problems[row].key)], data.tokenizer
        ).input_ids
        length = int(tokens.attention_mask[row].sum())
        assert tokens.input_ids[row, :length].tolist() == imitated.tolist()
        prompt = len(data.tokenizer.prompt(rollouts.problems[row]))
        assert int(expert[row].sum()) == length - prompt
        # What the policy would get for the same response.
        assert rollouts.scores.flatten()[row] == 1
        sampled = tokens.input_ids[row - 1, :prompt]
        assert sampled.tolist() == imitated[:prompt].tolist()


@pytest.mark.parametrize("name", ["r1", "harmony", "gemma3"])
def test_a_prefix_and_what_follows_it_are_read_as_one_turn(tmp_path: Path, name: str) -> None:
    prefix = ("rollout.prefix=binomial", "rollout.prefix_initial=.6", "rollout.prefix_final=.6")
    module = made(tmp_path, name, *prefix)
    rollouts, tokenizer = module.collect(0), module.data.tokenizer
    expert, tokens = rollouts.rows.expert, rollouts.rows.tokens
    assert expert is not None
    assert expert.any()
    for row, problem in enumerate(rollouts.problems):
        prompt = len(tokenizer.prompt(problem))
        ids = tokens.input_ids[row, prompt : int(tokens.attention_mask[row].sum())].tolist()
        whole, _ = tokenizer.response(module.data.pair_with(problem.key))
        given = int(expert[row].sum())
        assert ids[:given] == whole[:given]
        assert rollouts.texts[row] == tokenizer.decode(ids)
