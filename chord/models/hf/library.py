"""The transformers library, which is optional."""

try:
    import transformers as transformers
except ImportError as error:
    raise ValueError(
        "model=hf: needs the transformers library; pip install 'chord-posttraining[hf]'"
    ) from error
