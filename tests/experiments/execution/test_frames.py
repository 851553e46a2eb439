"""The way from the command to the gradient is short: whoever reads it passes few functions."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from processes import ROOT

MOST = 13
#: in the command and in its worker: notes our frames where a worker starts and at `backward`
SITE = """
import json, os, subprocess, sys
from pathlib import Path

def note(name):
    frame, found = sys._getframe(2), []
    while frame is not None:
        file = os.path.relpath(frame.f_code.co_filename, os.environ["ROOT"])
        if file.startswith(("experiments/", "models/")):
            found.append(f"{file} {frame.f_code.co_name}")
        frame = frame.f_back
    Path(__file__).with_name(name).write_text(json.dumps(found[::-1]))

def noting(real, name, wanted=lambda arguments: True):
    def function(*arguments, **options):
        if wanted(arguments):
            note(name)
        return real(*arguments, **options)
    return function

WORKER = "experiments.execution.worker"
subprocess.Popen.__init__ = noting(
    subprocess.Popen.__init__, "start.json", lambda arguments: WORKER in arguments[1]
)
if WORKER in sys.orig_argv:
    import torch
    torch.Tensor.backward = noting(torch.Tensor.backward, "backward.json")
"""


@pytest.mark.slow
def test_thirteen_frames_from_the_command_to_backward(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    grid = {
        "task": {"kind": "multihop", "entities": 8, "relations": 4, "hops": 2},
        "model": {"width": 8, "heads": 1},
        "training": {"batch": 8, "phases": [{"until_step": 2}]},
        "observe": {"probes": []},
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump({"baseline": grid}))
    subprocess.run(
        [sys.executable, "-c", "from experiments.cli.main import main; main()"]
        + ["run", str(tmp_path / "toy.yaml"), "--out", str(tmp_path / "out"), "--workers", "1"],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": f"{site}:{ROOT}", "ROOT": ROOT},
    )
    command, worker = (json.loads((site / f"{n}.json").read_text()) for n in ("start", "backward"))
    assert command[0] == "experiments/cli/main.py main"
    assert worker[-1] == "experiments/training/trainer.py step"
    assert len(command) + len(worker) <= MOST, "\n".join([*command, *worker])
