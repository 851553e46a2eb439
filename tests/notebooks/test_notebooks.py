"""The notebooks are paired with their text and hold what running them gave.

`make notebooks` runs them; here they are read.
"""

import re
from pathlib import Path

import jupytext
import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = (
    "01-quickstart",
    "02-capacity-versus-loops",
    "03-manipulation-without-chain-of-thought",
    "04-inside-the-loops",
    "05-your-own-task",
    "06-training-live",
)
CHART = "application/vnd.vegalite.v5+json"


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_no_others() -> None:
    assert tuple(sorted(p.stem for p in FOLDER.glob("*.ipynb"))) == NAMES
    assert tuple(sorted(p.stem for p in FOLDER.glob("*.py"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_paired_text_and_notebook_are_the_same(name: str) -> None:
    notebook, text = read(name), jupytext.read(FOLDER / f"{name}.py")
    assert [(c.cell_type, c.source) for c in notebook.cells] == [
        (c.cell_type, c.source) for c in text.cells
    ], f"run: jupytext --sync notebooks/{name}.py"
    assert notebook.metadata.jupytext.formats == "ipynb,py:percent"


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_with_what_the_reader_will_learn(name: str) -> None:
    opening = read(name).cells[0]
    assert opening.cell_type == "markdown"
    assert opening.source.startswith(f"# {int(name[:2])} · ")
    assert "You will learn to" in opening.source
    assert len(re.findall(r"^\d\. ", opening.source, re.MULTILINE)) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_one_run_from_top_to_bottom(name: str) -> None:
    cells = code(read(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert not [o for o in outputs if o.get("name") == "stderr"], "a warning"
    assert any("image/png" in o.get("data", {}) for o in outputs)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_show_without_network_and_name_no_machine(name: str) -> None:
    for cell in code(read(name)):
        for output in cell.outputs:
            data = output.get("data", {})
            assert CHART not in data or "image/png" in data
            shown = [output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")]
            for text in shown:
                assert not re.search(
                    r"https?://|<script[^>]*src|/(home|root|tmp|work|Users)/", text
                )
