"""The arguments of the commands without Hydra, and what all of them check alike."""

from __future__ import annotations

import argparse
import glob
import math
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from chord.errors import ConfigError
from chord.io.outputs import Kind, refuse_other
from chord.io.writing import refuse_unwritable
from chord.run.places import refuse_within_a_run

if TYPE_CHECKING:
    from chord.config.root import TrainConfig


class Arguments(argparse.ArgumentParser):
    """The arguments of a command without Hydra; what can't be understood is a `ConfigError`."""

    def __init__(self, command: str, description: str | None) -> None:
        super().__init__(
            prog=f"python -m chord.{command}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """What argparse calls; its own would print the whole usage."""
        refuse_arguments(self.prog, message)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse an empty word first: as a path it would be the current directory."""
        words = sys.argv[1:] if args is None else list(args)
        if "" in words:
            raise ConfigError("'': an argument is empty; it may be of a variable that is not set")
        return super().parse_known_args(words, namespace)

    def add_settings(self, what: str) -> None:
        """Add the settings of `chord.train`, and `--config-dir` for options of the user's own."""
        self.add_argument(
            "--config-dir", "-cd", type=Path, metavar="DIR",
            help="a directory with your own options",
        )  # fmt: skip
        self.add_argument("settings", nargs="*", help=f"as for chord.train: {what}")

    def add_checkpoint(self) -> None:
        """Add `--checkpoint`, which chooses among the checkpoints of a run."""
        self.add_argument(
            "--checkpoint", metavar="WHICH",
            help="best, last or a number of train steps (default: the final model)",
        )  # fmt: skip


class Number(argparse.Action):
    """An argument that is a number within `[least, most]`, or with `nargs` several of them.

    argparse's `type` would say "invalid float value", and not what is allowed.
    """

    def __init__(
        self,
        *names: Any,
        whole: bool = False,
        least: float = -math.inf,
        most: float = math.inf,
        **words: Any,
    ) -> None:
        super().__init__(*names, **words)
        self.whole, self.least, self.most = whole, least, most

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Keep the number; raises `ConfigError` that says which ones are allowed."""
        several = not isinstance(values, str)
        found = [
            self._read(text, option_string) for text in (values or () if several else [values])
        ]
        setattr(namespace, self.dest, found if several else found[0])

    def _read(self, text: Any, flag: str | None) -> float:
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            value = math.nan
        if not self.least <= value <= self.most or math.isinf(value):
            raise ConfigError(f"{flag} {text}: must be {self._allowed()}")
        return value

    def _allowed(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.most < math.inf:
            return f"{kind} within [{self.least:g}, {self.most:g}]"
        return kind if self.least == -math.inf else f"{kind}, at least {self.least:g}"


def flags(config_dir: Path | None) -> list[str]:
    """The words that name a directory of options in another command."""
    return [] if config_dir is None else ["--config-dir", str(config_dir)]


def refuse_arguments(program: str, message: str) -> NoReturn:
    """Raise `ConfigError` for arguments that argparse can't understand."""
    raise ConfigError(f"{message}; see {program} --help")


def refuse_output(path: Path, named: str, kind: Kind | None = None) -> None:
    """Raise `ConfigError` that begins with `named` where a command can't write a file at `path`.

    Commands ask before they do anything else. A run's directory holds what the run writes, and
    nothing else. A file that is there is replaced only if it is of the `kind` that is written.
    """
    refuse_within_a_run(path, f"{named}:")
    if kind is not None:
        refuse_other(path, named, kind)
    refuse_unwritable(path, named)


def refuse_input(path: Path, named: str, config: TrainConfig, but: str = "") -> None:
    """Raise `ConfigError` that begins with `named` where a command would write what it reads.

    That is a file that a setting names, or one in a directory or among the files of a pattern that
    it names. `but`: a setting whose file the command does not read.
    """
    # It loads what composes configurations, which commands without one do without.
    from chord.run.identity.contents import named_files

    for setting, place in named_files(config).items():
        if setting != but and _covers(place, path):
            raise ConfigError(f"{named}: {setting}={place} is read from there; give another place")


def _covers(place: str, path: Path) -> bool:
    """Whether `path` is a file that is named, in a directory that is, or matches a pattern."""
    read, written = Path(place).expanduser().absolute(), path.absolute()
    if glob.has_magic(place):
        return written.match(str(read)) or ("**" in place and fnmatch(str(written), str(read)))
    read, written = read.resolve(), written.resolve()
    # DIR:SPLIT names files in a directory.
    directories = [read, read.with_name(read.name.rpartition(":")[0] or read.name)]
    return read == written or any(each.is_dir() and each in written.parents for each in directories)
