"""The transformers library, which is optional."""

from chord.errors import ConfigError

try:
    import transformers as transformers
except ImportError as error:
    raise ConfigError(
        "model=hf: needs the transformers library; pip install 'chord-posttraining[hf]'"
    ) from error
