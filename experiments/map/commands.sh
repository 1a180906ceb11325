#!/bin/bash
# Everything the study runs; a second call goes on where the first was stopped.
# From the root of a checkout: bash experiments/map/commands.sh
source experiments/sweep.sh
bases=outputs/map/bases
seeds=('seed=range(0,5)' evaluation.every=0 hydra/launcher=joblib)

files() { # those of a pre-training seed, with commas
  local found=()
  for share in 0.005 0.03 0.15 0.5; do found+=("$bases/base$1_share$share.safetensors"); done
  (IFS=,; echo "${found[*]}")
}

[ -f "$bases/base2_share0.5.safetensors" ] || python experiments/map/bases.py
all="model.path=$(files 0),$(files 1),$(files 2)"
sweep outputs/map/default experiment=sft,rl,chord_mu "${seeds[@]}" "$all"
# Half of the run each at one rate: the preset as it was before it had been tuned.
sweep outputs/map/default_halves experiment=sft_then_rl schedule=step "${seeds[@]}" "$all"
