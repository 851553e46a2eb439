"""The time left for a grid, by a clock and runs that the test moves."""

from pathlib import Path

import pytest
from rich.console import Console
from training import config

from experiments.config.run import RunConfig
from experiments.execution.job import JobOutcome
from experiments.execution.progress import Progress
from experiments.execution.time_left import TimeLeft
from experiments.grid.grid import Grid as ExpandedGrid
from experiments.grid.grid import GridPoint
from experiments.planning.calibration import TimeModel
from experiments.planning.expected import Expected, expected
from experiments.planning.makespan import makespan
from experiments.planning.plan import plan
from experiments.runs.folder import RunFolder
from experiments.runs.status import Status


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Grid:
    """Runs of 100 units of training and 20 of measuring, on workers of a given speed."""

    def __init__(self, out: Path, runs: int, *, in_seconds: bool, speed: float = 1.0) -> None:
        self.folders = [RunFolder(out / f"run-{i}") for i in range(runs)]
        for folder in self.folders:
            folder.path.mkdir(parents=True)
        parts = {folder.run_id: (100.0, 20.0) for folder in self.folders}
        self.clock, self.speed = Clock(), speed
        self.left = TimeLeft(Expected(parts, in_seconds), clock=self.clock)
        self.done = {folder: 0.0 for folder in self.folders}

    def work(self, *which: int, seconds: float) -> None:
        """Some runs are worked on for so long."""
        folders = [self.folders[i] for i in which]
        for _ in range(round(seconds)):
            for folder in folders:
                folder.lock_path.touch()
                step = min(round(10 * self.done[folder]), 1000)
                doing = "measuring" if step == 1000 else "training"
                folder.write_status(Status(state="running", step=step, last_step=1000, doing=doing))
            self.left.look(folders)
            self.clock.now += 1
            for folder in folders:
                self.done[folder] += self.speed
                if self.done[folder] >= 120:
                    folder.lock_path.unlink(missing_ok=True)
                    self.left.ended(folder.run_id)
            folders = [f for f in folders if self.done[f] < 120]


def test_before_anything_ran_it_is_what_planning_expects_or_unknown(tmp_path: Path) -> None:
    assert Grid(tmp_path / "a", 3, in_seconds=True).left.seconds() == 360
    unknown = Grid(tmp_path / "b", 3, in_seconds=False).left
    assert unknown.seconds() is None and unknown.text() == "time left not known yet"


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_without_a_calibration_the_speed_is_what_was_seen(tmp_path: Path, speed: float) -> None:
    grid = Grid(tmp_path, 4, in_seconds=False, speed=speed)
    grid.work(0, 1, seconds=4)
    assert grid.left.seconds() is None, "eight seconds of work are too few"
    grid.work(0, 1, seconds=26)
    # two of four runs are 30 · speed units on; two workers do what is left, one wave and another
    wanted = (120 - 30 * speed) / speed + 120 / speed
    assert grid.left.seconds() == pytest.approx(wanted, rel=0.06)
    for _ in range(2):
        grid.work(0, 1, seconds=(120 - grid.done[grid.folders[0]]) / speed)
    assert grid.left.seconds() == pytest.approx(120 / speed, rel=0.06)
    grid.work(2, 3, seconds=120 / speed)
    assert grid.left.seconds() == 0


def test_what_is_expected_gives_way_to_what_is_seen(tmp_path: Path) -> None:
    grid = Grid(tmp_path, 6, in_seconds=True, speed=0.25)
    told = []
    for i in range(3):
        grid.work(i, seconds=480)
        told.append(grid.left.seconds() / (120 * (5 - i)))
    assert 1 < told[0] < told[1] < told[2] < 4 and told[2] > 3.4


def test_work_of_an_earlier_command_tells_nothing_of_the_speed(tmp_path: Path) -> None:
    grid = Grid(tmp_path, 1, in_seconds=False)
    grid.done[grid.folders[0]] = 60.0  # it goes on from its checkpoint
    grid.work(0, seconds=20)
    assert grid.left.seconds() == pytest.approx(40, rel=0.06)


def test_a_run_that_failed_is_no_work_done_and_none_to_do(tmp_path: Path) -> None:
    grid = Grid(tmp_path, 2, in_seconds=False)
    grid.work(0, seconds=20)
    before = grid.left.seconds()
    grid.left.ended("run-0", done=False)
    assert before == pytest.approx(220, rel=0.06)
    assert grid.left.seconds() == pytest.approx(120, rel=0.06)


def test_a_run_waits_for_the_one_that_it_starts_from() -> None:
    parts = {"a": (60.0, 0.0), "b": (30.0, 0.0)}
    left = TimeLeft(Expected(parts, True), {"a": None, "b": "a"})
    left._workers = 2
    assert left.seconds() == 90 == makespan({"a": 60, "b": 30}, {"b": "a"}, 2)
    assert TimeLeft(Expected(parts, True), {}).seconds() == 90


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (40, "less than a minute left"),
        (100, "about 2 min left"),
        (3540, "about 59 min left"),
        (3700, "about 1 h 00 min left"),
        (9000, "about 2 h 30 min left"),
    ],
)
def test_it_is_told_no_more_exactly_than_it_is_known(seconds: float, text: str) -> None:
    assert TimeLeft(Expected({"a": (seconds, 0.0)}, True)).text() == text


def test_what_is_expected_is_what_plan_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TimeModel((1e-3, 1e-4, 1e-11, 1e-9, 1e-9))
    run: RunConfig = config()
    folder = RunFolder(tmp_path / run.run_id)

    for known in (model, None):
        monkeypatch.setattr(
            "experiments.planning.estimate.load_calibration", lambda device, p, m=known: m
        )
        found = expected({folder: run}, [], "cpu")
        assert found.in_seconds == (known is not None)
        training, measuring = found.parts[run.run_id]
        assert training > measuring >= 0
    monkeypatch.setattr("experiments.planning.estimate.load_calibration", lambda *_: model)
    (training, measuring), = expected({folder: run}, [], "cpu").parts.values()  # fmt: skip
    grid = ExpandedGrid("one", "", (), (GridPoint(run, run.run_id, "", {}),))
    (planned,) = plan(grid, tmp_path, "cpu")
    assert training + measuring == pytest.approx(planned.seconds)


def test_it_stands_in_the_lines_and_above_the_table(tmp_path: Path) -> None:
    grid = Grid(tmp_path, 3, in_seconds=True)
    console = Console(record=True, width=80, force_terminal=False)
    progress = Progress("Toy", 3, 0, 0, console, grid.left)
    console.print(progress.drawn([]))
    progress.refresh([])
    progress.finished(JobOutcome(run_id="run-0", ended="done"))
    progress.finished(JobOutcome(run_id="run-1", ended="failed", reason="loss is nan"))
    progress.finished(JobOutcome(run_id="run-2", ended="done"))
    shown = console.export_text().splitlines()
    assert shown == [
        "Toy: 0/3 done, 0 running, 3 to go; about 6 min left",
        "1/3 done run-0, about 4 min left",
        "2/3 failed run-1: loss is nan",
        "3/3 done run-2",
    ]
    unknown = Grid(tmp_path / "other", 3, in_seconds=False)
    progress = Progress("Toy", 3, 0, 0, console, unknown.left)
    console.print(progress.drawn([]))
    progress.finished(JobOutcome(run_id="run-0", ended="done"))
    shown = console.export_text().splitlines()
    assert shown[-2:] == ["Toy: 0/3 done, 0 running, 3 to go; time left not known yet",
                          "1/3 done run-0"]  # fmt: skip
