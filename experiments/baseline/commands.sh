#!/bin/bash
# The first half of the study, on validation; a second call goes on where the first was stopped.
# From the root of a checkout: bash experiments/baseline/commands.sh
source experiments/sweep.sh
common=(seed=100 evaluation=selection hydra/launcher=joblib)

# SFT-then-RL: the switch and both learning rates.
sweep outputs/baseline/tune_sft_then_rl experiment=sft_then_rl \
  schedule.switch_step=.25,.5,.75 \
  'schedule.phase.lr=[1e-4,1e-4],[1e-4,3e-4],[3e-4,1e-4],[3e-4,3e-4]' steps=60,120 "${common[@]}"
# The other presets that were ahead of RL before anything was tuned.
sweep outputs/baseline/tune_others experiment=chord_adaptive,interleaved,dft_then_rl,chord_both \
  optimizer.lr=1e-4,3e-4,6e-4,1e-3 steps=60,120 "${common[@]}"
