"""The train steps of a run: their numbers for Lightning, and how many are completed."""

from __future__ import annotations

from collections.abc import Iterator

from lightning.pytorch import LightningModule

from chord.step.module import ChordModule


def completed_steps(module: LightningModule) -> int:
    """How many train steps the module has taken, those before a resume included."""
    assert isinstance(module, ChordModule)
    return module.first_step if module.record is None else module.record.step + 1


class StepLoader:
    """Hands the numbers of the train steps to Lightning, and goes on where a checkpoint ended."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.next_step = 0

    def __len__(self) -> int:
        # Of the whole run: a resumed loop counts its batches from the first one on.
        return self.steps

    def __iter__(self) -> Iterator[int]:
        while self.next_step < self.steps:
            self.next_step += 1
            yield self.next_step - 1

    def state_dict(self) -> dict[str, int]:
        """What Lightning puts into a checkpoint."""
        return {"next_step": self.next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """What Lightning does with it."""
        self.next_step = state["next_step"]
