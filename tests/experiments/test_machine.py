"""What this machine has is what the nested groups of this process may use of it."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from experiments.machine import MEMORY_VARIABLE, available_cores, machine_memory

GIB = 2**30


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MEMORY_VARIABLE, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 64 * 2**18, "SC_PAGE_SIZE": 4096}.get)


def measured(folder: Path, groups: str, files: dict[str, str]) -> tuple[float, int]:
    """GiB and cores that a process in these groups finds, in a fake tree of their limits."""
    root, own = folder / "cgroup", folder / "self"
    root.mkdir()
    own.write_text(groups)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return machine_memory(root, own) / GIB, available_cores(root, own)


SERVICE = "0::/user.slice/user-1.slice/job.scope\n"
SLURM = "5:cpuacct,cpu:/slurm/uid_1/job_2/step_0\n4:memory:/slurm/uid_1/job_2/step_0\n1:name=x:/\n"
ESCAPED = "5:cpuacct,cpu:/docker/abc\n4:memory:/docker/abc\n"


@pytest.mark.parametrize(
    ("groups", "files", "gib", "cores"),
    [
        pytest.param("", {}, 64, 8, id="no groups"),
        pytest.param(SERVICE, {}, 64, 8, id="no files"),
        pytest.param(
            "0::/\n", {"memory.max": f"{2 * GIB}", "cpu.max": "300000 100000"}, 2, 3, id="container"
        ),
        pytest.param(
            SERVICE,
            {
                "user.slice/user-1.slice/job.scope/memory.max": f"{3 * GIB}",
                "user.slice/user-1.slice/job.scope/cpu.max": "250000 100000",
            },
            3,
            2,
            id="systemd, own",
        ),
        pytest.param(
            SERVICE,
            {
                "user.slice/user-1.slice/job.scope/memory.max": "max",
                "user.slice/user-1.slice/job.scope/cpu.max": "max 100000",
                "user.slice/memory.max": f"{5 * GIB}",
                "user.slice/user-1.slice/cpu.max": "50000 100000",
                "system.slice/memory.max": f"{GIB}",
            },
            5,
            1,
            id="systemd, around",
        ),
        pytest.param(
            SLURM,
            {
                "memory/slurm/uid_1/job_2/memory.limit_in_bytes": f"{4 * GIB}",
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "cpu/slurm/uid_1/job_2/step_0/cpu.cfs_quota_us": "400000",
                "cpu/slurm/uid_1/job_2/step_0/cpu.cfs_period_us": "100000",
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
            },
            4,
            4,
            id="slurm, version 1",
        ),
        pytest.param(
            ESCAPED, {"memory/memory.limit_in_bytes": f"{7 * GIB}"}, 7, 8, id="path of the host"
        ),
        pytest.param("0::/a\n", {"unified/a/memory.max": f"{6 * GIB}"}, 6, 8, id="both versions"),
        pytest.param(
            "0::/../../a\nnonsense\n", {"a/memory.max": f"{6 * GIB}"}, 6, 8, id="odd lines"
        ),
    ],
)
def test_limits_of_nested_groups(
    tmp_path: Path, groups: str, files: dict[str, str], gib: float, cores: int
) -> None:
    assert measured(tmp_path, groups, files) == (gib, cores)


def test_the_lowest_typer_reads_literal_options() -> None:
    """Typer takes `Literal` for the choices of an option from 0.19 on; before, no command ran."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    floors = [found for d in project["project"]["dependencies"] if (found := _floor(d))]
    assert floors == [(0, 19)]


def _floor(dependency: str) -> tuple[int, ...] | None:
    found = re.fullmatch(r"typer>=([0-9.]+)", dependency)
    return tuple(map(int, found[1].split("."))) if found else None
