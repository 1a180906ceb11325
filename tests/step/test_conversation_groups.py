"""Groups with an expert whose answer has several turns: what of it is learned, graded, given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import SMALL, compose_config
from language_models import make_model
from steps import loss_gradient, module_of, plan_gradient, row_tokens, score_as
from texts import write

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.rollout.prefix import Given
from chord.rollout.rollouts import Rollouts
from chord.step.metrics import branch_metrics
from chord.step.module import ChordModule

# The expert asks back, `n+n?` - `So?` - `Yes` - `2n`. Its tokens are characters but for ChatML's
# three, so behind the prompt stand, with what it wrote between bars:
#   |So?<end>|\n<start>user\nYes<end>\n<start>assistant\n|2n<end>|
FIRST, BETWEEN, END = (
    "So?<|im_end|>",
    "\n<|im_start|>user\nYes<|im_end|>\n<|im_start|>assistant\n",
    1,
)
MODES = ["binomial", "uniform rollout.prefix_samples=3", "staged"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("conversations")
    make_model(path / "model")
    roles = ("user", "assistant", "user", "assistant")
    problems, experts = [], []
    for n in range(1, 41):
        said = (f"{n}+{n}?", "So?", "Yes", str(2 * n))
        turns = [{"role": r, "content": c} for r, c in zip(roles, said, strict=True)]
        problems.append({"messages": turns[:1], "answer": 2 * n})
        experts.append({"messages": turns})
    write(path / "p.jsonl", problems)
    write(path / "e.jsonl", experts)
    return path


def made(files: Path, *overrides: str) -> ChordModule:
    composed = compose_config(
        *SMALL,
        "model=hf",
        f"model.path={files}/model",
        "trainer.precision=64-true",
        "teacher=none",
        "data=jsonl",
        f"data.problems={files}/p.jsonl",
        f"data.expert={files}/e.jsonl",
        "data.pairing=paired",
        "reward=text",
        "schedule=rl_only",
        "rollout.group_size=4",
        "rollout.max_new_tokens=40",
        *overrides,
    )
    return module_of(parse(composed, TrainConfig))


def parts(module: ChordModule, rollouts: Rollouts, row: int) -> tuple[str, str, str]:
    """Texts of a row's response: the expert's tokens, the policy's own, and all of it."""
    tokens, expert = rollouts.rows.tokens, rollouts.rows.expert
    assert expert is not None
    prompt = len(module.data.tokenizer.prompt(rollouts.problems[row]))
    length = int(tokens.attention_mask[row].sum())
    ids, mask = tokens.targets[row, : length - 1], tokens.mask[row, : length - 1]
    given = expert[row, : length - 1]
    chosen = (given, mask & ~given, torch.arange(length - 1) >= prompt - 1)
    return tuple("".join(module.data.tokenizer.pieces(ids[each].tolist())) for each in chosen)  # type: ignore[return-value]


def test_a_part_of_an_answer_ends_where_the_expert_goes_on() -> None:
    # Places 0 to 6, of which 2 and 3, and 5, are another's.
    given = Given([10, 11, 12, 13, 14, 15, 16], [True, True, False, False, True, False, True])
    ends = [len(given.first(count).tokens) for count in range(5)]
    assert ends == [0, 1, 4, 6, 7]
    assert [given.first(count).count for count in range(5)] == [0, 1, 2, 3, 4]
    assert [given.first(count).turn for count in range(5)] == [[], [10], [], [], [16]]
    assert given.first(1).written == [True]
    # One turn alone is cut as a list is, and nothing stays nothing.
    one = Given([1, 2, 3], [True] * 3)
    assert [one.first(count).tokens for count in (0, 2, 3)] == [[], [1, 2], [1, 2, 3]]
    assert one.first(2).turn == [1, 2]
    assert (Given().first(0), Given().turn, Given().count) == (Given(), [], 0)


