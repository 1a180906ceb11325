#!/bin/bash
# Everything the study runs; a second call goes on where the first was stopped.
# From the root of a checkout: bash experiments/methods/commands.sh
source experiments/sweep.sh
seeds=('seed=range(0,3)' hydra/launcher=joblib)
# Without the presets that are no methods of the test bed.
sweep outputs/methods/presets 'experiment=glob(*,exclude=[smoke,smollm2,sft_then_rl])' "${seeds[@]}"
# As this preset was then: half of the run each, one rate.
sweep outputs/methods/halves experiment=sft_then_rl schedule=step "${seeds[@]}"
