#!/bin/bash
# Runs the whole study; a second call continues where the first one stopped.
# From the root of a checkout: bash experiments/presets/commands.sh
source experiments/sweep.sh
runs=outputs/presets
presets=(experiment=sft,rl,chord_mu,chord_phi hydra/launcher=joblib)
# SFT-then-RL as it was before it was tuned: half of the run for each phase, one rate.
halves=(experiment=sft_then_rl schedule=step hydra/launcher=joblib)

grid=(optimizer.lr=1e-4,3e-4,6e-4,1e-3 steps=60,120 seed=100 evaluation=selection)
sweep $runs/tune "${presets[@]}" "${grid[@]}"
sweep $runs/tune_halves "${halves[@]}" "${grid[@]}"
# The grid's choices, which are the presets' defaults: 3e-4 for CHORD-mu, else 1e-4; 120 steps.
sweep $runs/report "${presets[@]}" 'seed=range(0,5)'
sweep $runs/report_halves "${halves[@]}" 'seed=range(0,5)'
sweep $runs/bases "${presets[@]}" model.pretraining_seed=1,2 'seed=range(0,3)'
sweep $runs/bases_halves "${halves[@]}" model.pretraining_seed=1,2 'seed=range(0,3)'
