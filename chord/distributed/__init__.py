"""Training with several processes that take each step together."""
