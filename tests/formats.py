"""Rows in the layouts that other projects write, and what is read from each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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
        "instruction and output (Alpaca); problem=instruction, input=input, response=output",
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
        "query and response (ms-swift); problem=query, system=system, history=history",
        "4+1?",
        "5",
        answer="",
        roles=("system", "user", "assistant", "user"),
    ),
    "swift_conversation": Format(
        lambda n: {"system": "s", "conversation": [{"human": f"{n}+1?", "assistant": f"{n + 1}"}]},
        "conversation (ms-swift); messages=conversation, system=system",
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
