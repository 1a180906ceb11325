"""`python -m chord.show`: the plot, the numbers, what is assumed, and what is refused."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from commands import LIGHT, run
from rich.console import Console
from vectors import GOLDEN

from chord.config.registry import SCHEMAS
from chord.show.command import combinations, main, panels, parser, show
from chord.show.plots import plot_panels
from chord.show.terminal import Line, Panel, draw, in_ascii, nice_top


def shown(*arguments: str, width: int = 80) -> str:
    out = io.StringIO()
    options = parser().parse_intermixed_args(arguments)
    show(panels(options), Console(file=out, width=width, highlight=False))
    return out.getvalue()


def row(text: str, name: str) -> list[str]:
    """The numbers behind a name in the table."""
    (line,) = [line for line in text.splitlines() if line.startswith(name + " ")]
    return line.removeprefix(name).split()


def test_the_plot_of_a_schedule_is_the_recorded_one() -> None:
    golden = (GOLDEN / "show_schedules.txt").read_text()
    assert shown("schedule=linear,step", "steps=40") == golden


def test_dots_are_where_the_line_is() -> None:
    # 5 rows of 4 dots and 2 columns of 2 dots. A falling line through (0, 1) and (1, 0) is at
    # heights 1, 2/3, 1/3, 0: dots 0, 6, 13, 19 of 19 from the top, the way between them filled.
    panel = Panel("", "x", 0, 1, 1.0, at=(), lines=[Line("a", (0, 1), (1, 0))])
    plot = [text.plain[7:] for text in draw(panel, width=10, height=5)[:5]]
    dots = {
        (2 * x + right, 4 * y + down)
        for y, text in enumerate(plot)
        for x, character in enumerate(text)
        if character != " "
        for right, bits in enumerate(((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80)))
        for down, bit in enumerate(bits)
        if (ord(character) - 0x2800) & bit
    }
    assert dots == {(0, 0)} | {(1, y) for y in range(1, 7)} | {(2, y) for y in range(7, 14)} | {
        (3, y) for y in range(14, 20)
    }  # fmt: skip


def test_a_terminal_without_dots_gets_letters_of_ascii() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    options = parser().parse_intermixed_args(["schedule=linear,cosine"])
    show(panels(options), Console(file=out, width=80, highlight=False))
    out.flush()
    text = out.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert "?" not in text
    assert "|" in text
    assert "+---" in text
    panel = Panel("t", "x", 0, 1, 1, [0, 1], lines=[Line("a", [0, 1], [0, 1])])
    lines = draw(panel, width=20, height=5)
    assert [len(in_ascii(line)) for line in lines] == [len(line) for line in lines]
    assert "*" in in_ascii(lines[0]).plain


def test_a_line_is_straight_between_points_and_level_beyond() -> None:
    line = Line("a", (0, 2, 3), (0, 1, 5))
    assert [line.at(x) for x in (-1, 0, 1, 2, 2.5, 3, 9)] == [0, 0, 0.5, 1, 3, 5, 5]


def test_a_line_that_jumps_is_level_up_to_the_next_point() -> None:
    line = Line("a", (0, 2, 3), (0, 1, 5), jumps=True)
    assert [line.at(x) for x in (-1, 0, 1, 2, 2.5, 3, 9)] == [0, 0, 0, 1, 1, 5, 5]
    (panel,) = panels(parser().parse_args(["schedule=periodic", "schedule.period=2", "steps=4"]))
    (periodic,) = panel.lines
    assert [periodic.at(x) for x in (0, 0.9, 1, 1.9, 2, 2.9, 3)] == [0, 0, 1, 1, 0, 0, 1]


def test_a_table_that_leaves_steps_out_says_so() -> None:
    text = shown("schedule=periodic", "steps=7")
    assert row(text, "step") == ["0", "1", "2", "4", "5", "6"]
    assert "  the table has 6 of the 7 steps" in text
    assert "the table has" not in shown("schedule=periodic", "steps=2")


def test_the_top_of_an_axis_is_round_and_holds_the_largest() -> None:
    given = (0.19, 0.25, 0.3, 1, 1.3, 1.8, 16, 0, math.inf)
    assert [nice_top(x) for x in given] == pytest.approx([0.2, 0.3, 0.3, 1, 2, 2, 20, 1, 1])


def test_numbers_are_those_of_the_schedule() -> None:
    # Halfway of 1 -> 0.2 is .6; the last of 40 steps is 39/40 of the way: 1 - .8 * 39/40 = .22.
    text = shown("schedule=linear", "steps=40")
    assert row(text, "step") == ["0", "2", "4", "10", "20", "30", "39"]
    assert row(text, "linear") == ["1.000", "0.960", "0.920", "0.800", "0.600", "0.400", "0.220"]


def test_numbers_are_those_of_the_weighting() -> None:
    # phi = p (1 - p); margin against a sure teacher: 1 - max(p, 1 - p).
    text = shown("weighting=phi,margin")
    assert row(text, "a phi") == ["0.001", "0.010", "0.090", "0.250", "0.090", "0.010"]
    assert row(text, "b margin") == ["0.001", "0.010", "0.100", "0.500", "0.100", "0.010"]
    # A teacher of .9: .9 - max(p, 1 - p), at least 0.
    text = shown("weighting=margin", "--teacher", "0.9")
    assert row(text, "margin") == ["0.000", "0.000", "0.000", "0.400", "0.000", "0.000"]
    assert "margin: assumes that the teacher's p is 0.9" in text


def test_what_is_assumed_is_said() -> None:
    text = shown("weighting=adaptive", "weighting.normalize=mean1", width=120)
    for part in ("a vocabulary of two tokens", "--teacher", "--signal", "the raw rule"):
        assert part in text


def test_settings_that_are_allowed_together_only_are_shown() -> None:
    # Without its schedule, the first would be refused in the panel of the weighting.
    text = shown("schedule=rl_only", "data.expert_batch=0", "weighting=phi,uniform")
    assert all(f" {name} " in text for name in ("phi", "uniform"))
    assert "rl_only" in text


def test_a_closed_loop_has_a_range_and_no_curve() -> None:
    text = shown("schedule=reward_gap", width=120)
    assert "reward_gap: a closed loop, driven by reward" in text
    assert "within [0, 1]" in text
    assert "┤" not in text
    assert "┤" in shown("schedule=reward_gap,linear")


def test_without_arguments_the_default_schedule_and_weighting_are_shown() -> None:
    text = shown()
    assert row(text, "chord_mu")[0] == "0.900"
    assert row(text, "uniform") == ["1.000"] * 6


def test_an_option_of_ones_own_is_shown(tmp_path: Path) -> None:
    (tmp_path / "schedule").mkdir()
    (tmp_path / "schedule" / "half.yaml").write_text(
        "# half\ndefaults: [/schema/schedule/constant@_here_, _self_]\nvalue: 0.5\n"
    )
    text = shown("schedule=glob(h*)", "steps=2", "--config-dir", str(tmp_path))
    assert row(text, "half") == ["0.500", "0.500"]


@pytest.mark.slow
@pytest.mark.parametrize("group", ["schedule", "weighting"])
def test_every_option_is_shown_within_the_width(group: str) -> None:
    drawn = panels(parser().parse_args([f"{group}=glob(*)", "steps=12"]))
    for width in (60, 80, 120, 200):
        out = io.StringIO()
        show(drawn, Console(file=out, width=width, highlight=False))
        text = out.getvalue()
        assert not [name for name in SCHEMAS[group] if name not in text]
        assert max(len(line) for line in text.splitlines()) <= min(width, 120)
        assert "\x1b" not in text


def test_every_combination_of_values_is_a_line() -> None:
    assert combinations("schedule", ["schedule=linear", "steps=4"]) == [
        ("", ["schedule=linear", "steps=4"])
    ]
    assert combinations("schedule", ["schedule=linear,step", "+schedule.final=0,1"]) == [
        ("linear final=0", ["schedule=linear", "+schedule.final=0"]),
        ("linear final=1", ["schedule=linear", "+schedule.final=1"]),
        ("step final=0", ["schedule=step", "+schedule.final=0"]),
        ("step final=1", ["schedule=step", "+schedule.final=1"]),
    ]


def test_the_picture_is_a_png(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "curves.png"
    main(["weighting=phi,uniform", "schedule=linear,reward_gap", "--png", str(path)])
    assert path.read_bytes().startswith(b"\x89PNG")
    assert f"picture: {path}" in capsys.readouterr().out
    plot_panels([Panel("a $ and a $", "x", 0, 1, 1.0, at=())], tmp_path / "empty")
    assert (tmp_path / "empty").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["/tmp"], "error: /tmp: is a directory, and chord.show takes settings, such as schedule="),
        (["schedule=cosin"], "error: schedule=cosin: no such option; did you mean 'cosine'?"),
        (["weighting.normalise=mean1"], "error: weighting.normalise=mean1: no such setting"),
        (["schedule=linear", "schedule.final=3"], "error: schedule.final=3.0: must be within"),
        (["schedule=linear", "--png", "/dev/null/x"], "error: --png /dev/null/x: can't be"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


def test_help_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for part in ("schedule=linear,cosine", "--png", "--teacher", "--reference", "--config-dir"):
        assert part in text


def test_a_schedule_is_shown_and_a_typo_named_without_torch(tmp_path: Path) -> None:
    done = run("-c", LIGHT, "chord.show", "schedule=linear,cosine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\nimported:\n")
    done = run("-c", LIGHT, "chord.show", "weighting=phy", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "imported:\n")
    assert "weighting=phy: no such option; did you mean 'phi'?" in done.stderr


def test_no_run_is_shown_that_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["resume=outputs/x", "schedule=linear"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("error: resume=outputs/x: only chord.train goes on")
