"""The display of a running grid in a notebook: its markup, and what a kernel is shown."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from synthetic_results import config, write_run, write_toy

from experiments.execution import live
from experiments.execution.arm_curves import ArmCurve
from experiments.execution.job import JobOutcome
from experiments.execution.live import LiveProgress, drawing, in_notebook
from experiments.execution.time_left import TimeLeft
from experiments.planning.expected import Expected
from experiments.runs.folder import RunFolder
from experiments.runs.status import Status


class Handle:
    """What IPython's display gives back; keeps what it was given."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, html: SimpleNamespace) -> None:
        self.shown.append(html.data)


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Handle:
    """The output of a cell."""
    made = Handle()

    def display(html: SimpleNamespace, display_id: bool) -> Handle:
        assert display_id and not made.shown, "one output, which is updated"
        made.update(html)
        return made

    monkeypatch.setattr("IPython.display.display", display)
    return made


def test_only_the_kernel_of_a_notebook_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for shell, found in ((None, False), (SimpleNamespace(), False),
                         (SimpleNamespace(kernel=1), True)):  # fmt: skip
        fake = SimpleNamespace(get_ipython=lambda shell=shell: shell)
        monkeypatch.setitem(sys.modules, "IPython", fake)
        assert in_notebook() == found
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_one_output_is_updated_from_begin_to_end(
    tmp_path: Path, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EVERY", 0.0)
    out = write_toy(tmp_path / "runs", seeds=1)
    hostile = "<b>x</b>"
    run = write_run(out, "bios-1x1-<i>", config("bios", 1, 9))
    run.lock_path.touch()
    run.write_status(Status(state="running", step=5, last_step=20, loss=1.5, seconds_left=75))
    left = TimeLeft(Expected({run.run_id: (300.0, 0.0)}, True))
    with LiveProgress(out, hostile, 10, 9, 0, left) as progress:
        assert "9/10 done, 0 running, 1 to go; about 5 min left" in handle.shown[-1]
        progress.refresh([run])
        page = ElementTree.fromstring(handle.shown[-1])
        cells = [cell.text for cell in page.iter("td")]
        assert cells == ["bios-1x1-<i>", "5/20", "1.5000", None, "1 min 15 s"]
        assert len(list(page.iter("polyline"))) == 6, "an arm each, of two worlds"
        assert hostile not in handle.shown[-1] and "&lt;b&gt;" in handle.shown[-1]
        progress.notify("a <word>")
        progress.finished(JobOutcome(run_id=run.run_id, ended="failed", reason="loss is nan"))
    page = ElementTree.fromstring(handle.shown[-1])
    assert not list(page.iter("td")), "nothing runs any more"
    said = "".join(page.find("pre").itertext())  # pyrefly: ignore
    assert said.splitlines()[:2] == ["a <word>", "10/10 failed bios-1x1-<i>: loss is nan"]
    assert "9/10 done, 1 failed" in handle.shown[-1]


def test_curves_stand_where_their_numbers_say() -> None:
    curves = [
        ArmCurve("1⊗1", "accuracy", [(50, 0.0), (100, 0.5)], 2, 200),
        ArmCurve("1⊗2", "accuracy", [(50, 0.5), (200, 1.0)], 2, 200),
        ArmCurve("a & b", "loss", [(10, 4.0), (20, 1.0)], 1, 20),
    ]
    page = ElementTree.fromstring(f"<div>{drawing(curves)}</div>")
    boxes = page.findall("svg")
    assert [box.get("aria-label") for box in boxes] == ["accuracy", "loss"]
    lines = [line.get("points") for line in boxes[0].iter("polyline")]
    places = [[tuple(map(float, p.split(","))) for p in str(line).split()] for line in lines]
    for curve, found in zip(curves, places, strict=False):
        for (step, value), (x, y) in zip(curve.curve, found, strict=True):
            assert (x, y) == (40 + 330 * step / 200, 150 - 130 * value)
    texts = [text.text or "" for text in page.iter("text")]
    assert "1⊗2 1.000" in texts and "a & b 1.000" in texts and "4" in texts
    assert drawing([]) == ""
    many = [ArmCurve(f"arm {i}", "loss", [(1, 1.0)], 1, 1) for i in range(20)]
    (height,) = re.findall(r'viewBox="0 0 620 (\d+)"', drawing(many))
    assert int(height) > 20 * 16, "every name has room"


def test_notes_are_seen_where_nothing_is_to_be_done(tmp_path: Path, handle: Handle) -> None:
    progress = LiveProgress(tmp_path, "Toy", 1, 1, 0)
    progress.notify("its config was damaged")
    assert "its config was damaged" in handle.shown[-1] and "1/1 done" in handle.shown[-1]


def test_a_lock_is_what_tells_that_a_run_is_worked_on(tmp_path: Path, handle: Handle) -> None:
    progress = LiveProgress(tmp_path, "Toy", 1, 0, 0)
    progress.refresh([RunFolder(tmp_path / "queued")])
    assert "0 running, 1 to go" in handle.shown[-1] and "queued" not in handle.shown[-1]
