"""Results that were moved, with files of the user's own: found again, or said what to do."""

import shutil
from pathlib import Path

import pytest
from command import command
from workers import working_here

from experiments.errors import LoopscopeError
from experiments.execution.runner import run_grid
from experiments.grid.grid import load_grid
from experiments.measuring.load import load_model, load_task
from experiments.measuring.remeasure import measure_again
from experiments.results import load_runs
from experiments.runs.output import run_folders
from probes.accuracy import Accuracy

PARITY = '''\
"""Two bits and whether they differ."""

from functools import cached_property
from typing import Literal

import numpy as np

from generators.task import Batch, Task
from generators.vocabulary import Vocabulary


class Parity(Task):
    kind: Literal["parity"] = "parity"

    @cached_property
    def vocabulary(self):
        return Vocabulary.build(["0", "1"])

    @property
    def context_length(self):
        return 3

    def sample(self, rng, n, *, split="train", difficulty=None, index=None):
        bits = rng.integers(0, 2, (n, 2))
        tokens = np.c_[bits, bits[:, :1] ^ bits[:, 1:]].astype(np.int32) + self.vocabulary.id("0")
        answer = np.tile(np.array([2, 3], np.int32), (n, 1))
        mask = np.broadcast_to(np.arange(3) == 2, tokens.shape)
        return Batch(tokens, mask, {"answer": answer}, {}, np.zeros(n, np.int32))

    def floors(self, difficulty=None, split="test"):
        return {"chance": 0.5}
'''
MODEL = """\
from typing import Literal

from torch import nn

from models.adapter import ForeignModel
from models.model import ModelConfig


class Module(nn.Module):
    def __init__(self, width, vocabulary):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, tokens, n_loops):
        x, states = self.embedding(tokens), []
        for _ in range(n_loops):
            x = x + self.gru(x)[0]
            states.append(x)
        return states


class Gru(ModelConfig):
    kind: Literal["gru"] = "gru"

    def build(self, vocabulary_size, *, gate, seed):
        head = nn.Linear(self.width, vocabulary_size, bias=False)
        return ForeignModel(Module(self.width, vocabulary_size), self, head=head)
"""
FIGURE = """\
from typing import Literal

from experiments.analysis.figures.accuracy_versus_loops import AccuracyVersusLoops


class Mine(AccuracyVersusLoops):
    kind: Literal["mine"] = "mine"
"""
GRID = """\
baseline:
  task: {kind: tasks/parity.py:Parity}
  model: {kind: tasks/gru.py:Gru, width: 8}
  training: {batch: 8, phases: [{until_step: 2}]}
  observe: {probes: [{kind: accuracy, items: 8}]}
axes: {model.loops: [1, 2]}
figures: [{kind: tasks/figure.py:Mine, name: own}]
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its own files and results, at a place that is gone once it is moved."""
    project = tmp_path_factory.mktemp("old") / "project"
    (project / "tasks").mkdir(parents=True)
    for name, text in (("parity", PARITY), ("gru", MODEL), ("figure", FIGURE)):
        (project / "tasks" / f"{name}.py").write_text(text)
    (project / "mine.yaml").write_text(GRID)
    with working_here():
        outcome = run_grid(
            load_grid(project / "mine.yaml"), project / "runs", workers=1, progress=False
        )
    assert len(outcome.done) == 2
    aside = project.with_name("kept")
    project.rename(aside)
    return aside


def ids(out: Path) -> list[str]:
    return [folder.run_id for folder in run_folders(out)]


