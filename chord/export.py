"""Write a run's model as a Hugging Face model directory: `python -m chord.export RUN --to DIR`.

Adapters are merged into the model. The tokenizer and its chat template are written too. If the run
was interrupted, its last checkpoint is written; --checkpoint chooses another one. The model of the
test bed becomes a Llama, which can be trained with `model=hf model.path=DIR model.chat=false`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from chord.command_line.arguments import Arguments, refuse_input, refuse_output
from chord.command_line.ending import ending
from chord.errors import ConfigError
from chord.io.printing import say
from chord.io.signs import Signs
from chord.io.writing import whole_directory
from chord.models.hf.settings import DTYPES


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = Arguments("export", __doc__)
    options.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    options.add_argument("--to", type=Path, required=True, metavar="DIR", help="the new directory")
    options.add_checkpoint()
    options.add_argument(
        "--dtype",
        choices=DTYPES,
        help="data type of the weights, such as bfloat16 for inference (default: as trained)",
    )
    options.add_argument(
        "--trust",
        action="store_true",
        help="allow the code, servers and places to write to that a run from elsewhere names",
    )
    return options


@ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `chord-export`."""
    options = parser().parse_args(arguments)
    with Signs("writing the model").shown():
        export_run(
            options.run, options.to, options.checkpoint, dtype=options.dtype, trust=options.trust
        )
    say(f"{options.to}: written; AutoModelForCausalLM.from_pretrained({str(options.to)!r})")


def export_run(
    run: Path,
    directory: Path,
    checkpoint: str | None = None,
    *,
    dtype: str | None = None,
    trust: bool = False,
) -> None:
    """Write the final model, or that of a `checkpoint`, all of it or nothing.

    `dtype`: of the written weights; None: as they were trained.

    Raises ConfigError where the run has no such model, or something is in the way.
    """
    # Here and below: torch takes seconds to load; mistakes in arguments are said before.
    from chord.config.composing import register
    from chord.run.kept import find_checkpoint
    from chord.run.opening import configuration
    from chord.run.trained import trained_model

    if directory.exists():
        raise ConfigError(f"--to {directory}: exists already; name a new directory")
    refuse_output(directory, f"--to {directory}")
    register()
    config = configuration(run, trust=trust)
    refuse_input(directory, f"--to {directory}", config)
    file = find_checkpoint(run, config.trainer.keep, checkpoint, setting="--checkpoint ")
    policy = trained_model(run, config, file)
    try:
        with whole_directory(directory, new=True) as partial:
            config.model.export(policy, partial, dtype)
    except OSError as error:
        if not directory.exists():
            raise
        raise ConfigError(
            f"--to {directory}: something else was written there in the meantime; name another"
        ) from error


if __name__ == "__main__":
    main()
