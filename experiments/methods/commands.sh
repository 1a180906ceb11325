#!/bin/bash
# Everything the study runs; a second call goes on where the first was stopped.
# From the root of a checkout: bash experiments/methods/commands.sh
source experiments/sweep.sh
sweep outputs/methods 'experiment=glob(*,exclude=smoke)' 'seed=range(0,3)' hydra/launcher=joblib
