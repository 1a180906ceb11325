"""The shape of the policy: a schema, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from chord.errors import ConfigError


@dataclass(kw_only=True)
class TransformerConfig:
    """Sizes of a `Transformer`; the default is 0.81M parameters at 40 tokens of vocabulary.

    Raises ConfigError naming the field, its value and what is allowed.
    """

    vocab_size: int
    width: int = 128
    layers: int = 4
    heads: int = 4
    context: int = 128
    mlp_ratio: float = 2.75
    """Width of the gated MLP's hidden layer over ``width``; 2.75 costs as much as 4 ungated."""
    rope_base: float = 1000.0
    """Base of the rotary wavelengths; small, because sequences are short."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "width", "layers", "heads", "context", "mlp_ratio"):
            value = getattr(self, name)
            if value <= 0:
                raise ConfigError(f"{name}={value}: must be greater than 0")
        if self.rope_base <= 1:
            raise ConfigError(f"rope_base={self.rope_base}: must be greater than 1")
        if self.width % (2 * self.heads):
            raise ConfigError(
                f"width={self.width}: must be a multiple of 2 * heads = {2 * self.heads}"
            )

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def mlp_width(self) -> int:
        return round(self.mlp_ratio * self.width)
