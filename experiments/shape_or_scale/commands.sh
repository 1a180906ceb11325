#!/bin/bash
# Runs the whole study; a second call continues where the first one stopped.
# From the root of a checkout: bash experiments/shape_or_scale/commands.sh
source experiments/sweep.sh
sweep outputs/shape_or_scale schedule=constant,linear,cosine,chord_mu \
  weighting=uniform,phi,importance,entropy,margin,focal weighting.normalize=none,mean1 \
  'seed=range(0,5)' steps=60 evaluation.every=0 hydra/launcher=joblib
