"""One train step: its SFT rows, its rollouts, both losses, and its update."""
