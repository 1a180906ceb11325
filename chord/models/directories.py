"""What else a directory may be that was given as a model's: a run's, or one of adapters alone."""

from __future__ import annotations

import shlex
from pathlib import Path

WHOLE, ADAPTERS, TINY = "config.json", "adapter_config.json", "model.safetensors"


def told(setting: str, path: str) -> str | None:
    """What a directory is and what to type for its model; None of one that holds no model.

    `setting` is `model.path` or `teacher.path`; a teacher can't be a run's adapters.
    """
    place, group = Path(path).expanduser(), setting.partition(".")[0]
    if (place / "run.json").is_file():
        return f"is a run directory; {_from_run(setting, path)}"
    if (place / WHOLE).is_file():
        return f"is a model of transformers; give {group}=hf {setting}={path}"
    if (place / ADAPTERS).is_file():
        what, run = "holds adapters (LoRA), no whole model", place.resolve().parent
        if group == "model":
            return f"{what}; give model.run={path}"
        if (run / "run.json").is_file():
            return f"{what}; {_from_run(setting, str(run))}"
        return (
            f"{what}; merge them into their model with peft's merge_and_unload, save that with "
            f"its tokenizer, and give {setting}=DIR"
        )
    return None


def _from_run(setting: str, path: str) -> str:
    """What to type for the model of a run."""
    place, group = Path(path).expanduser(), setting.partition(".")[0]
    if group == "model":
        return f"give model.run={path}"
    if (place / "model" / WHOLE).is_file():
        return f"give {group}=hf {setting}={place / 'model'}"
    if (place / TINY).is_file():
        return f"give {group}=tiny {setting}={place / TINY}"
    export = f"python -m chord.export {shlex.quote(path)} --to DIR"
    return f"type {export}, which writes its model, and give {group}=hf {setting}=DIR"
