#!/bin/bash
# A grid on Slurm without any extra: task i of n works on the runs of share i/n.
# A share that is requeued or sent again goes on where it stopped.
#
#     sbatch slurm-array.sh headline /shared/runs/headline
#
#SBATCH --job-name=loopscope
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --output=%x-%A_%a.log

grid=${1:?name of a grid or path of its file}
out=${2:?folder of the runs, on a file system that every node sees}

# the shell has to pass the warning before the time limit on to the command
trap 'kill -TERM "$command"; wait "$command"' TERM
loopscope run "$grid" --out "$out" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --workers "$SLURM_CPUS_PER_TASK" &
command=$!
wait "$command"
