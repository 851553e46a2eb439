"""What this machine is, how much memory it has, and how many runs it can work on at once."""

import os
import platform
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from experiments.errors import LoopscopeError

#: says how much memory there is where runs will be worked on, if that is not here: 80G, 512 MiB
MEMORY_VARIABLE = "LOOPSCOPE_MEMORY"
#: what a container may use, as its kernel says (cgroup 2, cgroup 1)
LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
#: share of a GPU's memory that runs may fill
GPU_SHARE = 0.9
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@cache
def processor_name() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@cache
def gpus() -> tuple[tuple[str, int], ...]:
    """(name, bytes of memory) of each CUDA device that the driver knows; empty without a driver."""
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
        rows = [line.rsplit(",", 1) for line in text.splitlines() if line.strip()]
        return tuple((name.strip(), int(size) * 2**20) for name, size in rows)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()


def device_name(device: str) -> str:
    """The name under which speeds of a device (`cpu`, `cuda:1`) are kept, such as `cpu AMD EPYC`.

    All GPUs of a machine are taken for the same model.
    """
    if not device.startswith("cuda"):
        return f"cpu {processor_name()}"
    found = gpus()
    return f"cuda {found[0][0]}" if found else "cuda"


def machine_memory(limits: tuple[Path, ...] = LIMITS) -> int:
    """Bytes of memory: of the machine, or what its container may use.

    Raises:
        LoopscopeError: LOOPSCOPE_MEMORY is set to what is no size.
    """
    if text := os.environ.get(MEMORY_VARIABLE):
        return parse_bytes(text)
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in limits:
        try:
            sizes.append(int(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):  # no container, or "max"
            continue
    return min(sizes)


def largest_memory() -> int:
    """Bytes that a model may fill: of the machine or of its largest GPU."""
    if os.environ.get(MEMORY_VARIABLE):
        return machine_memory()
    return max([machine_memory(), *(size for _, size in gpus())])


def free_memory(device: str, meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that runs on a device (`cpu`, `cuda:1`) may fill.

    The CPU's is what is free now, or what LOOPSCOPE_MEMORY says; a GPU's is most of what it has.
    """
    if device.startswith("cuda"):
        index = int(device.partition(":")[2] or 0)
        found = gpus()
        return round(GPU_SHARE * found[index][1]) if index < len(found) else machine_memory()
    if os.environ.get(MEMORY_VARIABLE):
        return machine_memory()
    try:
        lines = meminfo.read_text(encoding="utf-8").splitlines()
        rows = dict(line.split(":", 1) for line in lines if ":" in line)
        available = int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        available = machine_memory()
    return min(available, machine_memory())


def parse_bytes(text: str) -> int:
    """
    >>> parse_bytes("80G"), parse_bytes("1.5 MiB")
    (80000000000, 1572864)

    Raises:
        LoopscopeError: no size.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]?)(i?)b?\s*", text, re.IGNORECASE)
    if found is None or (found[3] and not found[2]):
        raise LoopscopeError(f"{MEMORY_VARIABLE} needs a size such as 80G or 512 MiB, got {text!r}")
    unit = found[2].lower()
    return int(float(found[1]) * (BINARY[unit] if found[3] else UNITS[unit]))


def available_cores(cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = cgroup.read_text(encoding="utf-8").split()
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
