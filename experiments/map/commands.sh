#!/bin/bash
# Everything the study runs; a second call goes on where the first was stopped.
# From the root of a checkout: bash experiments/map/commands.sh
set -e
bases=outputs/map/bases
shares=(0.005 0.03 0.15 0.5)

paths() { # the files of a pre-training seed, with commas
  local found=()
  for share in "${shares[@]}"; do found+=("$bases/base$1_share$share.safetensors"); done
  (IFS=,; echo "${found[*]}")
}

sweep() { # name, files, further settings; a directory that holds a sweep is resumed
  local directory=outputs/map/$1 where
  where=hydra.sweep.dir=$directory
  [ -f "$directory/sweep.json" ] && where=resume_sweep=$directory
  python -m chord.train -m 'experiment=sft,rl,sft_then_rl,chord_mu' 'seed=range(0,3)' \
    "model.path=$2" evaluation.every=0 tracking=off hydra/launcher=joblib "$where" "${@:3}"
}

[ -f "$bases/base2_share0.5.safetensors" ] || python experiments/map/bases.py
sweep default "$(paths 0),$(paths 1),$(paths 2)"
sweep small "$(paths 0)" data.min_first=1000 data.min_second=11 data.max_second=29
sweep large "$(paths 0)" data.min_first=5000 data.min_second=41
