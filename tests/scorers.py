"""Reward functions for tests: well-behaved, wrong, and hostile ones, as a user might bring."""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chord.data.batch import Problem
from chord.rewards import Isolated


def same(problem: Problem, response: str) -> float:
    return float(response == problem.answer)


def by_fields(answer: str, response: str, *, bonus: float = 0.25) -> float:
    return bonus + (response == answer)


def trl_lengths(completions: list[str], **columns: Any) -> list[float]:
    """As in TRL's documentation: unique characters."""
    return [float(len(set(completion))) for completion in completions]


async def trl_columns(
    prompts: list[Any], completions: list[Any], answer: list[str], level: list[Any], **rest: Any
) -> list[float | None]:
    """Asynchronous, None where it does not apply; the reward counts what is as it has to be."""
    await asyncio.sleep(0)
    (prompt,), (completion,) = prompts, completions
    if isinstance(completion, list):
        (turn,) = completion
        assert turn["role"] == "assistant"
        assert prompt[-1] == {"role": "user", "content": "2+2="}
        completion = turn["content"]
    else:
        assert prompt == "2+2="
    if completion == "skip":
        return [None]
    known = [set(rest) == {"problem", "source", "trainer"}, level == [3], answer == [completion]]
    return [float(sum(known))]


def trl_state(completions: list[str], trainer_state: Any) -> list[float]:
    return [0.0 for _ in completions]


def trl_float(completions: list[str]) -> Any:
    return 1.0 if completions == ["one"] else [1.0, 2.0]


def compute_score(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None
) -> Any:
    """As verl calls it."""
    if solution_str == "arguments":
        given = [data_source, ground_truth, extra_info]
        return {"score": float(given == ["gsm8k", 4, {"index": 7}]), "acc": False}
    if solution_str == "no score":
        return {"acc": True, "pred": "4"}
    return {"score": 1.0 if solution_str == str(ground_truth) else -1.0, "pred": solution_str}


def minus_one(answer: str, response: str) -> float:
    """The usual mistake: -1 for what is wrong."""
    return 1.0 if response.endswith(f"={answer}") else -1.0


def partial(answer: str, response: str) -> float:
    """Gives 0.1 for any response."""
    return 1.0 if response.endswith(f"={answer}") else 0.1 * bool(response)


def always(response: str) -> float:
    """Calls everything right."""
    return 1.0


def graded(response: str) -> float:
    """On a scale of its own, far from [0, 1]."""
    return 100.0 * len(response) - 1000


def verl_plain(solution_str: str, ground_truth: str, method: str = "strict") -> float:
    return float(solution_str == ground_truth)


async def later(answer: str, response: str) -> float:
    await asyncio.sleep(0)
    return float(answer == response)


def wants_more(response: str, temperature: float) -> float:
    return temperature


def saw_torch(response: str) -> float:
    return float(any(name in sys.modules for name in ("torch", "lightning", "hydra")))


def process_id(response: str) -> float:
    return float(os.getpid())


def with_child(response: str) -> float:
    """Starts a process that outlives the answer, and hangs; its number is in the file named."""
    child = subprocess.Popen(["sleep", "1000"])
    with open(response, "w") as file:
        file.write(str(child.pid))
    time.sleep(1000)
    return 1.0


class UnreadableError(Exception):
    """Its text can't be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def late(response: str) -> float:
    """Answers, and writes into its pipe when it has; a large response is not read any more."""
    if response == "late":
        threading.Timer(0.2, os.write, [int(sys.argv[1]), b"\x7f\xff\xff\xff"]).start()
    if response == "stop later":
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGSTOP]).start()
    return 1.0


def forger(response: str) -> float:
    """Leaves a thread that answers for it, as soon as the next answer is being scored."""
    if response == "forge":
        said = b'{"number": 2, "score": 1.0, "reward": 1.0}\n'
        threading.Timer(0.2, os.write, [int(sys.argv[1]), said]).start()
        return 0.0
    time.sleep(0.6)
    return 0.0


def daemon(response: str) -> float:
    """Starts a process in a session of its own, as a daemon is started, and ends."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with open(response, "w") as file:
                file.write(str(os.getpid()))
            time.sleep(1000)
        os._exit(0)
    os.wait()
    os._exit(3)


def exactly(response: str) -> Any:
    """The number that the response names, in a type other than float."""
    import decimal
    import fractions

    import numpy as np

    return {
        "decimal": decimal.Decimal("0.5"),
        "fraction": fractions.Fraction(1, 2),
        "numpy": np.float32(0.5),
        "truth": np.bool_(True),
        "whole": np.int64(1),
        "bool": True,
        "nan": decimal.Decimal("nan"),
        "array": np.array([0.5]),
        "complex": 1j,
    }[response]


@dataclass(kw_only=True)
class Calculated(Isolated):
    """Reads the number that a response says, and fails at all else."""

    def harmless(self, problem: Problem) -> Sequence[str]:
        return (problem.answer,)

    def score(self, problem: Problem, response: str) -> float:
        return float(int(response) == int(problem.answer))


def never(response: str) -> float:
    """Has a defect."""
    return float(response["score"])  # type: ignore[call-overload]


def hostile(response: str) -> Any:
    """What the response says: each way to fail, and `fine`."""
    match response:
        case "sleep":
            time.sleep(1000)
        case "loop":
            while True:
                pass
        case "exit":
            os._exit(3)
        case "quit":
            sys.exit("enough")
        case "crash":
            ctypes.string_at(0)
        case "raise":
            raise KeyError("no such thing")
        case "memory":
            return float(len(bytearray(64 * 2**30)))
        case "deep":
            return hostile(response) + hostile(response)
        case "text":
            return "0.5"
        case "nothing":
            return None
        case "nan":
            return math.nan
        case "inf":
            return math.inf
        case "long":
            os.write(int(sys.argv[1]), b"x" * 2_000_000)
        case "length":
            # To multiprocessing the length of a message, two gigabytes long.
            os.write(int(sys.argv[1]), b"\x7f\xff\xff\xff")
            time.sleep(0.2)
        case "forge":
            os.write(int(sys.argv[1]), b'{"number": 1000000, "score": 1, "reward": 1}\n')
        case "flood":
            os.set_blocking(int(sys.argv[1]), True)
            while True:
                os.write(int(sys.argv[1]), b"[" * 65536)
        case "close":
            os.closerange(3, 256)
        case "fork":
            os.fork()
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "unreadable":
            raise UnreadableError
        case "print":
            print("noise")
            os.write(1, b"noise\n")
    return 1.0


def erratic(answer: str, response: str) -> float:
    """At the answers to some problems it ends its process or hangs, at most it raises."""
    kind = sum(map(ord, answer)) % 10
    if kind == 0:
        os._exit(1)
    if kind == 1:
        time.sleep(1000)
    if kind < 9:
        raise ValueError("I do not like this one")
    return float(response == answer)
