"""Which run is this? What tells one run from another besides the values of its configuration."""
