"""Which run is this? What tells a run from another beside the values of its configuration."""
