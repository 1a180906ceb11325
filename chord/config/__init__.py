"""The configuration: its schema, composed by Hydra and checked before any work starts."""

from chord.config.composing import composed, reading_conf, register
from chord.config.location import CONF_DIR
from chord.config.parse import parse
from chord.config.root import EvaluateConfig, TrainConfig
from chord.errors import ConfigError

__all__ = [
    "CONF_DIR",
    "ConfigError",
    "EvaluateConfig",
    "TrainConfig",
    "composed",
    "parse",
    "reading_conf",
    "register",
]