def test_an_experts_conversation_is_graded_by_its_last_turn_and_only_its_own_tokens_count(
    files: Path,
) -> None:
    module = made(files, "rollout.expert_in_group=1")
    rollouts = module.collect(0)
    for row in (3, 7):
        right = rollouts.problems[row].answer
        expert, own, everything = parts(module, rollouts, row)
        assert (expert, own) == (f"{FIRST}{right}<|im_end|>", "")
        assert everything == f"{FIRST}{BETWEEN}{right}<|im_end|>"
        assert rollouts.texts[row] == right
        assert rollouts.scores.flatten()[row] == 1
        # 4 + |2n| + 1 tokens, the user's turn left out.
        assert int(rollouts.rows.tokens.mask[row].sum()) == 4 + len(right) + END
    # Three wrong and one right: 3/4 over 1/2.
    assert rollouts.rows.advantages[3] == pytest.approx(0.75 / 0.500001, abs=1e-9)


def test_no_token_of_the_users_turn_is_imitated(files: Path) -> None:
    module = made(files, "rollout.expert_in_group=1", "weighting@off_policy=uniform")
    plan = module.plan(0)
    assert plan.rollouts is not None
    rows = plan.rollouts.rows
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row in range(8):
        expert, own, _ = parts(module, plan.rollouts, row)
        if row % 4 == 3:
            # 4 tokens of the expert's, 23 of others, then what is left.
            places = [place for place, _, _ in row_tokens(module.policy, rows.tokens, row)]
            behind = [place - places[0] for place in places]
            assert behind == [0, 1, 2, 3, *range(27, 23 + len(places))]
        for _, logprob, _ in row_tokens(module.policy, rows.tokens, row):
            total = total - rows.advantages[row] * logprob
            count += 1
        assert bool(expert) != bool(own)
    assert count == int(rows.tokens.mask.sum())
    hand = loss_gradient(module.policy, total / count)
    assert hand.norm() > 1e-3
    torch.testing.assert_close(plan_gradient(module, plan), hand, atol=1e-10, rtol=0)


@pytest.mark.parametrize("mode", MODES)
def test_a_prefix_never_ends_inside_anothers_turn(files: Path, mode: str) -> None:
    module = made(files, *f"rollout.prefix={mode} rollout.problems=6".split())
    tokenizer, seen = module.data.tokenizer, set()
    shown: dict[str, int] = {}
    module.config.reward.score = lambda problem, text: float(shown.setdefault(text, 0))  # type: ignore[method-assign]
    for step in range(2):
        rollouts = module.collect(step)
        for row, problem in enumerate(rollouts.problems):
            expert, own, everything = parts(module, rollouts, row)
            whole = f"{FIRST}{problem.answer}<|im_end|>"
            assert whole.startswith(expert)
            given = Given(*tokenizer.response(module.data.pair_with(problem.key)))
            count = int(rollouts.rows.expert[row].sum())  # type: ignore[index]
            # The end of the last turn is left to the policy.
            assert count < given.count
            second = count >= 4
            assert everything == (
                expert[: len(FIRST)] + BETWEEN * second + expert[len(FIRST) :] + own
            )
            # What is graded is the turn in which the policy writes.
            said = own.removesuffix("<|im_end|>").partition("<|")[0]
            begun = expert[len(FIRST) :] if second else expert
            assert rollouts.texts[row].startswith(begun + said)
            if rollouts.finished[row]:
                assert rollouts.texts[row] in shown
            seen.add(second and count > 0)
    assert True in seen


def test_the_ratio_is_one_behind_anothers_turn(files: Path) -> None:
    module = made(files, "rollout.prefix=staged", "rollout.prefix_loss=nll")
    score_as(module, lambda step: [[1, 0, 0, 1], [0, 1, 0, 0]])
    plan = module.plan(0)
    assert plan.rollouts is not None
    rows = plan.rollouts.rows
    assert rows.expert is not None
    assert rows.sampler_logprobs is not None
    assert (rows.expert.sum(dim=1) >= 4).any()
    for row in range(8):
        for place, logprob, _ in row_tokens(module.policy, rows.tokens, row):
            expected = 0.0 if rows.expert[row, place] else float(logprob.detach())
            assert float(rows.sampler_logprobs[row, place]) == pytest.approx(expected, abs=1e-9)
    metrics = branch_metrics(plan.shares, None, module.add_rl(plan))
    assert metrics["rl/ratio"] == pytest.approx(1, abs=1e-9)
    assert metrics["tokens/rl"] == int((rows.tokens.mask & ~rows.expert).sum())
    assert metrics["tokens/off_policy"] == int(rows.expert.sum())
