#!/bin/bash
# Runs the whole study; a second call continues where the first one stopped.
# From the root of a checkout: bash experiments/baseline/commands.sh
source experiments/sweep.sh
runs=outputs/baseline
tuning=(seed=100 evaluation=selection hydra/launcher=joblib)
final=('seed=range(0,5)' hydra/launcher=joblib)

# 1. Settings at 120 steps, on validation.
sweep $runs/tune experiment=sft,rl,chord_mu,chord_phi \
  optimizer.lr=3e-5,1e-4,3e-4,6e-4 "${tuning[@]}"
# SFT-then-RL: the switch and both learning rates.
sweep $runs/tune_sft_then_rl experiment=sft_then_rl schedule.switch_step=.25,.5,.75 \
  'schedule.phase.lr=[1e-4,3e-5],[1e-4,1e-4],[1e-4,3e-4],[3e-4,3e-5],[3e-4,1e-4],[3e-4,3e-4]' \
  "${tuning[@]}"
# The best setting had the earliest switch and the higher SFT rate: one more value on each side.
sweep $runs/tune_sft_then_rl_early experiment=sft_then_rl schedule.switch_step=.125 \
  'schedule.phase.lr=[3e-4,3e-5],[3e-4,1e-4],[3e-4,3e-4],[6e-4,1e-4]' "${tuning[@]}"
sweep $runs/tune_sft_then_rl_fast experiment=sft_then_rl schedule.switch_step=.25 \
  'schedule.phase.lr=[6e-4,3e-5],[6e-4,1e-4],[6e-4,3e-4]' "${tuning[@]}"
# Every other preset: the best three on validation go on to the test runs.
others=chord_adaptive,chord_both,dft_then_rl,gac,hpt,interleaved,luffy,on_policy_distillation
others+=,prefix_rft,relift,rl_plus,srft,trapo,uft
sweep $runs/tune_others "experiment=$others" optimizer.lr=3e-5,1e-4,3e-4 "${tuning[@]}"
# Presets that were best at their highest rate: one more value. (on_policy_distillation was best at
# its lowest, 27 points behind the third of them, and got no further value.)
sweep $runs/tune_others_fast experiment=dft_then_rl,hpt,interleaved,rl_plus optimizer.lr=6e-4 \
  "${tuning[@]}"

# 2. As many steps as fit into the tokens of CHORD-mu's 120; rates tuned again, at that length.
sweep $runs/tune_tokens_sft experiment=sft steps=763 optimizer.lr=3e-5,1e-4,3e-4 "${tuning[@]}"
sweep $runs/tune_tokens_sft_slow experiment=sft steps=763 optimizer.lr=1e-5 "${tuning[@]}"
sweep $runs/tune_tokens_rl experiment=rl steps=176 optimizer.lr=3e-5,1e-4,3e-4 "${tuning[@]}"
sweep $runs/tune_tokens_sft_then_rl experiment=sft_then_rl steps=168 schedule.switch_step=.25 \
  'schedule.phase.lr=[1e-4,3e-5],[3e-4,1e-4],[1e-3,3e-4]' "${tuning[@]}"

# 3. The chosen settings on the test split: 1e-4, for CHORD-mu 3e-4, are the presets' own rates.
sweep $runs/final experiment=sft,rl,chord_mu,chord_phi "${final[@]}"
sweep $runs/final_sft_then_rl experiment=sft_then_rl schedule.switch_step=.25 \
  'schedule.phase.lr=[3e-4,1e-4]' "${final[@]}"
sweep $runs/final_others experiment=interleaved,dft_then_rl optimizer.lr=3e-4 "${final[@]}"
sweep $runs/final_chord_both experiment=chord_both optimizer.lr=1e-4 "${final[@]}"

# 4. The same at equal tokens.
sweep $runs/tokens_rl experiment=rl steps=176 optimizer.lr=1e-4 evaluation.every=0 "${final[@]}"
sweep $runs/tokens_sft experiment=sft steps=763 optimizer.lr=1e-5 evaluation.every=0 "${final[@]}"
sweep $runs/tokens_sft_then_rl experiment=sft_then_rl steps=168 schedule.switch_step=.25 \
  'schedule.phase.lr=[3e-4,1e-4]' evaluation.every=0 "${final[@]}"
