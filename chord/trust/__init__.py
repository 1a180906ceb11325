"""What a configuration may do by where it comes from: SECURITY.md says it, and these hold it.

`files`: configuration files that are neither chord's nor an installed package's. `code`: settings
that name code to import. `own`: the run directories that this user's chord made.
"""
