"""Files in the layouts that other projects write: what is read, and two steps from each."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import SMALL, compose_config
from language_models import make_model
from texts import corpus, refusal, sums, write

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.data.base import SPLITS
from chord.data.batch import Pair
from chord.data.columns import Columns
from chord.data.corpus import Corpus
from chord.data.grading import Grade, Scorer
from chord.data.split import key_of
from chord.errors import ConfigError
from chord.evaluate import evaluate_run
from chord.evaluation.settings import METRICS as MEASURES
from chord.io.reading import read_json
from chord.make_expert import _row
from chord.rewards import Numeric
from chord.run.directory import RunDirectory
from chord.run.files import EVALUATIONS, METRICS, read_rows
from chord.run.located import located
from chord.run.loop import Outcome
from chord.run.training import train

Row = dict[str, Any]


class Format(NamedTuple):
    """How a row is written, how that is said, and what of row 4 is read.

    `roles` are those of the problem's turns if there are several, `written` the texts of the
    response's turns if there are.
    """

    row: Callable[[int], Row]
    said: str | None
    prompt: str
    response: str
    answer: str = "5"
    others: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


def says(role: str, content: str) -> Row:
    return {"role": role, "content": content}


def verl(n: int) -> Row:
    return {
        "data_source": ("openai/gsm8k", "amc")[n % 2],
        "prompt": [says("user", f"{n}+1?")],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": str(n + 1)},
        "extra_info": {"split": "train", "index": n, "answer": f"so\n#### {n + 1}"},
    }


FORMATS = {
    "gsm8k": Format(
        lambda n: {
            "question": f"{n}+1?",
            "answer": f"{n}+1=<<{n}+1={n + 1}>>{n + 1}\n#### {n + 1}",
        },
        "question and answer (GSM8K); problem=question, response=answer",
        "4+1?",
        "4+1=<<4+1=5>>5\n#### 5",
        answer="4+1=<<4+1=5>>5\n#### 5",
    ),
    "math": Format(
        lambda n: {
            "problem": f"{n}+1?",
            "level": "Level 1",
            "type": "Algebra",
            "solution": f"$\\frac{{2}}{{2}}+{n}=\\boxed{{{n + 1}}}$",
        },
        "problem and solution (MATH, NuminaMath); answer=solution, response=solution",
        "4+1?",
        "$\\frac{2}{2}+4=\\boxed{5}$",
    ),
    "math500": Format(
        lambda n: {
            "problem": f"{n}+1?",
            "solution": f"so \\boxed{{{n + 1}}}",
            "answer": str(n + 1),
            "subject": "Algebra",
            "level": 1,
            "unique_id": f"test/{n}.json",
        },
        "problem and solution (MATH, NuminaMath); response=solution",
        "4+1?",
        "so \\boxed{5}",
    ),
    "numina": Format(
        lambda n: {
            "source": "amc",
            "problem": f"{n}+1?",
            "solution": f"so \\boxed{{{n + 1}}}",
            "messages": [says("user", f"{n}+1?"), says("assistant", f"so \\boxed{{{n + 1}}}")],
        },
        "problem and solution (MATH, NuminaMath); answer=solution, response=solution",
        "4+1?",
        "so \\boxed{5}",
    ),
    "openr1": Format(
        lambda n: {
            "problem": f"{n}+1?",
            "solution": "short",
            "answer": str(n + 1),
            "generations": [f"<think>\nhm\n</think>\n{n + 1}", "no"],
            "correctness_math_verify": [True, False],
        },
        "problem and generations (OpenR1); response=generations.0",
        "4+1?",
        "<think>\nhm\n</think>\n5",
    ),
    "sharegpt": Format(
        lambda n: {
            "id": f"a_{n}",
            "conversations": [
                {"from": "human", "value": f"{n}+1?"},
                {"from": "gpt", "value": f"{n + 1}"},
                {"from": "human", "value": "sure?"},
                {"from": "gpt", "value": "yes"},
            ],
        },
        "conversations (ShareGPT); messages=conversations",
        "4+1?",
        "yes",
        answer="",
        written=("5", "sure?", "yes"),
    ),
    "trl": Format(
        lambda n: {"prompt": f"{n}+1?", "completion": f" {n + 1}"},
        "prompt and completion (TRL); problem=prompt, response=completion",
        "4+1?",
        " 5",
        answer="",
    ),
    "trl_messages": Format(
        lambda n: {
            "prompt": [says("system", "s"), says("user", f"{n}+1?")],
            "completion": [says("assistant", f"{n + 1}")],
        },
        "prompt and completion (TRL); messages=prompt, response=completion",
        "4+1?",
        "5",
        answer="",
        roles=("system", "user"),
    ),
    "trl_grpo": Format(
        lambda n: {"prompt": f"{n}+1?", "completion": f"it is {n + 1}", "ground_truth": n + 1},
        "prompt and completion (TRL); answer=ground_truth, problem=prompt, response=completion",
        "4+1?",
        "it is 5",
    ),
    "alpaca": Format(
        lambda n: {"instruction": "Add one.", "input": f"{n}" * (n > 0), "output": f"{n + 1}"},
        "instruction and output (Alpaca); problem=instruction, response=output",
        "Add one.\n\n4",
        "5",
        answer="",
    ),
    "swift": Format(
        lambda n: {
            "system": "s",
            "query": f"{n}+1?",
            "response": f"{n + 1}",
            "history": [["hi", "yes"]],
        },
        "query and response (ms-swift); problem=query",
        "4+1?",
        "5",
        answer="",
        roles=("system", "user", "assistant", "user"),
    ),
    "swift_conversation": Format(
        lambda n: {"system": "s", "conversation": [{"human": f"{n}+1?", "assistant": f"{n + 1}"}]},
        "conversation (ms-swift); messages=conversation",
        "4+1?",
        "5",
        answer="",
        roles=("system", "user"),
    ),
    "swift_grpo": Format(
        lambda n: {
            "messages": [says("user", f"{n}+1?"), says("assistant", f"{n + 1}")],
            "solution": f"{n + 1}",
        },
        "messages (TRL, ms-swift); answer=solution",
        "4+1?",
        "5",
    ),
    "verl": Format(
        verl,
        "verl; answer=reward_model.ground_truth, messages=prompt, response=extra_info.answer, "
        "source=data_source",
        "4+1?",
        "so\n#### 5",
    ),
    "luffy": Format(
        lambda n: {
            **verl(n),
            "prompt": [says("system", "s"), says("user", f"{n}+1?")],
            "target": [says("assistant", f"<think>\n</think>{n + 1}")],
            "reward_model": {"style": "rule", "ground_truth": [str(n + 1), f"{n + 1}.0"]},
        },
        "verl with expert responses (LUFFY); answer=reward_model.ground_truth, messages=prompt, "
        "response=target, source=data_source",
        "4+1?",
        "<think>\n</think>5",
        others=("5.0",),
        roles=("system", "user"),
    ),
    "own": Format(
        lambda n: {"problem": f"{n}+1?", "answer": n + 1, "response": f"is {n + 1}"},
        None,
        "4+1?",
        "is 5",
    ),
}


def rows_of(name: str, count: int = 40) -> list[Row]:
    return [FORMATS[name].row(n) for n in range(count)]


def pair_of(data: Corpus, row: int) -> Pair:
    assert data.experts is not None
    return data.experts.pair(row)


@pytest.mark.parametrize("name", FORMATS)
def test_a_layout_is_recognised_and_said(tmp_path: Path, name: str) -> None:
    known = FORMATS[name]
    path = write(tmp_path / "p.jsonl", rows_of(name))
    data = corpus(path, path)
    pair = pair_of(data, 4)
    assert (pair.problem.prompt, pair.response) == (known.prompt, known.response)
    assert tuple(turn.role for turn in pair.problem.turns) == known.roles
    assert tuple(turn.content for turn in pair.turns) == known.written
    problem = data.problem_rows.problem(4)
    assert (problem.answer, problem.others) == (known.answer, known.others)
    assert problem.key == pair.problem.key
    assert (data.unanswered is None) == bool(known.answer)
    assert data.problem_rows.repeated == 0
    said = [line for line in data.report() if " read as: " in line]
    assert (known.said is None) == (said == [])
    assert all(line.startswith("p.jsonl read as: ") for line in said)
    assert known.said is None or said[0].removeprefix("p.jsonl read as: ") == known.said


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def run(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    monkeypatch.chdir(tmp_path)

    def take(name: str, *overrides: str) -> Outcome:
        composed = configured(model, *overrides)
        outcome = train(parse(composed, TrainConfig), RunDirectory(tmp_path / name, composed, name))
        assert outcome is not None
        return outcome

    return take


def configured(model: Path, *overrides: str) -> Any:
    settings = ["model=hf", f"model.path={model}", "teacher=none", "data=jsonl", "reward=numeric"]
    settings += ["data.problems=p.jsonl", "data.expert=p.jsonl", "data.expert_batch=3"]
    settings += ["rollout.max_new_tokens=48"]
    settings += ["data.validation=.2", "data.test=.2", "schedule=constant"]
    return compose_config(*SMALL, *settings, *overrides)


@pytest.mark.parametrize("name", FORMATS)
def test_two_steps_are_taken_from_each_layout(run: Callable[..., Outcome], name: str) -> None:
    write(Path("p.jsonl"), rows_of(name))
    known = bool(FORMATS[name].answer)
    outcome = run("one", *([] if known else ["schedule=sft_only"]))
    rows = read_rows(Path("one") / METRICS)
    assert [row["tokens/sft"] > 0 for row in rows] == [True, True]
    assert ("target_accuracy" in outcome.validation) == known
    assert "sft_accuracy" in outcome.validation


def test_settings_go_before_what_is_recognised(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [{**verl(n), "other": f"o{n}"} for n in range(40)])
    columns = Columns(response="other", answer="extra_info.index", source="ability")
    data = corpus(path, path, columns=columns)
    pair = pair_of(data, 4)
    assert (pair.problem.prompt, pair.response, pair.problem.answer) == ("4+1?", "o4", "4")
    assert pair.problem.source == "math"


def test_fields_may_be_inside_others(tmp_path: Path) -> None:
    rows = [{"q": {"text": f"{n}?"}, "a": [{"is": n}, 7], "a.0": "x"} for n in range(40)]
    path = write(tmp_path / "p.jsonl", rows)
    data = corpus(path, columns=Columns(problem="q.text", answer="a.0.is"))
    assert data.problem_rows.problem(4).answer == "4"
    # A field with the whole name is meant first.
    data = corpus(path, columns=Columns(problem="q.text", answer="a.0"))
    assert data.problem_rows.problem(4).answer == "x"
    for name in ("a.7", "a.b", "q.text.0", "q.none"):
        said = refusal(lambda: corpus(path, columns=Columns(problem="q.text", answer=name)))  # noqa: B023
        assert said.startswith(f"p.jsonl line 1: field {name} is missing; there are: q, a, a.0")


class Same(Scorer):
    """Right where a response is the answer; fails at the answer `bad`."""

    def graded(self, problems: Any, responses: Any, lengths: Any) -> list[Grade]:
        return [
            Grade.failed("bad") if problem.answer == "bad" else Grade(float(same), same / 2)
            for problem, response in zip(problems, responses, strict=True)
            for same in (problem.answer == response,)
        ]


def test_any_of_several_answers_is_right(tmp_path: Path) -> None:
    rows = [{"problem": f"{n}?", "answer": ["bad", str(n), "some"]} for n in range(40)]
    path = write(tmp_path / "p.jsonl", rows)
    data = corpus(path)
    assert "p.jsonl: 40 problems have several right answers, any of which counts" in data.report()
    problem = data.problem_rows.problem(4)
    asked = [problem] * 4
    grades = Same().grade(asked, ["4", "some", "5", "4"], [1] * 4, [True, True, True, False])
    assert [grade.score for grade in grades] == [1, 1, 0, 0]
    assert [grade.reward for grade in grades] == [0.5, 0.5, 0, 0]
    assert not any(grade.failure for grade in grades)
    seen: list[str] = []
    data.check(lambda each: seen.append(each.answer))
    assert sorted(set(seen) & {"bad", "some"}) == ["bad", "some"]
    assert len(seen) == 3 * 40
    assert Numeric().grade(asked[:1], ["The answer is 4"], [1])[0].score == 1


def test_right_answers_alone_make_no_other_problem(tmp_path: Path) -> None:
    rows = [{"problem": f"{n}?", "answer": [str(n), "x"]} for n in range(40)]
    path = write(tmp_path / "p.jsonl", [*rows, {"problem": "4?", "answer": "4"}, rows[5]])
    text = "\n".join(corpus(path).report())
    assert "2 repeat an earlier problem and are left out, 1 of them with another answer" in text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"messages": [says("user", "1?"), {"role": "assistant", "tool_calls": [{"a": 1}]}]},
            "field messages: message 2 calls a tool; chord trains on turns of text alone",
        ),
        (
            {"messages": [says("user", "1?"), says("tool", "2"), says("assistant", "2")]},
            "field messages: message 2 is of a tool; chord trains on",
        ),
        (
            {"messages": [says("user", "1?"), says("assistant", "2")], "tools": [{"name": "f"}]},
            "field tools describes tools; chord trains on turns of text alone, so leave such rows",
        ),
    ],
)
def test_tool_calls_are_refused(tmp_path: Path, row: Row, message: str) -> None:
    good = {"messages": [says("user", "0?"), says("assistant", "0")], "tools": []}
    path = write(tmp_path / "e.jsonl", [good, row])
    problems = write(tmp_path / "p.jsonl", sums(40))
    assert refusal(lambda: corpus(problems, path)).startswith(f"e.jsonl line 2: {message}")


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("trl_messages", {"completion": [says("user", "a")]}, "field completion must end with a t"),
        (
            "trl_messages",
            {"completion": [{"role": "assistant", "content": None, "tool_calls": [{"a": 1}]}]},
            "field completion: message 1 calls a tool; ",
        ),
        ("sharegpt", {"conversations": [{"from": "function_call", "value": "f"}]}, "field conver"),
        (
            "sharegpt",
            {"conversations": [{"from": "bot", "value": "f"}]},
            "field conversations: from of message 1 is 'bot', must be one of human, user, gpt, ",
        ),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": ""}]},
            "field conversations: value of message 1 is empty, must be text",
        ),
        ("math", {"solution": "a proof"}, "field solution has no \\boxed{...} with the right ans"),
        ("math", {"solution": "\\boxed{1"}, "field solution has no \\boxed{...} with the right an"),
        ("swift", {"history": [["a"]]}, "field history: element 1 must be a question with its an"),
        ("swift", {"history": [["a", 1]]}, "field history: assistant of message 1 is a number, m"),
        ("alpaca", {"input": 7}, "field input is a number, must be text"),
        ("luffy", {"target": []}, "field target is an empty list, must be "),
        (
            "verl",
            {"reward_model": {"ground_truth": ["1", None]}},
            "field reward_model.ground_truth: element 2 is null, must be text or a number",
        ),
        ("verl", {"reward_model": {}}, "field reward_model.ground_truth is missing; there are: "),
        ("openr1", {"generations": []}, "field generations.0 is missing; there are: problem, "),
    ],
)
def test_a_row_that_is_unlike_the_others_is_named(
    tmp_path: Path, name: str, row: Row, message: str
) -> None:
    path = write(tmp_path / "p.jsonl", [*rows_of(name, 3), {**FORMATS[name].row(3), **row}])
    assert refusal(lambda: corpus(path, path)).startswith(f"p.jsonl line 4: {message}")


def test_a_template_may_name_any_field(tmp_path: Path) -> None:
    rows = [{**row, "topic": "sums", "of": {"n": n}} for n, row in enumerate(sums(40))]
    twice = [*rows, {**rows[4], "topic": "others"}]
    path = write(tmp_path / "p.jsonl", twice)
    template = "{topic}/{of.n}: {problem} as \\boxed{} {{problem}} { x }"
    expert = write(tmp_path / "e.jsonl", [{"id": 4, "response": "8"}, {**rows[5], "response": "1"}])
    data = corpus(path, columns=Columns(id=None), prompt_template=template)
    assert data.problem_rows.problem(4).prompt == "sums/4: 4+4? as \\boxed{} {problem} { x }"
    # What the template puts in makes another problem of it.
    assert data.problem_rows.repeated == 0
    assert corpus(path, columns=Columns(id=None)).problem_rows.repeated == 1
    write(path, rows)
    data = corpus(path, expert, prompt_template=template, expert_pairs=None)
    assert [pair_of(data, row).problem.prompt[:7] for row in range(2)] == ["sums/4:", "sums/5:"]


def test_what_a_template_adds_is_part_of_the_rows_of_a_new_expert(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [{**row, "topic": "sums"} for row in sums(40)])
    data = corpus(path, prompt_template="{topic}: {problem}")

    class Demonstrator:
        pass

    teacher = Demonstrator()
    teacher.data = data  # type: ignore[attr-defined]
    row = _row(teacher, data.problem_rows.problem(4), "8")  # type: ignore[arg-type]
    assert row == {"problem": "4+4?", "answer": "8", "topic": "sums", "response": "8"}
    again = corpus(
        path,
        write(
            tmp_path / "e.jsonl", [row] * 2 + [_row(teacher, each, "1") for each in data.every()]
        ),
        prompt_template="{topic}: {problem}",
    )  # type: ignore[arg-type]
    assert pair_of(again, 0).problem.key == data.problem_rows.problem(4).key


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{problem} {nope}",
            "p.jsonl line 1: data.prompt_template names a field nope, which",
        ),
        (
            "{problem} {topic}",
            "p.jsonl line 31: data.prompt_template names a field topic, which",
        ),
        (
            "{problem} {list}",
            "p.jsonl line 1: field list of data.prompt_template is a list, must",
        ),
        (
            "{problem} {answer}",
            "data.prompt_template={problem} {answer}: {answer} would show",
        ),
        ("{ problem }", "data.prompt_template={ problem }: must hold {problem}, or another field"),
    ],
)
def test_a_template_is_checked_on_every_row(tmp_path: Path, template: str, message: str) -> None:
    rows = [{**row, "topic": "sums", "list": [1]} for row in sums(40)]
    del rows[30]["topic"]
    path = write(tmp_path / "p.jsonl", rows)
    assert refusal(lambda: corpus(path, prompt_template=template)).startswith(message)


def test_only_sft_needs_no_answers(
    run: Callable[..., Outcome], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("p.jsonl"), rows_of("sharegpt"))
    for schedule in ("schedule=constant", "schedule=rl_only", "schedule=sft_then_rl"):
        with pytest.raises(ConfigError, match=r"^p\.jsonl line 1: field answer is missing.* SFT"):
            run("refused", schedule)
    outcome = run("one", "schedule=sft_only", "evaluation.every=1")
    said = capsys.readouterr().out
    assert "p.jsonl: has no answers, so no response is scored" in said
    assert "✗" not in said
    assert set(outcome.validation) & set(MEASURES) == {"sft_accuracy", "expert_nll"}
    assert outcome.trained.answers
    assert outcome.metric("val/target_accuracy") != outcome.metric("val/target_accuracy")
    # Problems with answers can still be held out in a file of their own.
    write(Path("t.jsonl"), sums(9))
    other = run("two", "schedule=sft_only", "data.test=t.jsonl")
    assert "target_accuracy" in other.trained.metrics
    assert "target_accuracy" not in other.validation


def test_a_run_without_validation_reports_on_test(
    run: Callable[..., Outcome], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("p.jsonl"), rows_of("own"))
    outcome = run("one", "data.validation=0", "evaluation.every=1")
    assert ", 0 validation, " in capsys.readouterr().out
    assert outcome.validation == {}
    rows = read_rows(Path("one") / EVALUATIONS)
    assert {row["split"] for row in rows} == {"test"}
    assert outcome.metric("val/target_accuracy") != outcome.metric("val/target_accuracy")
    with pytest.raises(ConfigError, match=r"^data\.validation=0: evaluation\.test=false"):
        parse(configured(model, "data.validation=0", "evaluation.test=false"), TrainConfig)
    again = compose_config("evaluation=quick", "evaluation.max_new_tokens=12", name="evaluate")
    again.split = "val"
    from chord.config.root import EvaluateConfig

    with pytest.raises(ConfigError, match=r"^split=val: data\.validation=0 holds out no problems"):
        evaluate_run(Path("one"), parse(again, EvaluateConfig))


def test_no_validation_moves_no_problem_of_the_test_split(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", sums(200))
    one, other = corpus(path), corpus(path, validation="0")
    assert list(one.held_out("test")) == list(other.held_out("test"))
    assert len(other.held_out("validation")) == 0
    assert len(other.train) == len(one.train) + len(one.held_out("validation"))
    assert [len(other.held_out_pairs(split)) for split in SPLITS] == [0, 0]


def test_scores_are_given_by_source(
    run: Callable[..., Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("p.jsonl"), rows_of("verl"))
    outcome = run("one", "evaluation.val_problems=8", "evaluation.test_problems=8")
    metrics = outcome.trained.metrics
    found = {key: value for key, value in metrics.items() if key.startswith("source/")}
    assert set(found) == {"source/openai/gsm8k", "source/amc"}
    asked = outcome.trained.answers
    for name in ("openai/gsm8k", "amc"):
        scores = [each.score for each in asked if each.problem.source == name]
        assert found[f"source/{name}"] == sum(scores) / len(scores)
    assert "target of openai/gsm8k" in capsys.readouterr().out
    from chord.compare.command import main as compare

    run("two", "seed=1", "evaluation.val_problems=8", "evaluation.test_problems=8")
    compare(["one", "two", "--out", "compared"])
    assert "test/source/amc" in (Path("compared") / "runs.csv").read_text()
    assert "source/amc" in (Path("compared") / "comparison.html").read_text()


def test_a_run_reads_lists_patterns_and_packed_files(run: Callable[..., Outcome]) -> None:
    for number in range(2):
        rows = [FORMATS["own"].row(n) for n in range(20 * number, 20 * number + 20)]
        content = write(Path(f"{number}.jsonl"), rows).read_bytes()
        Path(f"{number}.jsonl.gz").write_bytes(gzip.compress(content))
    run("one", "data.problems=[0.jsonl,1.jsonl]", "data.expert=*.jsonl.gz")
    contents = read_json(Path("one") / "run.json")["contents"]
    assert {"data.problems.0", "data.problems.1", "data.expert"} <= contents.keys()
    config = configured(Path("m"), "data.problems=[0.jsonl,1.jsonl]", "data.expert=*.jsonl.gz")
    here = Path.cwd()
    (here / "elsewhere").mkdir()
    os.chdir(here / "elsewhere")
    found = located(config, here).data
    os.chdir(here)
    assert list(found.problems) == [f"{here}/0.jsonl", f"{here}/1.jsonl"]
    assert found.expert == f"{here}/*.jsonl.gz"


def test_what_was_read_before_is_in_the_same_parts(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", sums(60))
    # By the hash of the text alone, as ever.
    assert [problem.key for problem in corpus(path).every()] == sorted(
        key_of(row["problem"]) for row in sums(60)
    )
    assert key_of("4+4?") == 271308318694969558
