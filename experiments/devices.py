"""How many runs at once, and where: cores and GPUs of this machine that we may use."""

import os
import shutil
from pathlib import Path

from experiments.errors import LoopscopeError


def available_cores(cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = cgroup.read_text().split()
        allowed = int(quota) // int(period)
    except (OSError, ValueError):  # no container, or "max"
        return max(cores or 1, 1)
    return max(min(cores or 1, allowed), 1)


def available_gpus() -> int:
    """CUDA devices; torch is imported only where there is a driver to ask."""
    if shutil.which("nvidia-smi") is None:
        return 0
    import torch

    return torch.cuda.device_count()


def worker_devices(workers: int | None = None) -> tuple[str, ...]:
    """The device of each worker: GPUs in turn where there are some, else the CPU.

    Args:
        workers: how many; None: one a GPU, or one a core where there is no GPU.

    Raises:
        LoopscopeError: workers < 1.
    """
    if workers is not None and workers < 1:
        raise LoopscopeError(f"--workers needs 1 or more, got {workers}")
    if gpus := available_gpus():
        return tuple(f"cuda:{i % gpus}" for i in range(workers or gpus))
    return ("cpu",) * (workers or available_cores())
