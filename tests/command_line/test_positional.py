"""A run directory that stands alone in a command of Hydra's."""

from __future__ import annotations

from pathlib import Path

import pytest

from chord.command_line.positional import run_given
from chord.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], []),
        (["split=val"], ["split=val"]),
        (["outputs/x", "split=val"], ["run=outputs/x", "split=val"]),
        (["split=val", "outputs/x"], ["split=val", "run=outputs/x"]),
        (["run=outputs/x"], ["run=outputs/x"]),
        (["--config-dir", "own", "outputs/x"], ["--config-dir", "own", "run=outputs/x"]),
        (["--cfg", "job"], ["--cfg", "job"]),
        (["~evaluation"], ["~evaluation"]),
        (["there/a=1 [b]"], ["run='there/a=1 [b]'"]),
        (["there/é"], ["run='there/é'"]),
    ],
)
def test_a_directory_alone_is_the_run(
    words: list[str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there" / "a=1 [b]").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert run_given(words) == expected


def test_several_at_a_time_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^-m: only one run is evaluated at a time$"):
        run_given(["a", "-m", "split=val,test"])


@pytest.mark.parametrize("words", [["a", "b"], ["a", "run=b"]])
def test_two_runs_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^a and (run=)?b: only one run can be given$"):
        run_given(words)