def test_a_project_that_was_moved_as_a_whole(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(trained, project)
    out, before = project / "runs", load_runs(project / "runs")
    model, task = load_model(out, ids(out)[0])
    assert (task.kind, model.config.kind) == ("parity", "gru")
    assert measure_again(out, None, (Accuracy(items=4),), replace=True) == ids(out)
    assert list(load_runs(out)["run_id"]) == list(before["run_id"])
    assert (load_runs(out)["n_items"] == 4).all()
    assert command(monkeypatch, "probe", out, "--probe", "accuracy") == 0
    assert command(monkeypatch, "figure", "own", out) == 0
    assert (out / "figures" / "mine-own.png").is_file()
    # the same grid at its new place names the same runs, and has nothing to do
    assert ids(out) == sorted(load_grid(project / "mine.yaml").runs)
    assert command(monkeypatch, "run", project / "mine.yaml", "--out", out) == 0


def test_results_alone_say_where_their_files_go_and_hold_a_copy(
    trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    shutil.copytree(trained / "runs", out)
    assert len(load_runs(out)) > 0  # tables need no file
    first = ids(out)[0]
    with pytest.raises(LoopscopeError) as error:
        load_model(out, first)
    lines = str(error.value).splitlines()
    assert len(lines) == 2  # task and model, both at once
    copy, here = out / first / "sources" / "parity.py", tmp_path / "parity.py"
    assert f"{first}: Parity comes from {trained.with_name('project')}/tasks/parity.py" in lines[0]
    assert f"put {copy}, which is a copy of it, there or at {here}" in lines[0]
    assert copy.read_text() == PARITY
    for name in ("parity.py", "gru.py"):  # as it says
        shutil.copy(out / first / "sources" / name, tmp_path)
    assert load_task(out, first).kind == "parity"
    assert load_model(out, first)[0].config.kind == "gru"


def test_another_file_of_the_name_is_not_taken(trained: Path, tmp_path: Path) -> None:
    """An edited task would be another world."""
    project = tmp_path / "project"
    shutil.copytree(trained, project)
    edited = project / "tasks" / "parity.py"
    edited.write_text(PARITY.replace("^", "&"))
    (tmp_path / "parity.py").write_text(PARITY + "# edited\n")
    with pytest.raises(LoopscopeError, match="Parity comes from .* not there any more"):
        load_model(project / "runs", ids(project / "runs")[0])
    edited.write_text(PARITY)
    assert load_model(project / "runs", ids(project / "runs")[0])[1].kind == "parity"


def test_a_copy_in_the_results_is_never_executed(trained: Path, tmp_path: Path) -> None:
    """Results of others are data."""
    out = tmp_path / "runs"
    shutil.copytree(trained / "runs", out)
    for copy in out.glob("*/sources/*.py"):
        copy.write_text("raise SystemExit('executed')")
        shutil.copy(copy, out)
    with pytest.raises(LoopscopeError, match="not there any more"):
        load_model(out, ids(out)[0])


def test_older_results_without_hashes_and_copies(trained: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(trained, project)
    for run in (project / "runs").glob("*/environment.json"):
        run.unlink()
        shutil.rmtree(run.parent / "sources")
    first = ids(project / "runs")[0]
    assert load_model(project / "runs", first)[1].kind == "parity"
    (project / "tasks" / "gru.py").unlink()
    with pytest.raises(LoopscopeError, match=r"gru.py, which is not there any more; put it back"):
        load_model(project / "runs", first)


@pytest.mark.usefixtures("work_here")
def test_shipped_kinds_keep_no_copies(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text(
        "baseline:\n  task: {kind: multihop, entities: 8, relations: 4}\n"
        "  model: {width: 16, heads: 2}\n  training: {batch: 8, phases: [{until_step: 1}]}\n"
        "  observe: {probes: [{kind: accuracy, items: 8}]}\n"
    )
    (tmp_path / "old").mkdir()
    run_grid(
        load_grid(tmp_path / "plain.yaml"), tmp_path / "old" / "runs", workers=1, progress=False
    )
    out = (tmp_path / "old").rename(tmp_path / "new") / "runs"
    assert not list(out.glob("*/sources"))
    assert measure_again(out, None, (Accuracy(items=4),)) == ids(out)
