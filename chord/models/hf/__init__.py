"""Causal language models of the transformers library, as policies and teachers."""
