#!/bin/bash
# Everything the study runs; a second call goes on where the first was stopped.
# From the root of a checkout: bash experiments/overfitting/commands.sh
source experiments/sweep.sh
common=(data.manner=worked,tens_first,direct 'seed=range(0,5)' experiment=sft steps=120)
common+=(evaluation.every=5 evaluation.test=false evaluation.val_problems=100)
common+=(evaluation.val_retained=50 hydra/launcher=joblib)

sweep outputs/overfitting/fast optimizer.lr=1e-3 data.expert_pairs=32,128,512 "${common[@]}"
sweep outputs/overfitting/slow optimizer.lr=1e-4 data.expert_pairs=128 "${common[@]}"
sweep outputs/overfitting/slow_others optimizer.lr=1e-4 data.expert_pairs=32,512 "${common[@]}"
