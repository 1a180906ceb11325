"""GGUF files, unpacked once."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from chord.io.hashes import cache_directory, file_hash
from chord.io.printing import say
from chord.models.hf.library import transformers
from chord.models.hf.quiet import quiet
from chord.models.hf.source import Source
from chord.models.hf.weights import NO_CODE, complete, one_line

if TYPE_CHECKING:
    pass


def kept(file: Path) -> Path:
    """Where a GGUF file is unpacked to: a directory that is named after the file's digest, under
    $CHORD_CACHE, by default ~/.cache/chord."""
    return cache_directory() / f"{file.stem}-{file_hash(file)[:16]}"


def unpacked(file: Path) -> Path:
    """The directory with a GGUF file's weights in float32, made once and kept.

    Reading the GGUF format takes a hundred times as long.
    """
    place = kept(file)
    root = place.parent
    if place.is_dir():
        return place
    root.mkdir(parents=True, exist_ok=True)
    say(f"reading {file.name}, once; its weights are kept in {place}")
    source = Source(f"model.path={file}", str(file.parent), {"local_files_only": True})
    arguments = source.arguments | {"gguf_file": file.name}
    partial = Path(tempfile.mkdtemp(dir=root))
    try:
        with quiet(), one_line(source):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                source.place, **NO_CODE, **arguments
            )
            model = complete(
                source,
                dtype=torch.float32,
                quantization_config=transformers.GgufConfig(dequantize=True),
                **arguments,
            )
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
        with contextlib.suppress(OSError):  # another process was faster
            partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return place
