"""Where Hydra looks for sweepers: the names and settings of those in `chord.sweep`."""

# No postponed annotations: Hydra runs this file before dataclasses find it.
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore

from chord.sweep.space import SearchConfig
from chord.sweep.sweeper import ChordSweeper as _ChordSweeper


class ChordSweeper(_ChordSweeper):
    """`hydra/sweeper=chord`."""


@dataclass
class ChordSweeperConfig(SearchConfig):
    """Its settings, as `chord.sweep.space` has them."""

    _target_: str = f"{__name__}.ChordSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="chord", node=ChordSweeperConfig)
