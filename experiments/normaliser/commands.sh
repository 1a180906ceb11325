#!/bin/bash
# Everything the study runs; a second call goes on where the first was stopped.
# From the root of a checkout: bash experiments/normaliser/commands.sh
set -e
runs=outputs/normaliser
common=(-m 'experiment=sft,rl,chord_mu' 'seed=range(0,5)' evaluation.every=0 tracking=off)

go_on() { # a directory that holds a sweep is resumed, another one started
  if [ -f "$1/sweep.json" ]; then echo "resume_sweep=$1"; else echo "hydra.sweep.dir=$1"; fi
}

python -m chord.train "${common[@]}" hydra/launcher=joblib "$(go_on $runs/exact)"
# The bug is put into this process, so its sweeps use the launcher that stays in it: two beside
# each other.
wrong() {
  python experiments/normaliser/train.py "${common[@]}" "trainer.micro_batch=$1" \
    "$(go_on "$runs/wrong_$1")"
}
wrong 1 &
wrong 8
wait
