"""The command line around Hydra: `--help`, and errors that fit one readable line."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from chord.config import CONF_DIR, ConfigError, register, suggest
from chord.exits import (
    ERROR,
    INTERRUPTED,
    first_line,
    let_hydra_raise,
    say,
    tell,
    writable_streams,
)
from chord.launch import first
from chord.registry import SCHEMAS, SECOND
from chord.rewards.base import ChangedCodeError, ScorerError
from chord.sweep.launchers import EXTRAS
from chord.untrusted import SETTINGS, read_bytes

EXPECTED = (
    ConfigError,
    ScorerError,
    ChangedCodeError,
    HydraException,
    OmegaConfBaseException,
    YAMLError,
    OSError,
)
UNPICKLES = "--experimental-rerun"
"""A flag of Hydra's."""
_running = "train"
_broken_plugin: ConfigError | None = None


def register_options() -> None:
    """`register()` for a module that is a command: what is wrong is said when it is launched."""
    global _broken_plugin
    try:
        register()
    except ConfigError as error:
        _broken_plugin = error


def launch(
    task: Callable[[], None], config_name: str, *, before: Callable[[], None] = lambda: None
) -> None:
    """Run a `@hydra.main` function as a command.

    Hydra's own handler hides the cause of an error behind a hint; with HYDRA_FULL_ERROR it lets
    exceptions through, and they are said in one line here. A user who sets HYDRA_FULL_ERROR=1
    gets the traceback as well. `before` checks what has to be right before Hydra makes a directory.
    """
    writable_streams()
    if _broken_plugin is not None:
        stop(_broken_plugin)
    if any(flag in sys.argv[1:] for flag in ("--help", "-h")):
        say(help_text(config_name, config_dirs(sys.argv[1:])))
        return
    if any(word.startswith(UNPICKLES) for word in sys.argv[1:]):
        stop(ConfigError(f"{UNPICKLES}: runs whatever is in its pickle; use resume=DIRECTORY"))
    if "${" in os.getcwd():
        stop(
            ConfigError(
                f"hydra.runtime.cwd={os.getcwd()}: Hydra takes the ${{ in it for a reference to a "
                "setting; start the command in another directory"
            )
        )
    global _running
    _running = config_name
    let_hydra_raise()
    from chord.sweep.plugin import register_sweeper

    register_sweeper()
    try:
        before()
        task()
    except EXPECTED as error:
        stop(error)
    except ValueError as error:
        # Composing raises plain ones too (`model=null`); after it, one is a defect of ours.
        if HydraConfig.initialized():
            raise
        stop(error)
    except RecursionError:
        if HydraConfig.initialized():
            raise
        stop(ConfigError("the configuration: a defaults list leads back to the file that it is in"))
    except KeyboardInterrupt:
        # Once more, while Python and its libraries close, ends it without a word.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if first():
            say("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def stop(error: BaseException) -> NoReturn:
    """Say what is wrong in one line and exit."""
    tell(error, f"error: {one_line(error)}")
    sys.exit(ERROR)


def one_line_errors(task: Callable[[DictConfig], float]) -> Callable[[DictConfig], float]:
    """Stop in one line where a single run's configuration can't be run.

    Hydra adds a line of its own to exceptions, so they end here. A job of a multirun raises, and
    the others still run.
    """

    @functools.wraps(task)
    def run(cfg: DictConfig) -> float:
        try:
            return task(cfg)
        except EXPECTED as error:
            if HydraConfig.get().mode is RunMode.MULTIRUN:
                raise
            stop(error)

    return run


def one_line(error: BaseException) -> str:
    """Setting, value, and what is allowed, from whatever Hydra or omegaconf raised."""
    for cause in _causes(error):
        if isinstance(cause, ConfigError):
            return str(cause)
    if isinstance(error, MissingConfigException):
        return _unknown_option(error)
    for cause in _causes(error):
        if isinstance(cause, OmegaConfBaseException) and cause.key is not None:
            return _bad_key(cause, _value_given(error))
    text = " ".join(str(error).split())
    # As Hydra 1.3 has it, and 1.4.
    no_group = re.search(r"(?:Could not override|Default for) '([\w/@]+)'", text)
    if no_group:
        return f"{no_group[1]}: no such group{suggest(no_group[1], _groups())}"
    if isinstance(error, OSError) and error.filename:
        return f"hydra.run.dir={error.filename}: can't be written ({error.strerror})"
    return text


def _causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _unknown_option(error: MissingConfigException) -> str:
    missing = error.missing_cfg_file or ""
    group, _, option = missing.rpartition("/")
    if error.options is None:
        return " ".join(str(error).split())
    if group == "hydra/launcher" and option in EXTRAS:
        return f"{group}={option}: needs pip install 'chord-posttraining[{EXTRAS[option]}]'"
    if not group:
        return f"{option}: no such config{suggest(option, error.options)}"
    return f"{group}={option}: no such option{suggest(option, error.options)}"


def _value_given(error: BaseException) -> str:
    match = re.search(r"(?:config use|override) \+?([^\s=]+=.*)", str(error))
    return match[1].partition("=")[2].strip() if match else ""


def _bad_key(cause: OmegaConfBaseException, value: str) -> str:
    key = str(cause.full_key or cause.key)
    given = f"{key}={value}" if value else key
    schema = cause.object_type
    names = [f.name for f in dataclasses.fields(schema)] if dataclasses.is_dataclass(schema) else []
    message = first_line(cause)
    if "is not a subclass of" in message:
        group = SECOND.get(key, key)
        name = group if group == key else f"{group}@{key}"
        options = [path.stem for path, _ in option_files(group)]
        return f"{given}: an option is chosen as {name}=OPTION{suggest(value, options)}"
    wanted = re.search(r"could not be converted to (\w+)", message)
    if wanted:
        kinds = {"Float": "a number", "Integer": "a whole number", "Boolean": "true or false"}
        return f"{given}: must be {kinds.get(wanted[1], wanted[1])}"
    if "ListConfig" in message:
        return f"{given}: must be a list, as in [a,b]"
    if cause.key not in names:
        if "." not in key:
            names = sorted({*names, *_groups()})
        if not names:
            return f"{given}: a new key is added with a plus, +{given}"
        return f"{given}: no such setting{suggest(str(cause.key), names)}"
    return f"{given}: {message}"


def _groups() -> list[str]:
    """The groups of the command that is running."""
    text = (CONF_DIR / f"{_running}.yaml").read_text(encoding="utf-8")
    names = [*GROUP_ORDER, *(f"{group}@{name}" for name, group in SECOND.items())]
    return [name for name in names if re.search(rf"^ +- {name}: ", text, re.M)]


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
# The help follows the flow of a train step.
GROUP_ORDER = ["experiment", *SCHEMAS, "hparams_search"]


def help_text(config_name: str, own: Sequence[Path] = ()) -> str:
    """Every group and its options, read off the files under `conf/`: a line each.

    Those of plugins and of directories given with `--config-dir` (`own`) follow.
    """
    root = CONF_DIR / f"{config_name}.yaml"
    lines = root.read_text(encoding="utf-8").splitlines()
    chosen = dict(re.findall(r"^ +- (\w+): (\S+)", "\n".join(lines), re.M))
    out = [
        lines[0].removeprefix("# "),
        "",
        f"usage: python -m chord.{config_name} [GROUP=OPTION ...]",
    ]
    out[-1] += " [SETTING=VALUE ...]"
    out += ["", "Settings (value shown: the default)"]
    for line in lines:
        setting = re.match(r"^(\w+): (.*?)\s+# (.*)$", line)
        if setting and setting[1] not in ("defaults", "hydra"):
            out.append(f"  {setting[1] + '=' + setting[2]:<22} {setting[3]}")
    for group in (g for g in GROUP_ORDER if g in chosen):
        default = chosen[group]
        default = chosen.get(default[2:-1], default) if default.startswith("${") else default
        out += ["", f"{group}="]
        for option, origin in option_files(group, own):
            mark = "*" if option.stem == default else " "
            out.append(f"{mark} {option.stem:<18} {first_comment(option)}{origin}")
    second = re.findall(r"^ +- (\w+)@(\w+): (\S+) # (.*)$", "\n".join(lines), re.M)
    if second:
        out += ["", "Groups that are chosen from a second time"]
    out += [f"  {f'{group}@{name}={now}':<30} {what}" for group, name, now, what in second]
    out += ["", *_FOOTERS[config_name]]
    return "\n".join(out)


def option_files(group: str, own: Sequence[Path] = ()) -> list[tuple[Path, str]]:
    """The files of a group's options, and where each comes from if it isn't one of ours."""
    from chord.plugins import folders

    places = [(CONF_DIR, "")]
    places += [(path, f" ({name})") for name, paths in folders().items() for path in paths]
    places += [(path, f" ({path})") for path in own]
    return [
        (option, origin)
        for path, origin in places
        for option in sorted((path / group).glob("*.yaml"))
    ]


def config_dirs(arguments: Sequence[str]) -> list[Path]:
    """The directories given with `--config-dir DIR`, `--config-dir=DIR` or `-cd DIR`."""
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--config-dir", "-cd", action="append", type=Path, default=[])
    return list(flags.parse_known_args(arguments)[0].config_dir)


def first_comment(path: Path) -> str:
    """The line that describes an option: its file's first comment."""
    try:
        text = read_bytes(path, SETTINGS).decode(errors="replace")
    except (OSError, ValueError):
        return "(can't be read)"
    for line in text.splitlines():
        if line.startswith("# ") and not line.startswith("# @package"):
            return line.removeprefix("# ")
    return ""
