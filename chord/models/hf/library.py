"""The transformers library, which is optional."""

from chord.errors import ConfigError
from chord.io.extras import install

try:
    import transformers as transformers
except ImportError as error:
    raise ConfigError(f"model=hf: needs the transformers library; {install('hf')}") from error
