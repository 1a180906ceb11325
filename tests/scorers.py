"""Reward functions for tests: well-behaved, wrong, and hostile ones, as a user might bring."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from chord.data.batch import Problem


def same(problem: Problem, response: str) -> float:
    return float(response == problem.answer)


def by_fields(answer: str, response: str, *, bonus: float = 0.25) -> float:
    return bonus + (response == answer)


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
