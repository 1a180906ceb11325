"""`python -m chord.doctor [RUN]`: what this machine has, and what a run directory holds.

`environment` looks at the machine, `directory` at a run. Each returns `Finding`s, which `command`
prints. Nothing is changed, and nothing is sent anywhere.
"""
