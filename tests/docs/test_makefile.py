"""`make` asks for torch without CUDA where that is enough, and says so before anything large.

And it looks for tests where they are.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

import experiments

ROOT = Path(experiments.__file__).parents[1]
CPU = "pip install --quiet --retries 0 --timeout 10 --no-compile --no-deps"
PINNED = "--constraint constraints.txt"
REST = f"-m pip install --quiet --no-compile {PINNED} --editable .[dev]"


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def made(
    folder: Path, *, system: str, has_torch: bool = False, offered: bool = True, gpu: bool = False
) -> tuple[list[str], str]:
    """What Python is asked for, in order, and what is printed, on a machine that is told.

    Last of all it is to compile what was installed; that is left out of what is returned.
    """
    venv, tools = folder / "venv", folder / "tools"
    (venv / "bin").mkdir(parents=True)
    tools.mkdir()
    answers = [
        f'echo "$@" >> {folder}/asked',
        f'case "$*" in *"import torch"*) exit {int(not has_torch)};; esac',
        f'case "$*" in *--index-url*) exit {int(not offered)};; esac',
    ]
    program(venv / "bin" / "python", "\n".join(answers))
    program(tools / "uname", f'echo "{system}"')
    if gpu:
        program(tools / "nvidia-smi", "")
    ran = subprocess.run(
        ["make", f"{venv}/.installed", f"VENV={venv}", "PYTHON=true"],
        cwd=ROOT,
        env={"PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    *asked, compiles = (folder / "asked").read_text().splitlines()
    assert compiles == f"-m compileall -q -j 0 {venv}/lib"
    return asked, ran.stdout


def test_the_cpu_build_comes_first_and_the_rest_from_the_usual_index(tmp_path: Path) -> None:
    asked, said = made(tmp_path, system="Linux x86_64")
    assert asked == [
        "-c import torch",
        f"-m {CPU} {PINNED} --index-url https://download.pytorch.org/whl/cpu torch",
        REST,
    ]
    assert "torch: the CPU build from https://download.pytorch.org/whl/cpu, about 200 MB" in said


def test_where_no_index_offers_it_the_size_is_said_before_the_download(tmp_path: Path) -> None:
    asked, said = made(tmp_path, system="Linux x86_64", offered=False)
    assert asked[-1] == REST and len(asked) == 3
    assert "may bring CUDA, several GB. To avoid that stop now" in said
    assert said.index("several GB") < said.index("--editable")  # make prints what it runs


@pytest.mark.parametrize("system", ["Darwin arm64", "Linux aarch64"])
def test_other_platforms_have_no_cuda_in_the_usual_index(tmp_path: Path, system: str) -> None:
    asked, said = made(tmp_path, system=system)
    assert asked == ["-c import torch", REST] and "torch:" not in said


def test_a_gpu_gets_cuda_and_is_told_the_size(tmp_path: Path) -> None:
    asked, said = made(tmp_path, system="Linux x86_64", gpu=True)
    assert asked == ["-c import torch", REST]
    assert "torch: the build with CUDA, several GB" in said


def test_a_torch_that_is_there_stays(tmp_path: Path) -> None:
    asked, said = made(tmp_path, system="Linux x86_64", has_torch=True)
    assert asked == ["-c import torch", REST] and "torch:" not in said


def test_faults_are_where_make_looks_for_them() -> None:
    (place,) = re.findall(r"^FAULTS := .* (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    mark = re.compile(r"mark\.faults\b")
    marked = [p for p in (ROOT / "tests").rglob("test_*.py") if mark.search(p.read_text("utf-8"))]
    files = {p.name for p in marked if p != Path(__file__)}
    assert files >= {"test_faults.py", "test_disk.py"}
    assert files == {p.name for p in marked if p.is_relative_to(ROOT / place)}
