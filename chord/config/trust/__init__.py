"""What a configuration may do, by where it comes from; SECURITY.md states the rules.

`files`: configuration files that are neither chord's nor an installed package's. `composing`: what
Hydra makes of them. `code`: settings that name code to import. `own`: the run directories that this
user's chord made.
"""
