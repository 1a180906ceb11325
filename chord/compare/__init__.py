"""Many runs side by side: read, grouped by all but the seed, compared with confidence.

========== ===================================================================
model      runs and what a comparison says about them: plain data
reading    run directories -> runs, and what was left out and why
========== ===================================================================
"""
