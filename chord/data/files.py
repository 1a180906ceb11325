"""The rows of data files: of one, of several, of a directory, of a data set of Hugging Face."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chord.data.arrow import Arrow, Parquet
from chord.data.lines import Csv, JsonArray, JsonLines
from chord.data.objects import JsonObject, is_object
from chord.data.packed import PACKED, unpacked
from chord.data.rows import Rows, Shards
from chord.errors import ConfigError, first_line
from chord.io.extras import install
from chord.io.reading import opened

_LINES = (".jsonl", ".ndjson", ".json")
_TABLES = {".csv": ",", ".tsv": "\t"}
_KINDS = (*_LINES, *_TABLES, ".parquet")
_SAVED = ("state.json", "dataset_dict.json")
"""One of these is in each directory that the datasets library saved."""
_NO_DATA = (".", "dataset_info")
_OTHERWISE_PACKED = (".bz2", ".xz", ".lz4", ".zip")
_SPLITS = ("train", "validation", "valid", "val", "dev", "test", "eval")
_HUB = re.compile(r"hub://([\w.-]+/[\w.-]+)(?:/([\w.-]+))?(?::([\w.-]+))?")

Paths = str | Sequence[str]
"""A file, a pattern, a directory or a data set of a hub; or several of them."""


def open_rows(setting: str, path: Paths) -> Rows:
    """The rows of a file by its suffix, of several files, of a directory, or of the hub.

    `setting` is the setting that the path was given for. Raises ConfigError naming it if there is
    no such source, if it can't be read, or if it has no rows.
    """
    paths = [path] if isinstance(path, str) else list(path)
    if not paths:
        raise ConfigError(f"{setting}=[]: names no file")
    seen: dict[str, Path] = {}
    parts = [part for each in paths for part in _parts(setting, each, seen)]
    name = shown([Path(each).name or each for each in paths])
    rows = parts[0] if len(parts) == 1 else Shards(name, parts)
    if len(rows) == 0:
        raise ConfigError(f"{setting}={shown(path)}: holds no rows")
    return rows


def same_files(one: Paths, other: Paths) -> bool:
    """Whether two settings name the same files in the same order, links followed."""
    return _real(one) == _real(other)


def _real(path: Paths) -> list[str]:
    paths = [path] if isinstance(path, str) else path
    return [os.path.realpath(Path(each).expanduser()) for each in paths]


def shown(path: Paths) -> str:
    """A path in a message; of several, the first and how many others."""
    if isinstance(path, str) or len(path) == 1:
        return path if isinstance(path, str) else path[0]
    return f"{path[0]} and {len(path) - 1} more"


def is_gone(path: str) -> bool:
    """Whether a path names nothing on this machine, and nothing of the hub either."""
    place = Path(path).expanduser()
    if path.startswith("hub://") or place.exists():
        return False
    if glob.has_magic(path):
        return not glob.glob(str(place), recursive=True)
    directory, _, _ = str(place).rpartition(":")
    return not directory or not Path(directory).is_dir()


def is_data_file(path: str) -> bool:
    """Whether a name is that of a data file, by its suffix."""
    return _kind(Path(path)) in _KINDS


def data_files(path: str) -> list[Path]:
    """The files of a pattern, or of a directory of shards (`DIR:SPLIT`: those of a split), sorted.

    Raises ConfigError if a directory holds several kinds of files, or several splits and none is
    named; empty where the path is neither.
    """
    place = Path(path).expanduser()
    if place.is_file() or path.startswith("hub://"):
        return []
    if place.is_dir():
        return _shards(place, None)
    if glob.has_magic(path):
        found = sorted(glob.glob(str(place), recursive=True))
        return [Path(each) for each in found if Path(each).is_file()]
    directory, _, split = str(place).rpartition(":")
    return _shards(Path(directory), split) if directory and Path(directory).is_dir() else []


def _shards(place: Path, split: str | None) -> list[Path]:
    """The data files in a directory, or those whose names begin with a split's."""
    if any((place / name).exists() for name in _SAVED):
        return []
    there = sorted(each for each in place.iterdir() if not each.name.startswith(_NO_DATA))
    found = [each for each in there if _kind(each) in _KINDS]
    _refuse_packed(there)
    splits = [name for name in _SPLITS if any(_is_of(each, name) for each in found)]
    if split is not None:
        if split not in splits:
            raise ConfigError(f"has no files of a split {split}; it has {_named(splits)}")
        found = [each for each in found if _is_of(each, split)]
    elif len(splits) > 1:
        raise ConfigError(
            f"holds files of the splits {', '.join(splits)}; name one of them, as in "
            f"{place}:{splits[0]}"
        )
    kinds = sorted({_kind(each) for each in found})
    if len(kinds) > 1:
        raise ConfigError(
            f"holds {' and '.join(kinds)} files; name those that are meant, as in "
            f"{place}/*{kinds[0]}"
        )
    return found


