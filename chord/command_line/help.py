"""`--help` of the commands of Hydra, read off the files under `conf/`."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from chord.config.location import CONF_DIR
from chord.config.messages import GROUP_ORDER, first_comment, option_files
from chord.errors import ConfigError

_FOOTERS = {
    "train": (
        "* marks the default of a group. Set a value inside a group: schedule.peak=0.5. Run every",
        "combination of values: python -m chord.train -m schedule=linear,cosine seed=0,1,2. Print",
        "the composed configuration without running: --cfg job --resolve. Hydra's own flags:",
        "--hydra-help.",
    ),
    "evaluate": (
        "* marks the default of a group. Set a value inside a group: evaluation.test_problems=200.",
        "Print the composed configuration without running: --cfg job --resolve. Hydra's own flags:",
        "--hydra-help.",
    ),
}

_OPERANDS = {"evaluate": " [RUN]"}


def help_text(config_name: str, own: Sequence[Path] = (), width: int | None = None) -> str:
    """Every group and its options, read off the files under `conf/`: a line each.

    Those of plugins and of directories given with `--config-dir` (`own`) follow. With a `width`,
    longer lines go on below, in their column.
    """
    root = CONF_DIR / f"{config_name}.yaml"
    lines = root.read_text(encoding="utf-8").splitlines()
    chosen = dict(re.findall(r"^ +- (\w+): (\S+)", "\n".join(lines), re.M))
    first = lines[0].removeprefix("# ")
    out = [
        *([first] if width is None else textwrap.wrap(first, width)),
        "",
        f"usage: python -m chord.{config_name}{_OPERANDS.get(config_name, '')} [GROUP=OPTION ...]",
    ]
    out[-1] += " [SETTING=VALUE ...]"
    out += ["", "Settings (value shown: the default)"]
    for line in lines:
        setting = re.match(r"^(\w+): (.*?)\s+# (.*)$", line)
        if setting and setting[1] not in ("defaults", "hydra"):
            out += _entry(f"  {setting[1] + '=' + setting[2]:<22} ", setting[3], 25, width)
    for group in (g for g in GROUP_ORDER if g in chosen):
        default = chosen[group]
        default = chosen.get(default[2:-1], default) if default.startswith("${") else default
        out += ["", f"{group}="]
        for option, origin in option_files(group, own):
            mark = "*" if option.stem == default else " "
            said = f"{first_comment(option)}{origin}"
            out += _entry(f"{mark} {option.stem:<18} ", said, 21, width)
    second = re.findall(r"^ +- (\w+)@(\w+): (\S+) # (.*)$", "\n".join(lines), re.M)
    if second:
        out += ["", "Groups that a run uses a second time"]
    for group, name, now, what in second:
        out += _entry(f"  {f'{group}@{name}={now}':<30} ", what, 33, width)
    footer = " ".join(_FOOTERS[config_name])
    out += ["", *(_FOOTERS[config_name] if width is None else textwrap.wrap(footer, width))]
    return "\n".join(out)


def _entry(name: str, said: str, column: int, width: int | None) -> list[str]:
    """The lines of a name and what it is, which stands from a column on."""
    if width is None:
        return [name + said]
    lines = textwrap.wrap(said, max(width - column, 20), break_on_hyphens=False)
    indented = [" " * column + line for line in lines]
    if len(name) > column or not lines:
        return [name.rstrip(), *indented]
    return [name + lines[0], *indented[1:]]


def config_dirs(arguments: Sequence[str]) -> list[Path]:
    """The directories given with `--config-dir DIR`, `--config-dir=DIR` or `-cd DIR`."""
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    flags.add_argument("--config-dir", "-cd", action="append", type=Path, default=[])
    try:
        return list(flags.parse_known_args(arguments)[0].config_dir)
    except argparse.ArgumentError as error:
        raise ConfigError(str(error)) from error
