"""The settings of `hydra/sweeper=chord`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chord.errors import ConfigError

DIRECTIONS = ("maximize", "minimize")


WHERE = "hydra.sweeper"


@dataclass(kw_only=True)
class SearchConfig:
    """Settings of `hydra.sweeper`; with `trials=0` the sweep is a grid and the rest unused.

    `params` maps a setting to what Hydra's command line would have for it: `interval(0,1)`,
    `tag(log,interval(1e-5,1e-3))`, `choice(a,b)`, `range(1,5)`. `conditional` maps an option,
    `schedule=linear`, to further ones, searched where that was chosen. `startup`: trials at random
    before the search learns. `batch`: jobs that are chosen together (0: as many as run at a time).
    `storage`: null for `study.db` in the sweep's directory, a path, or an address as SQLAlchemy has
    it.
    """

    trials: int = 0
    startup: int = 10
    batch: int = 0
    direction: str = "maximize"
    seed: int = 0
    storage: str | None = None
    study: str = "chord"
    params: dict[str, Any] = field(default_factory=dict)
    conditional: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            allowed = " or ".join(DIRECTIONS)
            raise ConfigError(f"{WHERE}.direction={self.direction}: must be {allowed}")
        for name in ("trials", "startup", "batch", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{WHERE}.{name}={getattr(self, name)}: must be at least 0")
        if not self.trials and (self.params or self.conditional):
            varied = ", ".join([*self.params, *self.conditional])
            raise ConfigError(
                f"{WHERE}.trials=0: must be at least 1 to search {varied}; for a grid, leave out "
                "hparams_search and type the values"
            )


@dataclass(kw_only=True)
class SweeperConfig(SearchConfig):
    """`hydra/sweeper=chord` as Hydra has it in its store."""

    _target_: str = "hydra_plugins.chord.ChordSweeper"
