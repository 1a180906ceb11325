#!/bin/bash
# Runs the whole study; a second call continues where the first one stopped.
# From the root of a checkout: bash experiments/overfitting/commands.sh
source experiments/sweep.sh
common=(data.manner=worked,tens_first,direct experiment=sft steps=120 hydra/launcher=joblib)
common+=(evaluation.every=5 evaluation.test=false evaluation.val_problems=100)
common+=(evaluation.val_retained=50)

sweep outputs/overfitting/fast optimizer.lr=1e-3 data.expert_pairs=32,128,512 \
  'seed=range(0,5)' "${common[@]}"
sweep outputs/overfitting/slow optimizer.lr=1e-4 data.expert_pairs=128 \
  'seed=range(0,5)' "${common[@]}"
# Every step sees all 32 pairs, so all seeds are the same run.
sweep outputs/overfitting/slow_32 optimizer.lr=1e-4 data.expert_pairs=32 seed=0,1 "${common[@]}"
sweep outputs/overfitting/slow_512 optimizer.lr=1e-4 data.expert_pairs=512 \
  'seed=range(0,5)' "${common[@]}"
