"""Write the teacher's most probable tokens to a file: `python -m chord.cache_teacher --to FILE`.

With `target=soft target.cache=FILE`, runs read this file instead of running the teacher at each
step. The settings are those of chord.train and choose the data and the teacher:

  python -m chord.cache_teacher --to teacher.safetensors data.expert_pairs=512 teacher=tiny
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from chord.command_line.arguments import Arguments, Number, flags, refuse_input, refuse_output
from chord.command_line.ending import ending
from chord.config.composing import composed, register
from chord.config.overrides import typed
from chord.data.batch import collated
from chord.errors import ConfigError
from chord.io.outputs import Kind, safetensors_with
from chord.io.printing import say
from chord.io.signs import Signs

CACHE = Kind("a teacher's cache", safetensors_with("chord_teacher"))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = Arguments("cache_teacher", __doc__)
    options.add_argument("--to", type=Path, required=True, metavar="FILE", help="the file to write")
    options.add_argument(
        "--k", action=Number, whole=True, least=1, default=8,
        help="tokens per position (default: 8)",
    )  # fmt: skip
    options.add_settings("data=..., teacher=...")
    return options


@ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run `python -m chord.cache_teacher`."""
    options = parser().parse_intermixed_args(arguments)
    refuse_output(options.to, f"--to {options.to}", CACHE)
    with Signs("scoring the expert responses with the teacher").shown():
        told = cache_teacher(options.to, options.k, options.settings, options.config_dir)
    say(told)


def cache_teacher(
    path: Path, k: int, settings: Sequence[str], config_dir: Path | None = None
) -> str:
    """Score all expert pairs of the configured data with the teacher; return the text to print."""
    # Here and below: torch takes seconds to load; mistakes in arguments are said before.
    from chord.models.teacher_cache import write_cache
    from chord.run.build import build_data, placed

    register()
    config = composed(settings, config_dir)
    refuse_input(path, f"--to {path}", config, but="target.cache")
    data, teacher = build_data(config), config.teacher.build()
    if teacher is None:
        raise ConfigError("teacher=none: there is nothing to cache; use teacher=tiny")
    config.teacher.fit(teacher, data.tokenizer)
    pairs = data.expert_pairs
    if not pairs:
        raise ConfigError("data.expert_pairs=0: there is nothing to cache")
    device = config.trainer.device()
    with placed(config, device, teacher):
        batches = (tokens.to(device) for tokens in collated(pairs, data.tokenizer))
        size = config.trainer.micro_batch
        rest = write_cache(path, teacher, batches, k=k, micro_batch=size)
    return (
        f"{path}: {len(pairs)} responses, {k} tokens per position; the other tokens have "
        f"{rest['mean']:.2e} of the probability on average, {rest['largest']:.2e} at most\n"
        f"python -m chord.train target=soft {typed('target.cache', path)} "
        f"{shlex.join([*flags(config_dir), *settings])}".rstrip()
    )


if __name__ == "__main__":
    main()
