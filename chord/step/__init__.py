"""One train step: what it imitates, what it samples, both losses, one update."""
