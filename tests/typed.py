"""Whether a command that a page or a message shows can be typed: it is parsed, and not run."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from conftest import compose_config
from pages import ROOT, blocks, jobs

from chord.command_line.positional import run_given
from chord.config.parse import parse
from chord.config.root import EvaluateConfig, TrainConfig
from chord.show.command import panels

ROOTS: dict[str, type] = {"train": TrainConfig, "evaluate": EvaluateConfig}
"""The commands of Hydra's."""
OTHERS = {"source", "eval", "cp", "jupyter", "wandb", "pre-commit", "pip"}
"""Programs of others."""


def parser(command: str) -> ArgumentParser:
    """The parser of a command that is not one of Hydra's."""
    module = import_module(f"chord.{command}")
    if not hasattr(module, "parser"):
        module = import_module(f"chord.{command}.command")
    made: Callable[[], ArgumentParser] = module.parser
    return made()


def check_command(command: str, directory: Path) -> None:
    """Fail where a command can't be typed; `directory`: where it may find files of its user's."""
    words = shlex.split(command)
    program, arguments = words[0], words[1:]
    if program == "python" and words[2].startswith("chord."):
        program, arguments = words[2].replace(".", "-"), words[3:]
    name = program.removeprefix("chord-").replace("-", "_")
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.M)
    elif not program.startswith("chord-"):
        assert program in OTHERS or words[1:3] == ["-m", "venv"], command
    elif name == "pretrain":
        assert not arguments
    elif name in ROOTS or name == "check_data":
        check_settings(name.replace("check_data", "train"), arguments, directory)
    elif name == "show":
        assert panels(parser(name).parse_intermixed_args(arguments))
    else:
        given = parser(name).parse_args(arguments)
        if hasattr(given, "settings"):
            parse(compose_config(*given.settings), TrainConfig)


def check_settings(name: str, arguments: list[str], directory: Path) -> None:
    """Fail where a command of Hydra's does not take these arguments."""
    if name == "evaluate":
        arguments = run_given(arguments)
    flags = {"--help", "--cfg", "job", "--resolve"}
    arguments = [word for word in arguments if word not in flags]
    searchpath = []
    if "--config-dir" in arguments:
        at = arguments.index("--config-dir")
        write_own_configuration(directory)
        searchpath = [f"hydra.searchpath=[file://{directory / arguments[at + 1]}]"]
        del arguments[at : at + 2]
    for overrides in jobs(arguments):
        sources = {"fork", "model.run"}
        if sources & {word.split("=")[0] for word in overrides}:
            # There is no such run here; see tests/run/test_fork.py and test_model_run.py.
            sources.add("checkpoint")
            overrides = [word for word in overrides if word.split("=")[0] not in sources]
        # The package with this model need not be installed.
        packaged = {"model=smollm2", "experiment=smollm2"} & set(overrides)
        missing = ["model.path=a"] if packaged else []
        parse(compose_config(*searchpath, *overrides, *missing, name=name), ROOTS[name])


def write_own_configuration(directory: Path) -> None:
    """The files that docs/configuration.md says to write."""
    preset, option = blocks(ROOT / "docs" / "configuration.md", "yaml")
    for path, lines in (("experiment/mine.yaml", preset), ("schedule/slow.yaml", option)):
        (directory / "my_conf" / path).parent.mkdir(parents=True)
        (directory / "my_conf" / path).write_text(lines)
