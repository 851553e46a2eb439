"""The notebooks in a running JupyterLab driven by a headless Chromium.

All run from top to bottom. In the one that trains, training is stopped with the button of the
toolbar and goes on; tables and the explorer still answer to the mouse after the kernel was
restarted.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import nbformat
import pytest
from chromium import FOUND, NAMES, Page, chromium

from experiments.results import load_runs
from experiments.runs.folder import RunFolder
from experiments.runs.output import run_folders

ROOT = Path(__file__).parents[2]
NOTEBOOK = "06-training-live"
OTHERS = sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb") if p.stem != NOTEBOOK)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(FOUND is None, reason=f"needs a Chromium: none of {', '.join(NAMES)}"),
    pytest.mark.skipif(find_spec("jupyterlab") is None, reason="needs jupyterlab"),
]
#: seconds for what a busy machine may take
LONG = 240.0
#: cells of the notebook
TRAIN, TABLE, EXPLORE = 5, 8, 10
CELL = "document.querySelectorAll('.jp-Notebook .jp-Cell')[{}]"
IDLE = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
LIVE = f"{CELL.format(TRAIN)}.querySelector('.loopscope-live')"


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """The address of a JupyterLab whose root is a folder, with settings of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{name}_DIR": str(folder / f".{name}") for name in ("CONFIG", "RUNTIME")}
    own |= {
        f"JUPYTERLAB_{name}_DIR": str(folder / f".{name}") for name in ("SETTINGS", "WORKSPACES")
    }
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    words = (
        *("--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0"),
        *(f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=", "--ip=127.0.0.1"),
        "--LabApp.expose_app_in_browser=True",
    )
    with (folder / "jupyter.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *words],
            env={**os.environ, **own, "PYTHONPATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + LONG
        while True:
            try:
                urlopen(f"{address}/api", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "jupyter.log").read_text()[-2000:]
                assert time.monotonic() < end
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()  # it ends its kernels
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a JupyterLab, and its root folder."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    with jupyterlab(folder) as address:
        yield address, folder


def open_notebook(page: Page, server: tuple[str, Path], name: str) -> int:
    """Opens a notebook without its outputs in a fresh page, and counts its cells of code."""
    address, folder = server
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")
    page.resize(1400, 900)
    page.visit(f"{address}/lab/tree/notebooks/{name}.ipynb?reset")
    page.wait(
        "window.jupyterapp && document.querySelectorAll('.jp-Notebook .jp-Cell').length > 9", LONG
    )
    page.wait(IDLE, LONG)
    return len(code)


@pytest.fixture(scope="module")
def lab(
    server: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Page, Path]]:
    """The notebook that trains, open, and the folder in which it trains."""
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        open_notebook(page, server, NOTEBOOK)
        yield page, server[1] / "runs" / "live" / "runs"


def run_cell(page: Page, at: int) -> None:
    """Runs a cell as Shift-Enter does."""
    page.run(f"jupyterapp.shell.currentWidget.content.activeCellIndex = {at}")
    page.run("void jupyterapp.commands.execute('notebook:run-cell-and-select-next')")


def press(page: Page, button: str) -> None:
    """Presses and releases the mouse on an element; JupyterLab acts on the first."""
    box = page.run(
        f"(r => [r.x + r.width / 2, r.y + r.height / 2])({button}.getBoundingClientRect())"
    )
    for kind in ("mousePressed", "mouseReleased"):
        at = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
        page.call("Input.dispatchMouseEvent", type=kind, **at)


def output(page: Page, at: int) -> str:
    return page.run(f"{CELL.format(at)}.querySelector('.jp-OutputArea')?.textContent ?? ''")


def executed(page: Page, at: int) -> None:
    """Waits until a cell has ended, and complains of an error in it."""
    page.wait(
        f"/\\[\\d+\\]/.test({CELL.format(at)}.querySelector('.jp-InputPrompt').textContent)", LONG
    )
    assert "Traceback" not in output(page, at), output(page, at)


def test_training_shows_itself_stops_and_goes_on(lab: tuple[Page, Path]) -> None:
    page, out = lab
    for at in (1, 3):
        run_cell(page, at)
        executed(page, at)
    run_cell(page, TRAIN)
    # the table and the curves are there, and change while the cell runs
    page.wait(f"!!{LIVE}?.querySelector('tbody tr')", LONG)
    curve = f"[...{LIVE}.querySelectorAll('polyline')].map(p => p.attributes.points.value).join()"
    first = page.wait(f"{LIVE}?.querySelector('polyline') && {curve}", LONG)
    page.wait(f"{curve} !== {json.dumps(first)} && {curve}", LONG)
    assert "done, 2 running" in output(page, TRAIN) and "left" in output(page, TRAIN)
    # ■
    press(page, "document.querySelector('[data-command=\"notebook:interrupt-kernel\"]')")
    page.wait(f"{CELL.format(TRAIN)}.textContent.includes('to go on')", LONG)
    executed(page, TRAIN)
    stopped = {f.run_id: f.status() for f in run_folders(out) if f.status() is not None}
    left = {run_id: s for run_id, s in stopped.items() if s and s.state == "stopped"}
    assert left and all(s.checkpoint_step > 0 for s in left.values())
    # the same cell again
    run_cell(page, TRAIN)
    page.wait(f"{CELL.format(TRAIN)}.textContent.includes('4 done, 0 failed, 0 to go on')", LONG)
    for run_id, status in left.items():
        log = (RunFolder(out / run_id).path / "log.txt").read_text()
        assert f"resumes at step {status.checkpoint_step} " in log, log
    assert set(load_runs(out)["status"]) == {"done"}
    assert "4/4 done" in output(page, TRAIN)


def test_what_is_shown_answers_after_a_restart_of_the_kernel(lab: tuple[Page, Path]) -> None:
    page, out = lab
    assert load_runs(out)["run_id"].nunique() == 4, "trained by the test above"
    for at in (7, TABLE, EXPLORE):
        run_cell(page, at)
        executed(page, at)
    frame = f"{CELL.format(EXPLORE)}.querySelector('iframe')"
    ready = f"{frame}?.contentDocument?.body?.dataset.ready === 'yes'"
    page.run(f"{CELL.format(EXPLORE)}.scrollIntoView()")
    page.wait(ready, LONG)
    page.run("void jupyterapp.commands.execute('notebook:restart-kernel')")
    page.wait("!!document.querySelector('.jp-Dialog .jp-mod-accept')", LONG)
    press(page, "document.querySelector('.jp-Dialog .jp-mod-accept')")
    page.wait("!document.querySelector('.jp-Dialog')", LONG)
    page.wait(
        "jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'", LONG
    )
    # the table filters and sorts
    table = f"{CELL.format(TABLE)}.querySelector('[data-table]')"
    rows = f"[...{table}.querySelectorAll('tbody tr')].filter(r => r.style.display !== 'none')"
    before = page.run(f"{rows}.length")
    page.run(
        f"(box => {{ box.value = '1⊗2'; box.dispatchEvent(new Event('input')) }})"
        f"({table}.querySelector('input'))"
    )
    assert 0 < page.run(f"{rows}.length") < before
    assert set(page.run(f"{rows}.map(r => r.cells[0].textContent)")) == {"1⊗2"}
    # a click on a point of the explorer, inside its frame
    page.run(f"{CELL.format(EXPLORE)}.scrollIntoView()")
    page.wait(ready, LONG)
    inside = f"{frame}.contentDocument"
    page.run(
        f"(svg => {{ const point = svg.querySelector('circle.point').getBoundingClientRect();"
        " svg.dispatchEvent(new MouseEvent('click', {bubbles: true, clientX: point.x + 4,"
        f" clientY: point.y + 4}})) }})({inside}.querySelector('#chart svg'))"
    )
    shown = page.run(f"{inside}.querySelector('#details-0').textContent")
    assert any(run_id in shown for run_id in load_runs(out)["run_id"])
    assert page.run(f"{inside}.querySelectorAll('.stepper option').length") == 2


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_notebook_runs_from_top_to_bottom(
    server: tuple[str, Path], tmp_path: Path, name: str
) -> None:
    models = "jupyterapp.shell.currentWidget.content.widgets.map(w => w.model)"
    cells = f"{models}.filter(m => m.type === 'code')"
    outputs = f"{cells}.flatMap(m => m.outputs.toJSON())"
    failed = f"{outputs}.filter(o => o.output_type === 'error')"
    with chromium(tmp_path) as page:
        code = open_notebook(page, server, name)
        page.run("void jupyterapp.commands.execute('notebook:run-all-cells')")
        ended = f"{cells}.filter(m => m.executionCount !== null).length === {code}"
        page.wait(f"{failed}.length > 0 || ({ended} && {IDLE})", LONG)
        assert not page.run(f"{failed}.map(o => o.ename + ': ' + o.evalue)")
        assert page.run(f"{outputs}.filter(o => o.data && o.data['image/png']).length") > 0
