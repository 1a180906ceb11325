#!/bin/bash
# Runs the whole study; a second call continues where the first one stopped.
# From the root of a checkout: bash experiments/methods/commands.sh
source experiments/sweep.sh
seeds=('seed=range(0,3)' hydra/launcher=joblib)
# Without the presets that are not methods for the test bed.
sweep outputs/methods/presets 'experiment=glob(*,exclude=[smoke,smollm2,sft_then_rl])' "${seeds[@]}"
# This preset as it was then: half of the run for each phase, one rate.
sweep outputs/methods/halves experiment=sft_then_rl schedule=step "${seeds[@]}"
