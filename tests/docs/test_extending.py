"""The examples of EXTENDING.md are complete: written down as they stand, they run as one grid."""

import re
from pathlib import Path

import numpy as np
import pytest
from command import command

from experiments.grid.grid import load_grid
from experiments.results import load_runs
from generators.plugins import load_class
from generators.streams import Stream, generator
from generators.task import Task

PAGE = Path(__file__).parents[2] / "experiments" / "EXTENDING.md"
BLOCKS = dict(
    re.findall(
        r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in BLOCKS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_there_is_one_of_each() -> None:
    kinds = ("task", "model", "objective", "probe", "figure")
    headings = re.findall(r"^## An? (\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(headings) == kinds
    assert len(BLOCKS) == len(kinds) + 1, list(BLOCKS)


def test_the_task_holds_out_what_it_says(folder: Path) -> None:
    cls = load_class(Task, "generators", f"{folder}/addition.py:Addition")
    task = cls(modulus=7).bind(0)  # pyrefly: ignore
    assert isinstance(task, Task)
    seen = {}
    for split in task.splits:
        batch = task.sample(generator(0, Stream.TRAIN), 999, split=split)
        seen[split] = {tuple(row) for row in batch.tokens}
    assert sum(map(len, seen.values())) == len(set.union(*seen.values())) == 49
    batch = task.sample(generator(0, Stream.TRAIN), 1)
    assert re.fullmatch(r"\d \+ \d = \d", task.vocabulary.decode(batch.tokens[0]))
    answers = batch.tokens[:, 4:]
    assert np.array_equal(task.is_correct(batch, answers), [True])


@pytest.mark.usefixtures("work_here")
def test_the_grid_is_planned_run_probed_and_drawn(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert command(monkeypatch, "sample", "addition.py:Addition", "--set", "modulus=7") == 0
    assert command(monkeypatch, "plan", "own.yaml") == 0
    assert "addition-1x2" in capsys.readouterr().out
    assert command(monkeypatch, "run", "own.yaml", "--out", "runs/own", "--workers", "1") == 0
    runs = load_runs("runs/own")
    confidence = runs[runs["metric"] == "confidence"]
    assert sorted(confidence["loop"]) == [1, 1, 2]
    assert ((confidence["low"] <= confidence["value"]) & (confidence["value"] < 1)).all()
    assert set(runs["run_id"]) == set(load_grid("own.yaml").runs)
    drawn = sorted(p.suffix for p in Path("runs/own/figures").glob("own-seeds*"))
    assert drawn == [".csv", ".png", ".svg"]
    probe = "{kind: confidence.py:Confidence, items: 16}"
    assert command(monkeypatch, "probe", "runs/own", "--probe", probe) == 0
