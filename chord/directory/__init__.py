"""Directories that are written into: by one process at a time, each file whole or not at all."""
