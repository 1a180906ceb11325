"""Settings of a sweep's that a single run would ignore are refused."""

from __future__ import annotations

import re

import pytest

from chord.errors import ConfigError
from chord.run.claim import refuse_job_settings


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("hydra/launcher=joblib", "starts the jobs of a sweep; give -m and what it varies"),
        ("hydra.launcher.n_jobs=2", "starts the jobs of a sweep; give -m and what it varies"),
        ("+hydra.launcher.n_jobs=2", "starts the jobs of a sweep; give -m and what it varies"),
        ("hydra.job.num=3", "a sweep numbers its jobs by itself; leave it out"),
        ("hydra.job.id=3", "a sweep numbers its jobs by itself; leave it out"),
    ],
)
def test_what_hydra_would_ignore_in_a_single_run_is_refused(word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(word)}: {said}$"):
        refuse_job_settings(["hydra.run.dir=x", word])


def test_settings_of_hydra_that_a_single_run_reads_are_not() -> None:
    refuse_job_settings(["hydra.run.dir=x", "hydra.job.chdir=true", "hydra.job.name=y"])
