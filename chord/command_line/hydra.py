"""Launching a command of Hydra's, whose errors fit one readable line."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from chord.command_line.help import config_dirs, help_text
from chord.config.messages import EXPECTED, stop
from chord.config.plugins import load
from chord.distributed.launch import first
from chord.errors import ConfigError
from chord.io.printing import INTERRUPTED, let_hydra_raise, say, writable_streams

UNPICKLES = "--experimental-rerun"
"""A flag of Hydra's."""


def launch(
    task: Callable[[], None], config_name: str, *, before: Callable[[], None] = lambda: None
) -> None:
    """Run a `@hydra.main` function as a command.

    Hydra's own handler hides the cause of an error behind a hint; with HYDRA_FULL_ERROR it lets
    exceptions through, and they are said in one line here. A user who sets HYDRA_FULL_ERROR=1
    gets the traceback as well. `before` checks what has to be right before Hydra makes a directory.
    """
    writable_streams()
    try:
        load()  # the command's module has registered what could be
    except ConfigError as error:
        stop(error)
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
    let_hydra_raise()
    try:
        before()
        task()
    except EXPECTED as error:
        stop(error, config_name)
    except ValueError as error:
        # Composing raises plain ones too (`model=null`); after it, one is a defect of ours.
        if HydraConfig.initialized():
            raise
        stop(error, config_name)
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
