"""Data of files: parts, pairing, streams, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from texts import TOKENIZER, corpus, refusal, sums, worked, write

from chord.config.consistency import overlap_report
from chord.data.base import SPLITS, Room
from chord.data.columns import Columns
from chord.data.corpus import Corpus
from chord.data.split import SplitShares, canonical, key_of
from chord.rewards import Numeric

ROWS = sums(200)
EXPERT = worked(ROWS[:80])


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "p.jsonl", ROWS), write(tmp_path / "e.jsonl", EXPERT)


def parts(data: Corpus) -> dict[str, set[str]]:
    """The prompts of each part."""
    train = {data.problem_rows.problem(int(row)).prompt for row in data.train}
    return {"train": train} | {s: {p.prompt for p in data.held_out(s)} for s in SPLITS}


def test_every_problem_is_in_one_part(paths: tuple[Path, Path]) -> None:
    found = parts(corpus(*paths, validation="0.2", test="0.3"))
    assert sum(map(len, found.values())) == 200
    assert set.union(*found.values()) == {row["problem"] for row in ROWS}
    # Binomial: 40 and 60 expected, with standard deviations of 5.7 and 6.5.
    assert 20 < len(found["validation"]) < 60
    assert 35 < len(found["test"]) < 85


def test_parts_survive_rows_that_are_added_and_other_orders(
    tmp_path: Path, paths: tuple[Path, Path]
) -> None:
    before = parts(corpus(paths[0]))
    more = write(tmp_path / "more.jsonl", [*sums(50, start=200), *ROWS[::-1]])
    after = parts(corpus(more))
    assert all(before[part] <= after[part] for part in before)


def test_the_share_of_one_part_does_not_move_the_other() -> None:
    keys = np.array([key_of(str(n)) for n in range(1000)])
    small, large = SplitShares(validation=0.1, test=0.1), SplitShares(validation=0.4, test=0.1)
    assert (small.within("test", keys) == large.within("test", keys)).all()
    assert (small.within("validation", keys) <= large.within("validation", keys)).all()


def test_a_problem_is_its_text_but_for_white_space_and_forms_of_accents() -> None:
    # e with an acute accent as one code point, and as two.
    assert canonical(" caf\u00e9\n au lait ") == canonical("cafe\u0301 au\tlait")
    assert key_of("2+2 ?") == key_of("2+2  ?\n") != key_of("2+2?")


def test_held_out_parts_may_be_files(tmp_path: Path, paths: tuple[Path, Path]) -> None:
    held = write(tmp_path / "v.jsonl", [*ROWS[:10], *sums(5, start=900)])
    data = corpus(*paths, validation=str(held))
    found = parts(data)
    assert found["validation"] == {row["problem"] for row in (*ROWS[:10], *sums(5, start=900))}
    assert not found["validation"] & (found["train"] | found["test"])
    # The expert's responses to the ten of them that it answers.
    assert len(data.held_out_pairs("validation")) == 10
    assert data.overlap()["validation"] == 0
    with pytest.raises(ValueError, match=r"shares 15 .*: v.jsonl line 1, which is v.jsonl line 1"):
        corpus(*paths, validation=str(held), test=str(held))


def test_files_that_are_numbered_apart_are_told_apart_by_their_texts(tmp_path: Path) -> None:
    # Both files begin with id 0, and one problem is in both with different ids.
    train, held = sums(40), [{**row, "id": n} for n, row in enumerate(sums(9, start=500))]
    held.append({**train[7], "id": 3})
    solved = [
        {"id": row["id"], "problem": row["problem"], "response": f"{row['answer']}"}
        for row in (*train, *held[:9])
    ]
    files = {name: write(tmp_path / f"{name}.jsonl", rows) for name, rows in
             {"p": train, "v": held, "e": solved}.items()}  # fmt: skip
    data = corpus(files["p"], files["e"], validation=str(files["v"]))
    assert len(data.rl) + len(data.held_out("test")) == 39
    assert data.overlap()["validation"] == 0
    assert {pair.problem.prompt: pair.response for pair in data.held_out_pairs("validation")} == {
        row["problem"]: f"{row['answer']}" for row in held
    }
    # In one source, too, as long as the expert's rows have the text.
    both = corpus(write(tmp_path / "both.jsonl", [*train, *held[:9]]), files["e"])
    assert both.experts is not None
    assert (both.experts.at >= 0).all()
    pairs = [both.experts.pair(row) for row in range(len(solved))]
    assert [pair.problem.prompt for pair in pairs] == [row["problem"] for row in solved]


def test_the_expert_is_imitated_on_training_problems_alone(paths: tuple[Path, Path]) -> None:
    data = corpus(*paths)
    found = parts(data)
    prompts = {part: {pair.problem.prompt for pair in data.held_out_pairs(part)} for part in SPLITS}
    prompts["train"] = {pair.problem.prompt for pair in data.expert_pairs}
    assert sum(map(len, prompts.values())) == 80
    assert all(prompts[part] <= found[part] for part in found)
    count = len(data.expert_pairs)
    assert overlap_report(data) == (
        f"expert responses for training: {count}, {count} of them to problems of RL"
    )


@pytest.mark.parametrize("limit", [None, 20])
def test_pairing_says_which_problems_are_drawn(paths: tuple[Path, Path], limit: int | None) -> None:
    everything = parts(corpus(paths[0]))["train"]
    for pairing in ("all", "separate", "paired"):
        data = corpus(*paths, pairing=pairing, expert_pairs=limit)
        answered = {pair.problem.prompt for pair in data.expert_pairs}
        assert limit is None or len(answered) == limit
        drawn = {problem.prompt for step in range(60) for problem in data.problems(step, 0, 20)}
        expected = {"all": everything, "separate": everything - answered, "paired": answered}
        assert drawn == expected[pairing]
        assert data.overlap()["rl"] == (0 if pairing == "separate" else len(answered))
        for pair in data.expert_pairs:
            assert data.pair_with(pair.problem.key) == pair
    with pytest.raises(KeyError):
        data.pair_with(7)


def test_streams_are_functions_of_seed_and_step(paths: tuple[Path, Path]) -> None:
    one, other = corpus(*paths), corpus(*paths)
    for step in (0, 7):
        for seed in (0, 3):
            assert one.problems(step, seed, 16) == other.problems(step, seed, 16)
            assert one.pairs(step, seed, 16) == other.pairs(step, seed, 16)
    assert one.problems(0, 0, 16) != one.problems(1, 0, 16) != one.problems(1, 1, 16)
    # More of a step goes on where less of it ended.
    assert one.problems(2, 0, 40)[:16] == one.problems(2, 0, 16)


def test_the_problems_of_a_step_are_distinct_until_there_are_no_others(
    paths: tuple[Path, Path],
) -> None:
    data = corpus(*paths, pairing="paired", expert_pairs=6)
    drawn = [problem.key for problem in data.problems(0, 0, 15)]
    assert len(set(drawn[:6])) == len(set(drawn[6:12])) == 6
    assert len(set(drawn[12:])) == 3


def test_rows_are_matched_by_id_or_by_text(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", ROWS)
    answers = [{"id": row["id"], "response": "by id"} for row in ROWS[:50]]
    answers += [{"problem": f" {row['problem']}\n", "response": "by text"} for row in ROWS[50:100]]
    answers += [{"problem": f"another {n}?", "response": "alone"} for n in range(50)]
    data = corpus(path, write(tmp_path / "e.jsonl", answers), expert_batch=1)
    for pair in data.expert_pairs:
        number = pair.problem.prompt.partition("+")[0]
        expected = {"by id": range(50), "by text": range(50, 100)}.get(pair.response)
        if expected is None:
            assert pair.problem.prompt.startswith("another")
            assert pair.problem.answer == ""
        else:
            assert int(number) in expected
            assert pair.problem.answer == str(2 * int(number))
    # What is not among the problems is imitated, and never drawn for rollouts.
    drawn = [
        p.prompt for p in corpus(path, tmp_path / "e.jsonl", pairing="paired").problems(0, 0, 60)
    ]
    assert not [prompt for prompt in drawn if prompt.startswith("another")]


def test_worked_solutions_are_answers_and_an_experts_responses(tmp_path: Path) -> None:
    rows = [
        {"question": f"{n} and {n}?", "answer": f"{n}+{n}=<<{n}+{n}={2 * n}>>{2 * n}\n#### {2 * n}"}
        for n in range(60)
    ]
    path = write(tmp_path / "g.jsonl", rows)
    data = corpus(path, path, columns=Columns(problem="question", response="answer"))
    for pair in data.expert_pairs:
        assert pair.problem.answer == pair.response
        double = 2 * int(pair.problem.prompt.partition(" ")[0])
        assert Numeric().score(pair.problem, f"{double}") == 1
        assert Numeric().score(pair.problem, pair.response) == 1
        assert Numeric().score(pair.problem, f"{double + 1}") == 0


def test_the_template_changes_the_prompt_and_no_part(paths: tuple[Path, Path]) -> None:
    plain, framed = corpus(*paths), corpus(*paths, prompt_template="Q: {problem} A:")
    assert framed.expert_pairs[0].problem.prompt == f"Q: {plain.expert_pairs[0].problem.prompt} A:"
    assert framed.expert_pairs[0].problem.key == plain.expert_pairs[0].problem.key


def test_repeated_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [*ROWS, *ROWS[:3], {**ROWS[4], "answer": 0}]
    path = write(tmp_path / "p.jsonl", rows)
    expert = write(tmp_path / "e.jsonl", [*EXPERT, EXPERT[0], {**EXPERT[1], "response": "other"}])
    data = corpus(path, expert)
    text = "\n".join(data.report())
    assert (
        "p.jsonl: 204 rows, 200 problems (4 rows repeat others and are left out, 1 with another "
        "answer); " in text
    )
    assert "e.jsonl: 82 responses; " in text
    assert "; 1 repeated and left out, 0 to problems that are not in p.jsonl" in text
    assert sum(map(len, parts(data).values())) == 200
    # Two answers to one problem are two pairs.
    answers = sum(len(data.held_out_pairs(split)) for split in SPLITS) + len(data.expert_pairs)
    assert answers == 81


def test_what_does_not_fit_is_refused_or_left_out(tmp_path: Path) -> None:
    # Every prompt has 4 to 8 tokens but one of 40; every answer at most 13 but one of 50.
    rows = [*ROWS, {"id": "long", "problem": "1+" * 19 + "1?", "answer": 20}]
    path = write(tmp_path / "p.jsonl", rows)
    expert = write(tmp_path / "e.jsonl", [*EXPERT, {"problem": "9+9?", "response": "9" * 49}])
    room = Room(context=48, rollout=20, evaluation=10)
    data = corpus(path, expert, validation="0.01", test="0.01")
    count = len(data.expert_pairs)
    said = refusal(lambda: data.fit(room))
    assert said == (
        f"data.overlong=error: 1 of {count} expert responses of e.jsonl have more than 48 tokens "
        "with their prompts, the model's context; the first is e.jsonl line 81 with 54; "
        "data.overlong=drop leaves them out"
    )
    data = corpus(path, expert, validation="0.01", test="0.01", overlong="drop")
    pairs, problems = len(data.expert_pairs), len(data.rl)
    data.fit(room)
    assert (len(data.expert_pairs), len(data.rl)) == (pairs - 1, problems - 1)
    assert [line for line in data.report() if "prompts of p.jsonl" in line] == [
        f"left out: 1 of {problems} prompts of p.jsonl have more than 28 tokens, the model's "
        "context of 48 less rollout.max_new_tokens=20; the first is p.jsonl line 201 with 40"
    ]
    assert data.longest_prompt <= 28
    # An expert's other answer to the same problem is still there.
    assert data.pair_with(key_of("9+9?")).response == "9+9=18"
    with pytest.raises(
        ValueError, match=r"data.overlong=drop: nothing is left; .* expert responses"
    ):
        corpus(path, expert, overlong="drop").fit(Room(context=4, rollout=1, evaluation=1))


def test_lengths_are_those_of_the_texts(paths: tuple[Path, Path]) -> None:
    data = corpus(*paths)
    prompts = sorted(len(problem.prompt) for problem in (data.problems(0, 0, len(data.rl))))
    assert data.longest_prompt == max(len(row["problem"]) for row in ROWS)
    assert data.longest_pair == max(
        len(pair.problem.prompt) + len(pair.response) + 1 for pair in data.expert_pairs
    )
    assert sorted(data.lengths().prompts) == prompts
    limit = "rollout.max_new_tokens"
    said = data.lengths().said(limit=limit, most=20, context=None)
    assert f"prompts: median {np.median(prompts):.0f}, " in said
    assert f", most {max(prompts)}; expert responses: " in said
    responses = [len(pair.response) + 1 for pair in data.expert_pairs]
    n, longer = len(responses), sum(length > 9 for length in responses)
    assert 0 < longer < n
    said = data.lengths().said(limit=limit, most=9, context=data.longest_pair)
    beyond = f"{longer} of {n} ({100 * longer / n:.3g} %)"
    assert f", longer than rollout.max_new_tokens=9: {beyond}; both together: " in said
    assert said.endswith(f", longer than the model's context of {data.longest_pair}: 0 of {n}")


def test_lengths_of_held_out_rows_are_their_own(paths: tuple[Path, Path]) -> None:
    data = corpus(*paths)
    found = data.held_out_lengths()
    held_out = [problem for split in ("validation", "test") for problem in data.held_out(split)]
    pairs = [pair for split in ("validation", "test") for pair in data.held_out_pairs(split)]
    assert pairs
    assert sorted(found.prompts) == sorted(len(problem.prompt) for problem in held_out)
    assert sorted(found.responses) == sorted(len(pair.response) + 1 for pair in pairs)
    assert corpus(paths[0]).held_out_lengths().responses == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"validation": "-.1"},
            "data.validation=-0.1: must be a file or a share, between 0 and 1,",
        ),
        (
            {"test": "0"},
            "data.test=0: must be a file or a share, between 0 and 1; evaluation.test=false leaves",
        ),
        ({"test": "1.5"}, "data.test=1.5: must be a file or a share, between 0 and 1"),
        ({"validation": "0.5", "test": "0.5"}, "data.validation=0.5: with data.test=0.5 nothing"),
        ({"prompt_template": "Q"}, "data.prompt_template=Q: must hold {problem}"),
        ({"overlong": "cut"}, "data.overlong=cut: must be one of error, drop"),
        ({"expert_style": "("}, "data.expert_style=(: is no regular expression"),
        ({"pairing": "both"}, "data.pairing=both: must be one of separate, paired, all"),
        ({"expert_pairs": 500}, "data.expert={expert}: has 6"),
        ({"validation": "1e-9"}, "data.validation=1e-9: none of the 200 problems of p.jsonl falls"),
    ],
)
def test_a_wrong_setting_is_named(
    paths: tuple[Path, Path], settings: dict[str, object], message: str
) -> None:
    said = refusal(lambda: corpus(*paths, **settings))
    assert said.startswith(message.replace("{expert}", str(paths[1])))


@pytest.mark.parametrize(
    "columns",
    [
        {"problem": "answer"},
        {"id": ""},
        {"messages": "response"},
        {"answer": "a", "response": "a", "id": "a"},
    ],
)
def test_two_columns_that_must_differ_are_named(columns: dict[str, str]) -> None:
    said = refusal(lambda: Columns(**columns))
    assert said.startswith("data.columns.")
    assert said.endswith("answer and response alone may be the same")


def test_a_pairing_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", ROWS)
    every = write(tmp_path / "e.jsonl", worked(ROWS))
    none = write(tmp_path / "n.jsonl", [{"problem": f"{n}?", "response": "1"} for n in range(30)])
    with pytest.raises(ValueError, match=r"pairing=separate: p.jsonl has no .* without an expert"):
        corpus(path, every, pairing="separate")
    with pytest.raises(ValueError, match=r"pairing=paired: p.jsonl has no .* with an expert"):
        corpus(path, none, pairing="paired")


def test_the_manner_is_what_the_expression_finds(paths: tuple[Path, Path]) -> None:
    data = corpus(*paths, expert_style=r"\d=\d")
    assert data.is_expert_style("so 2+2=4.")
    assert data.is_expert_style("4") is False
    assert corpus(*paths).is_expert_style("2+2=4") is None
    assert TOKENIZER.prompt(data.problems(0, 0, 1)[0])
