#!/bin/bash
# Runs the whole study; a second call continues where the first one stopped.
# From the root of a checkout: bash experiments/normaliser/commands.sh
source experiments/sweep.sh
runs=outputs/normaliser
common=('experiment=sft,rl,chord_mu' 'seed=range(0,5)' evaluation.every=0)

sweep $runs/exact "${common[@]}" hydra/launcher=joblib
# The bug is patched into one process, so each sweep runs in its own: two side by side.
train="python experiments/normaliser/train.py"
sweep $runs/wrong_1 "${common[@]}" trainer.micro_batch=1 &
sweep $runs/wrong_8 "${common[@]}" trainer.micro_batch=8
wait
