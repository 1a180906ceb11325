# Sourced by the studies' commands.sh.
# sweep DIR ARGUMENT...: train a sweep in DIR; later calls continue where it was stopped.
# $train is the command (default: python -m chord.train).
set -e

sweep() {
  local directory=$1 where=hydra.sweep.dir=$1
  shift
  [ -f "$directory/sweep.json" ] && where=resume_sweep=$directory
  ${train:-python -m chord.train} -m "$@" tracking=off "$where"
}
