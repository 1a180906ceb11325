#!/bin/bash
# Everything the study runs; a second call goes on where the first was stopped.
# From the root of a checkout: bash experiments/overfitting/commands.sh
source experiments/sweep.sh
sweep outputs/overfitting experiment=sft data.expert_pairs=32,128,512 \
  data.manner=worked,tens_first,direct optimizer.lr=1e-4,1e-3 'seed=range(0,5)' steps=200 \
  evaluation.every=5 evaluation.test=false evaluation.val_problems=125 \
  evaluation.val_retained=50 hydra/launcher=joblib
