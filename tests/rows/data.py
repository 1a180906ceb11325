"""The data sets: their sizes, and the first problem of each part with its answer worked out."""

from __future__ import annotations

from typing import Any, NamedTuple

from texts import sums, worked

LANGUAGE = "model=hf model.path=LANGUAGE_MODEL teacher=none"
"""A small language model whose tokenizer writes every printable character."""


class Example(NamedTuple):
    """A problem, its known answer, and what the expert says; None where it says nothing."""

    prompt: str
    answer: str
    response: str | None = None


class Row(NamedTuple):
    """What the tests know of a data set.

    `sizes`: of the parts that have one. `first`: the first problem of each part; `rl` is that of
    step 0 and seed 0. `needs`: what is typed beside `data=NAME`. `files`: JSON lines in the
    directory FILES. `package`: what must be installed.
    """

    sizes: dict[str, int]
    first: dict[str, Example]
    needs: str = ""
    files: dict[str, list[dict[str, Any]]] | None = None
    package: str | None = None


ASKED = "State the final answer to the following arithmetic problem:"
ROWS: dict[str, Row] = {
    # 3685 * 19 = 33165 + 36850; 8166 * 76 = 612450 + 8166.
    "testbed": Row(
        {"experts": 256, "validation": 500, "test": 1000},
        {
            "rl": Example("8166*76=", "620616"),
            "experts": Example("3685*19=", "70015", "3685*9=33165;3685*10=36850;33165+36850=70015"),
            "validation": Example(
                "5339*31=", "165509", "5339*1=5339;5339*30=160170;5339+160170=165509"
            ),
            "test": Example(
                "3676*83=", "305108", "3676*3=11028;3676*80=294080;11028+294080=305108"
            ),
        },
    ),
    "jsonl": Row(
        {"experts": 45, "validation": 8, "test": 7},
        {
            "rl": Example("5+5?", "10", "5+5=10"),
            "experts": Example("20+20?", "40", "20+20=40"),
            "validation": Example("17+17?", "34", "17+17=34"),
            "test": Example("41+41?", "82", "41+41=82"),
        },
        needs=f"{LANGUAGE} data.problems=FILES/p.jsonl data.expert=FILES/e.jsonl",
        files={"p.jsonl": sums(60), "e.jsonl": worked(sums(60))},
    ),
    "reasoning_gym": Row(
        {"experts": 1556, "validation": 237, "test": 207},
        {
            "rl": Example(f"{ASKED} 4823 + 5133 + 2143 =", "12099", "12099"),
            "experts": Example(f"{ASKED} 98 + 28 =", "126", "126"),
            "validation": Example(f"{ASKED} 951 + 182 - 800 - 761 - 401 + 766 =", "-63", "-63"),
            "test": Example(f"{ASKED} 5 - 9 - 9 - 4 + 1 + 8 =", "-8", "-8"),
        },
        needs=f"{LANGUAGE} data.task=chain_sum reward=numeric",
        package="reasoning_gym",
    ),
    "sums": Row(
        {"experts": 1024, "validation": 406, "test": 414},
        {
            "rl": Example("Calculate 26 + 83.", "109", "109"),
            "experts": Example("Calculate 34 + 96.", "130", "130"),
            "validation": Example("Calculate 47 + 84.", "131", "131"),
            "test": Example("Calculate 71 + 96.", "167", "167"),
        },
        needs=LANGUAGE,
        package="reasoning_gym",
    ),
}
