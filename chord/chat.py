"""Talk to a run's trained model and to its base: `python -m chord.chat RUN`.

Both models respond to each line that you type. With a chat template, each model keeps its own
conversation. An empty line starts a new one, and Ctrl-D ends the command. Lines can also be piped
in: echo '173*26=' | python -m chord.chat RUN.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from chord.command_line.arguments import Arguments, Number
from chord.command_line.ending import ending
from chord.errors import ConfigError
from chord.io.printing import say
from chord.io.reading import printable
from chord.io.signs import Signs

LAYOUT = "\n\t"
"""The control characters that may be printed."""

if TYPE_CHECKING:
    from chord.data.batch import Tokenizer, Turn
    from chord.models.policy import Policy


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = Arguments("chat", __doc__)
    options.add_argument(
        "run",
        type=Path,
        nargs="?",
        metavar="RUN",
        help="a run directory (default: the one under outputs/ that was started or resumed last)",
    )
    options.add_checkpoint()
    options.add_argument(
        "--temperature",
        action=Number,
        least=0,
        default=0.0,
        metavar="T",
        help="sampling temperature; 0 is greedy (default: 0)",
    )
    options.add_argument(
        "--max-new-tokens",
        action=Number,
        whole=True,
        least=1,
        metavar="N",
        help="maximum length of a response, in tokens (default: the run's)",
    )
    options.add_argument(
        "--seed",
        action=Number,
        whole=True,
        least=0,
        default=0,
        metavar="N",
        help="seed for sampling (default: 0)",
    )
    options.add_argument(
        "--threads",
        action=Number,
        whole=True,
        least=1,
        most=os.cpu_count() or 1,
        metavar="N",
        help="torch's threads (default: as many as the run had)",
    )
    options.add_argument(
        "--trust",
        action="store_true",
        help="allow the code, servers and places to write to that a run from elsewhere names",
    )
    return options


@dataclass
class Speaker:
    """A model with its own conversation."""

    name: str
    policy: Policy
    tokenizer: Tokenizer
    turns: list[Turn] = field(default_factory=list)

    def answer(self, line: str, number: int, options: argparse.Namespace) -> str:
        """Return the model's response to the user's `line`, and add both to the conversation.

        `number` is that of the line, for the random numbers. Raises ConfigError if prompt and
        response do not fit into the model's context.
        """
        # Here and below: torch takes seconds to load; mistakes in arguments are said before.
        from chord.data.batch import Problem, Turn
        from chord.rollout import draw_uniforms, sample

        user = Turn("user", line)
        talks = getattr(self.tokenizer, "chat", False)
        turns = (*self.turns, user) if talks else ()
        greedy, longest = options.temperature == 0, options.max_new_tokens
        drawn = None
        if not greedy:
            drawn = draw_uniforms(
                options.seed, number, keys=[0], group_size=1, max_new_tokens=longest
            )
        samples = sample(
            self.policy,
            [self.tokenizer.prompt(Problem(line, "", key=0, turns=turns))],
            group_size=1,
            max_new_tokens=longest,
            stop_ids=self.tokenizer.stop_ids,
            pad_id=self.tokenizer.pad_id,
            uniforms=drawn,
            greedy=greedy,
            temperature=options.temperature or 1.0,
        )
        text = self.tokenizer.decode(samples.responses[0])
        self.turns += [user, Turn("assistant", text)]
        return text if samples.finished[0] else f"{text} [cut off at {longest} tokens]"


@ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run `chord-chat`."""
    options = parser().parse_args(arguments)
    with loaded(options) as speakers:
        talk(speakers, lines(sys.stdin), options)


@contextmanager
def loaded(options: argparse.Namespace) -> Iterator[list[Speaker]]:
    """Load the base and the trained model; take the maximum response length from the run."""
    from chord.config.composing import register
    from chord.run.build import placed
    from chord.run.kept import find_checkpoint
    from chord.run.opening import configuration
    from chord.run.places import newest_run
    from chord.run.trained import trained_model

    register()
    run = options.run or newest_run(Path("outputs"))
    config = configuration(run, trust=options.trust)
    keep, which = config.trainer.keep, options.checkpoint
    checkpoint = find_checkpoint(run, keep, which, setting="--checkpoint ")
    import torch

    torch.set_num_threads(options.threads or config.threads)
    options.max_new_tokens = options.max_new_tokens or config.evaluation.max_new_tokens
    with Signs("loading the models").shown():
        trained = trained_model(run, config, checkpoint)
        base, tokenizer = config.model.reference(trained), config.model.tokenizer()
    if options.max_new_tokens > trained.context:
        raise ConfigError(
            f"--max-new-tokens {options.max_new_tokens}: must be at most {trained.context}, the "
            "model's context"
        )
    with placed(config, config.trainer.device(), base, trained):
        yield [Speaker("base", base, tokenizer), Speaker("trained", trained, tokenizer)]


def lines(stream: Iterable[str]) -> Iterator[str]:
    """Yield the user's lines, with a prompt if they are typed on a terminal."""
    typed = sys.stdin.isatty()
    say("> " if typed else "", end="", flush=True)
    for line in stream:
        yield line.strip()
        say("> " if typed else "", end="", flush=True)


def talk(speakers: list[Speaker], said: Iterable[str], options: argparse.Namespace) -> None:
    """Print each model's response to each line, or why it cannot respond.

    Control characters in responses are escaped, because a model may write anything. Raises
    ConfigError if there is no line to respond to and none could have been typed.
    """
    asked = sys.stdin.isatty()
    for number, line in enumerate(said):
        if not line:
            for speaker in speakers:
                speaker.turns.clear()
            continue
        asked = True
        for speaker in speakers:
            try:
                text = speaker.answer(line, number, options)
            except ConfigError as error:
                text = f"({error})"
            say(f"{speaker.name:>8}: {printable(text, keep=LAYOUT)}", flush=True)
    if not asked:
        raise ConfigError("standard input holds no prompt; give one on each line")


if __name__ == "__main__":
    main()
