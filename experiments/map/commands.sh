#!/bin/bash
# Runs the whole study; a second call continues where the first one stopped.
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
methods=experiment=sft,rl,sft_then_rl,chord_mu
sweep outputs/map/default "$methods" "${seeds[@]}" "$all"
# Easier and harder problems change the reliability and leave the response style as it is.
of_one="model.path=$(files 0)"
sweep outputs/map/small "$methods" "${seeds[@]}" "$of_one" data.min_first=1000 data.min_second=11 data.max_second=29
sweep outputs/map/large "$methods" "${seeds[@]}" "$of_one" data.min_first=5000 data.min_second=41
