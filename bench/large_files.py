"""Peak memory and time of reading a million short rows, by format: `python bench/large_files.py`.

Each file holds problems with right answers and expert responses, and is `data.problems` and
`data.expert` at once. It is read in a process of its own, up to where a run would load the model.
"""

from __future__ import annotations

import csv
import gzip
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROWS = 1_000_000
FILES = ("p.csv", "p.jsonl", "p.jsonl.gz", "p.parquet")


def main() -> None:
    """Write and read a file of each format."""
    with tempfile.TemporaryDirectory() as directory:
        for name in FILES:
            # Both in processes of their own: a process begins with the peak of the one before.
            for job in ("write", "read"):
                command = [sys.executable, __file__, job, f"{directory}/{name}"]
                subprocess.run(command, check=True)


def rows() -> Iterator[dict[str, str]]:
    for n in range(ROWS):
        response = f"{n} and {n} is {2 * n}"
        yield {"problem": f"What is {n} + {n}?", "answer": str(2 * n), "response": response}


def write(path: Path) -> None:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, ["problem", "answer", "response"])
            table.writeheader()
            table.writerows(rows())
    elif path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(list(rows())), path)
    else:
        with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows())


def read(path: str) -> None:
    from chord.data.base import Room
    from chord.data.jsonl import FilesConfig
    from chord.data.tokenizer import CharTokenizer

    tokenizer = CharTokenizer("".join(map(chr, range(32, 127))))
    data = FilesConfig(problems=path, expert=path).build(tokenizer)
    for _ in data.read_experts():
        pass
    data.fit(Room(context=4096, rollout=256, evaluation=256))
    data.report(), data.lengths(), data.overlap()
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = used.ru_utime + used.ru_stime
    print(f"{Path(path).name:12} {used.ru_maxrss >> 10:5} MiB {seconds:5.1f} s of CPU time")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        read(sys.argv[2])
