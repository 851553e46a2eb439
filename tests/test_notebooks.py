"""The notebooks run on toy results, are paired with their text, and hold no output."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest

from experiments.grid import load_grid
from experiments.runner import run_grid

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

TOY = """
name: toy
baseline:
  model: {width: 16, heads: 2, tied: true, kind: looped}
axes: {model.loops: [1, 2]}
parts:
  capacity:
    baseline:
      task: {kind: bios, pools: small, templates: 1, people: 24}
      training: {batch: 8, phases: [{until_exposure: 2}]}
  functions:
    baseline:
      task: {kind: multihop, entities: 8, relations: 4, hops: 2}
      training: {batch: 32, phases: [{until_step: 5}]}
      observe: {probes: [{kind: accuracy, items: 32}]}
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a toy grid, trained as the command trains."""
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "toy.yaml").write_text(TOY)
    outcome = run_grid(load_grid(folder / "toy.yaml"), folder / "runs", workers=1, progress=False)
    assert not outcome.failed and len(outcome.done) == 4
    return folder / "runs"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A kernel that is this interpreter, whatever kernels the machine has."""
    folder = tmp_path / "jupyter" / "kernels" / "here"
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "here", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    yield "here"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs_on_toy_results(
    path: Path, toy: Path, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPSCOPE_RUNS", str(toy))
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=60, kernel_name=kernel, resources={"metadata": {"path": path.parent}}
    )
    client.execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    data = [o["data"] for o in outputs if "data" in o]
    assert any("bits stored per parameter" in d.get("text/plain", "") for d in data), "the table"
    assert sum("image/png" in d for d in data) == 3, "the figures"
    assert "probability of the answer" in data[-1]["text/plain"], "the example by hand"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_paired_text_and_notebook_are_the_same_and_without_output(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    text = jupytext.read(path.with_suffix(".py"))
    assert [(c.cell_type, c.source) for c in notebook.cells] == [
        (c.cell_type, c.source) for c in text.cells
    ], f"run: jupytext --sync {path}"
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert code and all(not c.outputs and c.execution_count is None for c in code)
