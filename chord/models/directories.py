"""What else a directory may be that was given as a model's: a run's, or one of adapters alone."""

from __future__ import annotations

import shlex
from pathlib import Path

WHOLE, ADAPTERS, TINY = "config.json", "adapter_config.json", "model.safetensors"


def told(setting: str, path: str) -> str | None:
    """What a directory is and what to type for its model; None of one that holds no model.

    `setting` is `model.path` or `teacher.path`.
    """
    place, group = Path(path).expanduser(), setting.partition(".")[0]
    export = f"python -m chord.export {shlex.quote(path)} --to DIR"
    if (place / "run.json").is_file():
        if (place / "model" / WHOLE).is_file():
            return f"is a run directory; give {group}=hf {setting}={place / 'model'}"
        if (place / "model" / ADAPTERS).is_file():
            return (
                f"is a run directory, and its model is adapters (LoRA); type {export}, which "
                f"merges them, and give {group}=hf {setting}=DIR"
            )
        if (place / TINY).is_file():
            return f"is a run directory; give {group}=tiny {setting}={place / TINY}"
        return (
            f"is a run directory that holds no final model; type {export}, which writes the model "
            f"of its last checkpoint, and give {group}=hf {setting}=DIR"
        )
    if (place / WHOLE).is_file():
        return f"is a model of transformers; give {group}=hf {setting}={path}"
    if (place / ADAPTERS).is_file():
        run = place.resolve().parent
        if (run / "run.json").is_file():
            export = f"python -m chord.export {shlex.quote(str(run))} --to DIR"
            return (
                f"holds the adapters (LoRA) of a run, no whole model; type {export}, which merges "
                f"them, and give {group}=hf {setting}=DIR"
            )
        return (
            "holds adapters (LoRA), no whole model; merge them into their model with peft's "
            f"merge_and_unload, save that with its tokenizer, and give {setting}=DIR"
        )
    return None
