"""What the commands share: help, messages, launching Hydra."""
