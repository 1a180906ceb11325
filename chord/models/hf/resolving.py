"""From a path to the place that transformers loads from, also where the hub does not answer."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from chord.errors import ConfigError
from chord.models.hf.gguf import unpacked
from chord.models.hf.source import Source, find

if TYPE_CHECKING:
    pass


def resolve(setting: str, path: str, revision: str | None = None) -> Source:
    """The place that transformers loads from: for a GGUF file, the directory it was unpacked into.

    If the hub does not answer, the directory in the local cache, or else ConfigError.
    """
    source = find(setting, path, revision)
    if source.on_hub and not answers(source.place, revision):
        return replace(source, place=cached(source), arguments={"local_files_only": True})
    file = Path(source.place)
    if file.suffix == ".gguf" and file.is_file():
        return replace(source, place=str(unpacked(file)))
    return source


def cached(source: Source) -> str:
    """The directory of the local cache with a model's files."""
    # Here and below: only what is not on this machine needs it.
    from huggingface_hub import snapshot_download

    try:
        place = snapshot_download(source.place, local_files_only=True, **source.arguments)
    except Exception as error:  # the library raises many kinds
        raise ConfigError(
            f"{source.setting}: no such directory; as a hub id it is not in the local cache, and "
            "the hub was not reached"
        ) from error
    return str(place)


@cache
def answers(place: str, revision: str | None) -> bool:
    """Whether the hub answers at all to a request for the model's id; asked once.

    It has $HF_HUB_ETAG_TIMEOUT seconds, 10 by default. The library would retry for a minute.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        url = hf_hub_url(place, "config.json", revision=revision)
        get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HfHubHTTPError:
        return True
    except Exception:  # the library's, and those of whatever it connects with
        return False
    return True
