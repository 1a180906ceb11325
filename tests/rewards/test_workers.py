"""A scorer that hangs, fails or ends its process costs one answer its reward, and nothing else."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scorers import Calculated

from chord.data.batch import Problem
from chord.rewards import Function, Grade, Grader, Weighted
from chord.rewards.base import ScorerError
from chord.rewards.workers import Worker

pytestmark = pytest.mark.faults
PROBLEM = Problem(prompt="2+2=", answer="4", key=0)


def function(name: str, **settings: float) -> Function:
    return Function(function=f"scorers:{name}", **settings)  # type: ignore[arg-type]


def grades(reward: Function, *responses: str) -> list[Grade]:
    return reward.graded([PROBLEM] * len(responses), responses, [1] * len(responses))


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


def ends(pid: int) -> bool:
    """Whether a process ends by itself; the limit is for one that never does."""
    waited = time.monotonic() + 300
    while alive(pid) and time.monotonic() < waited:
        time.sleep(0.02)
    return not alive(pid)


@pytest.fixture(scope="module")
def hostile() -> Iterator[Function]:
    reward = function("hostile", timeout=1.0)
    reward.prepare(PROBLEM)
    yield reward
    reward.close()


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("sleep", "took longer than 1 s"),
        ("loop", "took longer than 1 s"),
        ("exit", "ended its process (exit code 3)"),
        ("crash", "ended its process (SIGSEGV)"),
        ("quit", "raised SystemExit: enough"),
        ("raise", "raised KeyError: 'no such thing'"),
        ("memory", "raised MemoryError"),
        ("deep", "raised RecursionError"),
        ("text", "returned '0.5', not a finite number"),
        ("nothing", "returned 'None', not a finite number"),
        ("nan", "returned 'nan', not a finite number"),
        ("inf", "returned 'inf', not a finite number"),
        ("long", "ended its process (it wrote into its pipe)"),
        ("length", "ended its process (it wrote into its pipe)"),
        ("forge", "ended its process (it wrote into its pipe)"),
        ("flood", "ended its process (it wrote into its pipe)"),
        ("close", "ended its process (exit code 0)"),
        ("stop", "took longer than 1 s"),
        ("unreadable", "raised UnreadableError"),
    ],
)
def test_a_failing_scorer_costs_one_answer_its_reward(
    hostile: Function, response: str, reason: str
) -> None:
    before, failed, after = grades(hostile, "fine", response, "fine")
    assert before == after == Grade(1.0, 1.0)
    assert (failed.score, failed.reward) == (0, 0)
    assert failed.failure is not None
    assert reason in failed.failure.reason
    assert failed.failure.timed_out == (response in ("sleep", "loop", "stop"))


def test_what_a_scorer_prints_does_not_disturb(hostile: Function) -> None:
    assert grades(hostile, "print", "fine") == [Grade(1.0, 1.0)] * 2


def test_a_fork_of_a_scorer_gives_no_second_answer(hostile: Function) -> None:
    assert grades(hostile, *["fork", "fine"] * 3) == [Grade(1.0, 1.0)] * 6
    assert grades(hostile, "nan", "fine")[1] == Grade(1.0, 1.0)


@pytest.mark.parametrize("response", ["late", "stop later"])
def test_what_a_scorer_does_after_its_answer_costs_at_most_the_next_one(response: str) -> None:
    # A response that no buffer holds: to say it, somebody must read.
    reward = function("late", timeout=1.0, workers=1)
    assert grades(reward, response) == [Grade(1.0, 1.0)]
    time.sleep(0.4)
    first, second = grades(reward, "x" * 5_000_000, "y")
    assert first.score == (response == "late")
    assert second == Grade(1.0, 1.0)
    reward.close()


def test_what_a_scorer_leaves_behind_cant_answer_the_next_request() -> None:
    reward = function("forger", timeout=5.0, workers=1)
    first, second, third = grades(reward, "forge", "wrong", "wrong")
    assert first == third == Grade(0.0, 0.0)
    assert second.score == 0
    assert second.failure is not None
    assert "it wrote into its pipe" in second.failure.reason
    reward.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_daemon_of_a_scorer_ends_and_is_not_taken_for_a_slow_answer(tmp_path: Path) -> None:
    reward, file = function("daemon", timeout=1.0, workers=1), tmp_path / "pid"
    (found,) = grades(reward, str(file))
    assert found.failure is not None
    assert found.failure.reason == "the verifier ended its process (exit code 3)"
    assert not found.failure.timed_out
    assert ends(int(file.read_text()))
    reward.close()


def test_a_score_is_a_real_number_of_any_type() -> None:
    reward = function("exactly", workers=1)
    types = ["decimal", "fraction", "numpy", "truth", "whole", "bool"]
    assert [grade.score for grade in grades(reward, *types)] == [0.5, 0.5, 0.5, 1, 1, 1]
    for failed in grades(reward, "nan", "array", "complex"):
        assert failed.failure is not None
        assert "not a finite number" in failed.failure.reason
    reward.close()


@pytest.mark.parametrize("weighted", [False, True])
def test_a_scorer_that_fails_at_each_of_the_first_64_answers_ends_the_run(weighted: bool) -> None:
    reward: Grader = function("never")
    if weighted:
        reward = Weighted(parts={"mine": reward}, weights={"mine": 1.0}, score="mine")
    asked = [PROBLEM] * 40, ["4"] * 40, [1] * 40
    assert all(grade.failure for grade in reward.graded(*asked))
    setting = "reward.parts.mine" if weighted else "reward"
    with pytest.raises(ScorerError, match=rf"^{setting}\.on_failures=stop: .* first 64") as raised:
        reward.graded(*asked)
    facts = raised.value.facts
    assert (facts["prompt"], facts["answer"], facts["response"]) == ("2+2=", "4", "4")
    assert 'float(response["score"])' in "\n".join(facts["traceback"])
    assert facts["reason"].startswith("the verifier raised TypeError: string indices")
    reward.close()


def test_a_scorer_that_has_worked_once_or_may_fail_ends_nothing() -> None:
    once = function("hostile")
    assert sum(g.failure is None for g in grades(once, *["nan"] * 63, "fine", *["nan"] * 70)) == 1
    once.close()
    told = Function(function="scorers:never", on_failures="count")
    assert all(grade.failure for grade in grades(told, *["4"] * 70))
    told.close()
    with pytest.raises(ValueError, match=r"^reward\.on_failures=skip: must be one of stop, count"):
        Function(function="scorers:never", on_failures="skip")


def test_a_response_that_cannot_be_evaluated_ends_nothing_and_known_answers_do() -> None:
    reward = Calculated(workers=1)
    unknown = replace(PROBLEM, answer="too much")
    asked = [unknown] * 40 + [PROBLEM] * 40, ["4"] * 40 + ["too much"] * 40, [1] * 80
    assert all(grade.failure for grade in reward.graded(*asked))
    reward.close()
    reward = Calculated(workers=1)
    with pytest.raises(
        ScorerError, match="first 64 answers, at the first one because the verifier"
    ):
        reward.graded([unknown] * 64, ["4"] * 64, [1] * 64)
    reward.close()


def test_answers_keep_their_order_over_workers_that_die(hostile: Function) -> None:
    responses = ["fine", "exit", "nan"] * 4
    scores = [grade.score for grade in grades(hostile, *responses)]
    assert scores == [1, 0, 0] * 4


def test_no_answers_need_no_worker() -> None:
    reward = function("same")
    assert grades(reward) == []
    assert reward._pool[1]._workers == []


def test_a_worker_imports_neither_torch_nor_the_command() -> None:
    reward = function("saw_torch")
    assert grades(reward, "") == [Grade(0.0, 0.0)]
    reward.close()


def test_a_function_gets_what_its_parameters_name() -> None:
    reward = function("by_fields")
    assert [grade.score for grade in grades(reward, "4", "5")] == [1.25, 0.25]
    reward.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scorers:nothing_there", r"can't be imported \(AttributeError: "),
        ("no_such_module:f", r"can't be imported \(ModuleNotFoundError: "),
        ("scorers:os", r"is no function"),
        ("scorers:wants_more", r"its parameter temperature must be one of problem, prompt, "),
    ],
)
def test_a_function_that_can_never_be_called_is_known_at_the_start(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^reward\.function={name}: {message}"):
        Function(function=name).prepare(PROBLEM)


def test_a_function_can_lie_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_scorer.py").write_text("def score(response):\n    return len(response)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    reward = Function(function="my_scorer:score")
    assert grades(reward, "abc") == [Grade(3.0, 3.0)]
    reward.close()


def test_closing_ends_the_workers_and_leaves_no_zombies() -> None:
    reward = function("process_id")
    pids = {int(grade.score) for grade in grades(reward, *"abcd")}
    assert all(alive(pid) for pid in pids)
    reward.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    # Grading again starts others.
    assert int(grades(reward, "a")[0].score) not in pids
    reward.close()


def test_a_worker_that_dies_between_two_steps_is_replaced() -> None:
    reward = function("process_id", workers=1)
    first = int(grades(reward, "a")[0].score)
    os.kill(first, 9)
    assert ends(first)
    second = grades(reward, "a")[0]
    assert second.failure is None
    assert int(second.score) != first
    reward.close()


def test_what_a_scorer_starts_ends_with_it(tmp_path: Path) -> None:
    reward = function("with_child", timeout=1.0)
    file = tmp_path / "pid"
    assert grades(reward, str(file))[0].failure is not None
    assert ends(int(file.read_text()))
    reward.close()


def test_an_interrupt_leaves_no_answer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(worker: Worker, message: bytes) -> None:
        send(worker, message)
        raise KeyboardInterrupt

    reward, send = function("hostile", workers=1), Worker.send
    with monkeypatch.context() as patch:
        grades(reward, "fine")
        patch.setattr(Worker, "send", interrupt)
        with pytest.raises(KeyboardInterrupt):
            grades(reward, "nan")
    assert grades(reward, "fine") == [Grade(1.0, 1.0)]
    reward.close()


def test_a_copy_has_workers_of_its_own(hostile: Function) -> None:
    copy = pickle.loads(pickle.dumps(hostile))
    assert copy == hostile
    assert copy._pool is None


SCRIPT = """
import os, sys, threading, time
from chord.data.batch import Problem
from chord.rewards import Function
reward = Function(function="scorers:process_id", workers=2)
found = [reward.graded([Problem("", "", 0)], [""], [1])[0] for _ in range(2)]
if sys.argv[1] == "fork" and os.fork() == 0:
    # A fork neither uses nor ends the workers of the run.
    own = reward.graded([Problem("", "", 0)], [""], [1])[0]
    assert own.score != found[0].score
    sys.exit(0)
if sys.argv[1] == "fork":
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
    assert reward.graded([Problem("", "", 0)], [""], [1])[0] == found[0]
print(int(found[0].score), flush=True)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["end", "fork", "kill"])
def test_workers_end_with_the_run_however_it_ends(how: str, tmp_path: Path) -> None:
    # A script without a main guard, which a spawned process would run again.
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), how],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == (-9 if how == "kill" else 0), done.stderr
    assert done.stderr == ""
    assert ends(int(done.stdout))
