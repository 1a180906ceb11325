"""Draw a schedule or a weighting before training: `python -m chord.show schedule=cosine`.

Takes the options and settings of chord.train, and draws comma-separated values in one plot. A
schedule is drawn as alpha over the run. A weighting is drawn as the weight of an expert token over
p, the policy's probability of that token. If the settings name neither of the two groups, both are
drawn. Settings of other groups are checked but change nothing in the plots, so you can paste the
settings of a whole run.

  python -m chord.show
  python -m chord.show schedule=warmup_decay schedule.decay=50
  python -m chord.show schedule=linear,cosine,chord_mu steps=300
  python -m chord.show weighting=phi,importance,uniform --png weights.png
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from chord.command_line.arguments import Arguments, Number, refuse_output
from chord.command_line.ending import ending
from chord.errors import ConfigError
from chord.io.outputs import PNG
from chord.io.printing import say
from chord.io.writing import whole_file
from chord.show.panels import schedule_panel, weighting_panel
from chord.show.terminal import Panel, draw, in_ascii, letter, style

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from chord.config.root import TrainConfig

GROUPS = ("schedule", "weighting")
WIDEST = 120


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = Arguments("show", __doc__)
    options.add_argument("--png", type=Path, metavar="FILE", help="also write the plots to a PNG")
    for name, default, what in (
        ("teacher", 1.0, "the teacher's probability of the expert's token"),
        ("reference", 0.5, "the reference's probability of the expert's token"),
        ("signal", 0.0, "the signal n of the expert's response"),
    ):
        options.add_argument(
            f"--{name}", action=Number, least=0, most=1, default=default, metavar="X",
            help=f"{what}, for weightings that read it (default: {default:g})",
        )  # fmt: skip
    options.add_settings("GROUP=OPTION[,OPTION]")
    return options


@ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run `chord-show`."""
    options = parser().parse_intermixed_args(arguments)
    if options.png is not None:
        refuse_output(options.png, f"--png {options.png}", PNG)
    drawn = panels(options)
    # Here and below: Hydra and matplotlib take a second to load, which `--help` does not wait for.
    from rich.console import Console

    show(drawn, Console(highlight=False))
    if options.png is not None:
        write_picture(drawn, options.png)


def panels(options: argparse.Namespace) -> list[Panel]:
    """Return a panel for each group (schedule, weighting) that occurs in the settings, or both."""
    for word in options.settings:
        if Path(word).is_dir():
            raise ConfigError(
                f"{word}: is a directory, and chord.show takes settings, such as schedule=cosine; "
                f"python -m chord.doctor {word} says what a run directory holds"
            )
    wanted = [group for group in GROUPS if group in map(_group, options.settings)] or GROUPS
    found = []
    for group in wanted:
        configs = composed(group, options.settings, options.config_dir)
        make = schedule_panel if group == "schedule" else weighting_panel
        found.append(make(configs, options))
    return found


def _group(setting: str) -> str:
    return re.split(r"[.=@]", setting.lstrip("+~"))[0]


def composed(
    group: str, settings: Sequence[str], config_dir: Path | None
) -> list[tuple[str, TrainConfig]]:
    """Return the checked configuration of every combination, with the name of its line."""
    from chord.config.composing import checked, compose_typed, reading_conf, register

    register()
    found = []
    with reading_conf():
        for name, overrides in combinations(group, settings, config_dir):
            cfg = compose_typed(overrides, config_dir)
            chosen = cfg.hydra.runtime.choices[group]
            found.append((name or chosen, checked(cfg, settings)))
    return found


def combinations(
    group: str, settings: Sequence[str], config_dir: Path | None = None
) -> list[tuple[str, list[str]]]:
    """Return every combination of comma-separated values, with a name that distinguishes it.

    Of those of the other panel's group the first: one setting may be allowed only beside another.
    schedule=linear,cosine gives ("linear", ["schedule=linear"]) and ("cosine", ...).
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob

    from chord.config.messages import option_files

    choices: list[list[tuple[str, str]]] = []
    for override in OverridesParser.create().parse_overrides(list(settings)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices.append([("", override.input_line or "")])
            continue
        given: object = override.value()
        if isinstance(given, Glob):
            own = [] if config_dir is None else [config_dir]
            values = given.filter([path.stem for path, _ in option_files(key, own)])
        else:
            values = list(override.sweep_string_iterator())
        if _group(key) in GROUPS and _group(key) != group:
            choices.append([("", f"{key}={values[0]}")])
            continue
        short = key.lstrip("+~").removeprefix(f"{group}.")
        choices.append([(v if key == group else f"{short}={v}", f"{key}={v}") for v in values])
    return [
        (" ".join(name for name, _ in each if name), [setting for _, setting in each])
        for each in itertools.product(*choices)
    ]


def show(drawn: Sequence[Panel], console: Console) -> None:
    """Print the plot, the numbers and the notes of each panel."""
    width = min(console.width, WIDEST)
    for panel in drawn:
        console.print(Text(panel.title, style="bold"), soft_wrap=True)
        if panel.lines:
            for text in draw(panel, width=width, height=13 if len(drawn) == 1 else 9):
                plain = not console.encoding.startswith("utf")
                console.print(in_ascii(text) if plain else text, soft_wrap=True)
            console.print(numbers(panel))
        for note in panel.notes:
            for part in textwrap.wrap(note, width - 2):
                console.print(Text(f"  {part}", style="dim"), soft_wrap=True)
        if panel is not drawn[-1]:
            console.print()


def numbers(panel: Panel) -> Table:
    """Return a table of each line's values at a few steps, or at a few p."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="")
    table.add_column("step" if panel.whole else "p", overflow="ellipsis", no_wrap=True)
    for x in panel.at:
        table.add_column(f"{x:g}", justify="right", no_wrap=True)
    for index, line in enumerate(panel.lines):
        name = f"{letter(index)} {line.name}" if len(panel.lines) > 1 else line.name
        cells = [f"{line.at(x):.3f}" if x <= line.x[-1] else "" for x in panel.at]
        table.add_row(Text(name, style=style(index)), *cells)
    return table


def write_picture(drawn: Sequence[Panel], path: Path) -> None:
    """Write the panels as a PNG."""
    from chord.show.plots import plot_panels

    with whole_file(path) as partial:
        plot_panels(drawn, partial)
    say(f"picture: {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
