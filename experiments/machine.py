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
#: where the limits of groups of processes are, and which groups this process is in
CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
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


def _own_groups(controller: str, root: Path, own: Path) -> list[Path]:
    """Folders of the control groups around this process that may limit a resource.

    Systemd, Slurm and containers nest groups, and each group obeys the limits of all around it.
    A container may see its own group as the root and yet be told the path that its host knows.

    Args:
        controller: memory or cpu; version 2 has one tree for all, version 1 one for each.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text(encoding="utf-8").splitlines()]
    except OSError:
        lines = []
    found = [root, root / controller]
    for line in lines:
        if len(line) != 3 or (line[1] and controller not in line[1].split(",")):
            continue
        steps = [step for step in line[2].split("/") if step not in ("", ".", "..")]
        trees = [line[1], controller] if line[1] else ["", "unified"]
        for tree in dict.fromkeys(trees):
            for depth in range(len(steps) + 1):
                found.append((root / tree).joinpath(*steps[:depth]))
    return list(dict.fromkeys(found))


def _numbers(path: Path) -> list[int]:
    """The whole numbers of a file of limits, nothing where it is missing or says "max"."""
    try:
        return [int(word) for word in path.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return []


@cache
def _physical_memory(root: Path, own: Path) -> int:
    """Bytes of memory of the machine, or what the groups of this process may use."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for group in _own_groups("memory", root, own):
        for name in ("memory.max", "memory.limit_in_bytes"):
            sizes += [size for size in _numbers(group / name) if size > 0]
    return min(sizes)


def machine_memory(root: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """Bytes of memory: of the machine, or what its container, service or job may use.

    Raises:
        LoopscopeError: LOOPSCOPE_MEMORY is set to what is no size.
    """
    if text := os.environ.get(MEMORY_VARIABLE):
        return parse_bytes(text)
    return _physical_memory(root, own)


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


def available_cores(root: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """Cores that this process may use: its affinity, and the quotas of the groups around it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    allowed = [cores or 1]
    for group in _own_groups("cpu", root, own):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")  # version 1; a quota of -1 is none
        old = [number for name in names for number in _numbers(group / name)]
        for numbers in (_numbers(group / "cpu.max"), old):
            if len(numbers) == 2 and min(numbers) > 0:
                allowed.append(numbers[0] // numbers[1])
    return max(min(allowed), 1)


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
