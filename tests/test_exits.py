"""How commands without Hydra end."""

from __future__ import annotations

import pytest

from chord.exits import readable_errors


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("--out x:\n no such place"), 1, "--out x: no such place\n"),
        (FileNotFoundError("gone"), 1, "gone\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_what_a_user_can_cause_ends_in_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, readable_errors():
        raise error
    assert end.value.code == code
    assert capsys.readouterr() == ("", line)


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(KeyError), readable_errors():
        raise KeyError("a defect")
