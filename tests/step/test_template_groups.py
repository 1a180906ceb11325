"""A row has the same tokens wherever it is read, in the template of each family.

Where it is imitated, in a group, as a prefix, in an evaluation, and after an export of the model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_templates import CASES, CELLS, FAMILIES, inner_of
from conftest import SMALL, compose_config
from language_models import make_model
from steps import module_of
from texts import Row, write

import chord.rollout
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.data.batch import collate_pairs
from chord.evaluation.report import answer
from chord.models.hf.config import HFModel
from chord.models.scoring import score
from chord.rollout.prefix import Given
from chord.step.module import ChordModule


def rows_of(name: str) -> list[tuple[Row, Row]]:
    """Problems and expert's rows of all cases that a family can write, with a question each."""
    found = []
    for n in range(1, 41):
        family, case = [cell for cell in CELLS if cell[0] == name][n % len(cases_of(name))]
        assert family == name
        pair = CASES[case]
        asked = [{"role": t.role, "content": t.content} for t in pair.problem.turns]
        asked = asked or [{"role": "user", "content": ""}]
        asked[-1]["content"] = f"{n}+{n}?"
        said = [{"role": t.role, "content": t.content} for t in pair.turns]
        said = said or [{"role": "assistant", "content": pair.response}]
        said[-1]["content"] = said[-1]["content"].replace("It is 5.", "5").replace("6.", "5")
        said[-1]["content"] = said[-1]["content"].replace("5", str(2 * n))
        problem: Row = {"messages": asked, "answer": 2 * n}
        expert: Row = {"messages": [*asked, *said]}
        if name == "none":
            problem = {"problem": asked[-1]["content"], "answer": 2 * n}
            expert = {"problem": asked[-1]["content"], "response": said[-1]["content"]}
        found.append((problem, expert))
    return found


def cases_of(name: str) -> list[str]:
    return [case for family, case in CELLS if family == name]


def made(path: Path, name: str, *overrides: str) -> ChordModule:
    """A model with a family's tokenizer, on sums that the expert answers."""
    inner = inner_of(FAMILIES[name])
    end = inner.convert_tokens_to_ids(FAMILIES[name].eos)
    make_model(path / "model", vocab_size=len(inner), eos_token_id=end, max_position_embeddings=512)
    inner.save_pretrained(path / "model")
    problems, experts = zip(*rows_of(name), strict=True)
    write(path / "p.jsonl", list(problems))
    write(path / "e.jsonl", list(experts))
    composed = compose_config(
        *SMALL,
        "model=hf",
        f"model.path={path}/model",
        f"model.chat={str(name != 'none').lower()}",
        "teacher=none",
        "data=jsonl",
        f"data.problems={path}/p.jsonl",
        f"data.expert={path}/e.jsonl",
        "data.pairing=paired",
        "reward=text",
        "rollout.problems=5",
        "rollout.group_size=4",
        "rollout.max_new_tokens=200",
        *overrides,
    )
    return module_of(parse(composed, TrainConfig))


@pytest.mark.parametrize("name", FAMILIES)
def test_an_expert_is_imitated_and_graded_by_the_same_tokens(tmp_path: Path, name: str) -> None:
    module = made(tmp_path, name, "rollout.expert_in_group=1", "rollout.problems=20")
    rollouts, data = module.collect(0), module.data
    tokens, expert = rollouts.rows.tokens, rollouts.rows.expert
    assert expert is not None
    seen = set()
    for row in range(3, len(tokens.input_ids), 4):
        pair = data.pair_with(rollouts.problems[row].key)
        seen.add((len(pair.problem.turns), len(pair.turns), "think" in pair.response))
        (imitated,) = collate_pairs([pair], data.tokenizer).input_ids
        length = int(tokens.attention_mask[row].sum())
        assert tokens.input_ids[row, :length].tolist() == imitated.tolist()
        assert int(expert[row].sum()) == sum(data.tokenizer.response(pair)[1])
        # What the policy would get for the same response.
        assert rollouts.scores.flatten()[row] == 1
        prompt = len(data.tokenizer.prompt(rollouts.problems[row]))
        sampled = tokens.input_ids[row - 1, :prompt]
        assert sampled.tolist() == imitated[:prompt].tolist()
    assert len(seen) == len(cases_of(name)), "a case that no group has"


@pytest.mark.parametrize("name", FAMILIES)
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
        whole = Given(*tokenizer.response(module.data.pair_with(problem.key)))
        given = whole.first(int(expert[row].sum()))
        size = len(given.tokens)
        assert ids[:size] == given.tokens
        # Of several turns, the last one is graded.
        assert rollouts.texts[row] == tokenizer.decode([*given.turn, *ids[size:]])


@pytest.mark.parametrize("name", FAMILIES)
def test_an_evaluation_and_an_exported_model_read_the_same_tokens(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = made(tmp_path, name)
    config, data, policy = module.config, module.data, module.models.policy
    asked: list[dict[str, Any]] = []
    sampled: list[list[int]] = []
    sample = chord.rollout.sample

    def remember(policy: Any, prompts: Any, **settings: Any) -> Any:
        asked.append({"prompts": prompts, **settings})
        result = sample(policy, prompts, **settings)
        sampled.extend(result.responses)
        return result

    monkeypatch.setattr(chord.rollout, "sample", remember)
    problems = data.held_out("validation")[:5]
    answers = answer(policy, data, problems, config.reward, max_new_tokens=12)
    (given,) = asked
    for problem, prompt in zip(problems, given["prompts"], strict=True):
        assert prompt == data.tokenizer.prompt(problem)
    assert given["stop_ids"] == data.tokenizer.stop_ids
    assert [each.text for each in answers] == [data.tokenizer.decode(ids) for ids in sampled]

    assert isinstance(config.model, HFModel)
    config.model.export(policy, tmp_path / "exported")
    model = HFModel(path=str(tmp_path / "exported"), chat=config.model.chat)
    tokenizer = model.tokenizer()
    assert tokenizer.stop_ids == data.tokenizer.stop_ids
    pairs = data.expert_pairs[:10]
    ours, again = collate_pairs(pairs, data.tokenizer), collate_pairs(pairs, tokenizer)
    assert torch.equal(ours.input_ids, again.input_ids)
    assert torch.equal(ours.response_mask, again.response_mask)
    with torch.no_grad():
        before, after = (
            score(each, ours).logprobs(ours.targets[ours.mask]) for each in (policy, model.build())
        )
    assert torch.equal(before.float(), after.float())
    exported = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert exported["vocab_size"] == policy.vocab_size
