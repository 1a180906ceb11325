"""Where Hydra looks for sweepers: the names and settings of those in `chord.sweep`."""

# No postponed annotations: Hydra runs this file before dataclasses find it.
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore

from chord.sweep import grid


class Grid(grid.Grid):
    """`hydra/sweeper=grid`."""


@dataclass
class GridConfig:
    """A grid has no settings."""

    _target_: str = f"{__name__}.Grid"


ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridConfig)
