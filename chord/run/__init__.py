"""A run: its data and models, its directory, the loop over its train steps."""