def _refuse_packed(there: Sequence[Path]) -> None:
    """Refuse shards that would be left out because they can't be unpacked."""
    for each in there:
        if each.suffix in _OTHERWISE_PACKED and _kind(each.with_suffix("")) in _KINDS:
            raise ConfigError(
                f"{each.name} is compressed in a way that is not read; use {' or '.join(PACKED)}"
            )


def _is_of(path: Path, split: str) -> bool:
    """Whether a file is named as a split is: train.jsonl, math_test-00001-of-00002.parquet."""
    word = rf"(?<![a-z]){re.escape(split)}(?![a-z])"
    return re.search(word, path.name, re.IGNORECASE) is not None


def _named(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _parts(setting: str, path: str, seen: dict[str, Path]) -> list[Rows]:
    """The sources of a path: one, or one for each of its shards; `seen`: those so far."""
    try:
        shards = data_files(path)
        for each in shards or [Path(path)]:
            _refuse_repeated(each, seen)
        if not shards:
            return [_open(path)]
        names = _names(shards)
        return [_file(shard, name) for shard, name in zip(shards, names, strict=True)]
    except (OSError, ValueError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ConfigError(f"{setting}={path}: {reason}") from error


def _refuse_repeated(path: Path, seen: dict[str, Path]) -> None:
    """Refuse to read a file twice: also through a link, and compressed beside itself."""
    place = Path(os.path.realpath(path.expanduser()))
    key = str(place.with_suffix("") if place.suffix in PACKED else place)
    if key in seen:
        if path == seen[key]:
            raise ConfigError(f"{path} would be read twice; name it once")
        raise ConfigError(f"{seen[key]} and {path} are the same file; name one of them")
    seen[key] = path


def _names(shards: Sequence[Path]) -> list[str]:
    """The names of files in messages, with their directories if those differ."""
    if len({shard.parent for shard in shards}) == 1:
        return [shard.name for shard in shards]
    above = os.path.commonpath([shard.parent for shard in shards])
    return [str(shard.relative_to(above)) for shard in shards]


def _open(path: str) -> Rows:
    place = Path(path).expanduser()
    if path.startswith("hub://"):
        return _hub(path)
    if place.is_dir():
        return _saved(place, "train")
    if not place.exists() and glob.has_magic(path):
        raise ConfigError("no file is named so")
    if not place.exists() and ":" in place.name:
        directory, _, split = str(place).rpartition(":")
        return _saved(Path(directory), split)
    if not place.exists():
        raise ConfigError("no such file")
    return _file(place)


def _kind(path: Path) -> str:
    """A file's suffix, without that of its compression."""
    return (path.with_suffix("") if path.suffix in PACKED else path).suffix.lower()


def _file(path: Path, name: str | None = None) -> Rows:
    """The rows of one file, by its suffix."""
    if not path.is_file():
        raise ConfigError(f"{name} is not a regular file" if name else "is not a regular file")
    kind, name = _kind(path), name or path.name
    if kind not in _KINDS:
        raise ConfigError(
            f"must end in {', '.join(_KINDS)}, and may then end in {' or '.join(PACKED)}; or be a "
            "directory, or hub://OWNER/NAME"
        )
    place = unpacked(path) if path.suffix in PACKED else path
    if kind == ".parquet":
        return Parquet(place, name)
    if kind in _TABLES:
        return Csv(place, name, delimiter=_TABLES[kind])
    if _is_array(place):
        return JsonArray(place, name)
    return JsonObject(place, name) if is_object(place) else JsonLines(place, name)


def _is_array(path: Path) -> bool:
    """Whether a file of JSON begins an array."""
    with opened(path) as file:
        while start := file.read(1 << 10):
            if found := start.removeprefix(b"\xef\xbb\xbf").lstrip():
                return found[:1] == b"["
    return False


def _saved(place: Path, split: str) -> Rows:
    """A directory written by `save_to_disk`: one split, or several of which one is named."""
    if not any((place / name).exists() for name in _SAVED):
        if place.is_dir():
            raise ConfigError(f"a directory without files that end in {', '.join(_KINDS)}")
        raise ConfigError("no such file, nor a directory that the datasets library saved")
    found = _datasets().load_from_disk(str(place))
    if hasattr(found, "keys"):
        if split not in found:
            raise ConfigError(f"has no split {split}; it has {', '.join(found)}")
        found = found[split]
    return Arrow(place.name, found)


def _hub(path: str) -> Rows:
    match = _HUB.fullmatch(path)
    if match is None:
        raise ConfigError("must be hub://OWNER/NAME, then /CONFIGURATION and :SPLIT if needed")
    datasets = _datasets()
    try:
        split = datasets.load_dataset(match[1], match[2], split=match[3] or "train")
    except Exception as error:  # the library raises many kinds
        raise ConfigError(f"can't be loaded ({first_line(error)})") from error
    return Arrow(match[1], split)


def _datasets() -> Any:
    try:
        # An optional package.
        import datasets
    except ImportError as error:
        raise ConfigError(f"needs the datasets library; {install('datasets')}") from error
    return datasets
