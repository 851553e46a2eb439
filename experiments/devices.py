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


def worker_devices(
    workers: int | None = None, slots_per_gpu: int = 1, device: str = "auto"
) -> tuple[str, ...]:
    """The device of each worker: GPUs in turn where there are some, else the CPU.

    Args:
        workers: how many; None: as many as there are slots.
        slots_per_gpu: workers on each GPU; a core has one.
        device: cpu or cuda for no other; auto: GPUs if there are any.

    Raises:
        LoopscopeError: workers < 1, or more than the GPUs have slots, or no GPU but one is asked
            for.
    """
    if workers is not None and workers < 1:
        raise LoopscopeError(f"--workers needs 1 or more, got {workers}")
    gpus = 0 if device == "cpu" else available_gpus()
    if device == "cuda" and not gpus:
        raise LoopscopeError("GPUs were asked for, but torch finds no CUDA device here")
    if not gpus:
        return ("cpu",) * (workers or available_cores())
    slots = tuple(f"cuda:{i % gpus}" for i in range(gpus * slots_per_gpu))
    if workers is not None and workers > len(slots):
        needed = -(-workers // gpus)
        raise LoopscopeError(
            f"--workers {workers} is more than {len(slots)} slots on {gpus} GPUs; several runs "
            f"share a GPU only if asked: --slots-per-gpu {needed}"
        )
    return slots[:workers]
