"""What this machine is and how much memory it has; needs no torch."""

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
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@cache
def processor_name() -> str:
    """As the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
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
            sizes.append(int(path.read_text()))
        except (OSError, ValueError):  # no container, or "max"
            continue
    return min(sizes)


def largest_memory() -> int:
    """Bytes that a model may fill: of the machine or of its largest GPU."""
    if os.environ.get(MEMORY_VARIABLE):
        return machine_memory()
    return max([machine_memory(), *(size for _, size in gpus())])


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


def bytes_text(size: float) -> str:
    """
    >>> bytes_text(1536), bytes_text(24e9), bytes_text(3e18)
    ('1.54 kB', '24 GB', '3e+06 TB')
    """
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= 0.9995 * unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.0f} B"
