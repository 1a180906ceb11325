#!/bin/bash
# The first half of the study, on validation; a second call goes on where the first was stopped.
# From the root of a checkout: bash experiments/baseline/commands.sh
source experiments/sweep.sh
tuning=(seed=100 evaluation=selection hydra/launcher=joblib)

sweep outputs/baseline/tune experiment=sft,rl,chord_mu,chord_phi \
  optimizer.lr=3e-5,1e-4,3e-4,6e-4 "${tuning[@]}"
# SFT-then-RL: the switch and both learning rates.
sweep outputs/baseline/tune_sft_then_rl experiment=sft_then_rl \
  schedule.switch_step=.25,.5,.75 \
  'schedule.phase.lr=[1e-4,3e-5],[1e-4,1e-4],[1e-4,3e-4],[3e-4,3e-5],[3e-4,1e-4],[3e-4,3e-4]' \
  "${tuning[@]}"
# Every other preset: the best of them on validation go on.
others=chord_adaptive,chord_both,dft_then_rl,gac,hpt,interleaved,luffy,on_policy_distillation
others+=,prefix_rft,relift,rl_plus,srft,trapo,uft
sweep outputs/baseline/tune_others "experiment=$others" optimizer.lr=3e-5,1e-4,3e-4 "${tuning[@]}"
