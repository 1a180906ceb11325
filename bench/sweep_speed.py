"""How much faster a sweep is with hydra/launcher=joblib: `python bench/sweep_speed.py 3 4`.

Arguments: rounds, jobs. Serial and parallel sweeps take turns, so that a busy machine slows both.
Prints the seconds of each and the ratio of their sums.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

SETTINGS = ["experiment=chord_mu", "steps=40", "evaluation=quick", "tracking=off"]


def seconds(directory: str, name: str, jobs: int, *launcher: str) -> float:
    """The wall time of a whole sweep, including its start-up."""
    command = [sys.executable, "-m", "chord.train", "-m", *SETTINGS, f"seed=range(0,{jobs})"]
    started = time.monotonic()
    subprocess.run(
        [*command, *launcher, f"hydra.sweep.dir={directory}/{name}"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - started


def main() -> None:
    rounds, jobs = (int(word) for word in sys.argv[1:3])
    serial, parallel = [], []
    with tempfile.TemporaryDirectory() as directory:
        for number in range(rounds):
            serial.append(seconds(directory, f"serial{number}", jobs))
            parallel.append(seconds(directory, f"joblib{number}", jobs, "hydra/launcher=joblib"))
            print(
                f"{jobs} jobs: serial {serial[-1]:.1f} s, joblib {parallel[-1]:.1f} s", flush=True
            )
    print(f"speed-up: {sum(serial) / sum(parallel):.2f}")


if __name__ == "__main__":
    main()
