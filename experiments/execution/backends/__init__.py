"""Where runs are worked on: this machine, a Ray cluster, a Slurm cluster."""
