"""Launching a command of Hydra's, which ends as every other command does."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from chord.command_line.arguments import refuse_arguments
from chord.command_line.ending import ending
from chord.command_line.help import config_dirs, help_text
from chord.config.composing import check_config_dir
from chord.config.location import CONF_DIR, VERSION_BASE
from chord.config.messages import EXPECTED, stop
from chord.config.overrides import refuse_empty
from chord.config.plugins import load
from chord.errors import ConfigError
from chord.io.printing import let_hydra_raise, say

UNPICKLES = "--experimental-rerun"
"""A flag of Hydra's."""
MODES = ("run", "multirun", "cfg", "info", "shell_completion")
"""Flags of Hydra's that exclude each other."""
SAY_MODE = ("hydra.mode", "hydra.searchpath", "hydra=")
"""How what is typed can set `hydra.mode`, or name a place of files that do."""
OWN_FILES = ("hydra", "main", "command-line", "schema")
"""Places of files that can't set `hydra.mode`: chord's don't, and a `--config-dir`'s may not."""


def launch(
    task: Callable[[DictConfig], float],
    config_name: str,
    *,
    before: Callable[[list[str]], list[str]] = list,
) -> None:
    """Run a task on the configuration that the command line composes.

    `before` checks what has to be right before Hydra makes a directory, and returns the arguments
    that Hydra is to read. `hydra.main` would take them from `sys.argv`, and a wrong one would end
    in argparse's usage.
    """
    with ending(config_name):
        load()  # the command's module has registered what could be
        typed = sys.argv[1:]
        if any(flag in typed for flag in ("--help", "-h")):
            own = config_dirs(typed)
            for path in own:
                check_config_dir(path)
            # What reads a pipe line by line gets an option in each.
            width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
            say(help_text(config_name, own, width))
            return
        if any(word.startswith(UNPICKLES) for word in typed):
            raise ConfigError(f"{UNPICKLES}: runs whatever is in its pickle; use resume=DIRECTORY")
        if "${" in os.getcwd():
            raise ConfigError(
                f"hydra.runtime.cwd={os.getcwd()}: Hydra takes the ${{ in it for a reference to a "
                "setting; start the command in another directory"
            )
        parser = get_args_parser()
        program = f"python -m chord.{config_name}"
        parser.error = functools.partial(refuse_arguments, program)  # type: ignore[method-assign]
        refuse_empty(typed)
        arguments = parser.parse_intermixed_args(before(typed))
        check_flags(arguments)
        check_places(arguments)
        if arguments.config_dir is not None:
            check_config_dir(Path(arguments.config_dir))
        # Hydra's own handler would hide the cause of an error behind a hint.
        let_hydra_raise()
        compose_once()
        if VERSION_BASE:
            version.setbase(VERSION_BASE["version_base"])
        _run_hydra(
            args=arguments,
            args_parser=parser,
            task_function=task,
            config_path=str(CONF_DIR),
            config_name=config_name,
        )


def compose_once() -> None:
    """Have Hydra compose a configuration first where `hydra.mode` may be set, and only there.

    It does so to see whether the command is a sweep, which the command line alone says otherwise.
    """
    original = Hydra.get_mode
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def get_mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        places = {place.provider for place in self.config_loader.get_search_path().get_path()}
        words = tuple(word.lstrip("+") for word in overrides)
        if places <= {*OWN_FILES} and not any(word.startswith(SAY_MODE) for word in words):
            return None
        return original(self, config_name, overrides)

    Hydra.get_mode = get_mode  # type: ignore[method-assign]


def check_flags(arguments: Namespace) -> None:
    """Refuse flags of Hydra's that don't go together; raises `ConfigError`."""
    given = [f"--{name}" for name in MODES if getattr(arguments, name)]
    if len(given) > 1:
        raise ConfigError(f"{' '.join(given)}: only one of them can be given")
    if arguments.resolve and arguments.cfg is None:
        raise ConfigError("--resolve: needs --cfg job")


def check_places(arguments: Namespace) -> None:
    """Refuse another place for chord's own configuration; raises `ConfigError`."""
    for flag, given in (("path", arguments.config_path), ("name", arguments.config_name)):
        if given is not None:
            raise ConfigError(
                f"--config-{flag} {given}: the configuration is chord's own; --config-dir DIR adds "
                "a directory with your options, and experiment=NAME chooses a preset"
            )


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
            stop(error, str(HydraConfig.get().job.config_name))

    return run
