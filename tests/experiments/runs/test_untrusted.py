"""Files of others are data only, and what is written stays in the output folder."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from toys import assert_same_run, config, toy

from experiments.errors import LoopscopeError
from experiments.execution.backends.local import LocalBackend
from experiments.execution.job import Job
from experiments.execution.runner import run_grid
from experiments.execution.worker import StopFlag, perform
from experiments.grid.grid import load_grid
from experiments.measuring.remeasure import measure_again
from experiments.runs.folder import RunFolder
from experiments.training.train import train

RUN = config(steps=4)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was stopped after two of its steps."""
    folder = RunFolder(tmp_path_factory.mktemp("stopped") / RUN.run_id)
    asked = iter(range(1, 100))
    assert not train(RUN, folder, stop=lambda: next(asked) >= 2)
    return folder


def copy(folder: RunFolder, out: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(folder.path, out / folder.run_id)))


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_never_executed(tmp_path: Path, stopped: RunFolder) -> None:
    sprung, folder = tmp_path / "sprung", copy(stopped, tmp_path)
    torch.save(Evil(sprung), tmp_path / "control.pt")
    torch.load(tmp_path / "control.pt", weights_only=False)
    sprung.rmdir()  # as a control: it works
    state = torch.load(folder.checkpoint_path, weights_only=True)
    torch.save({**state, "growths": Evil(sprung)}, folder.checkpoint_path)
    torch.save(
        {**state, "model": Evil(sprung)},
        folder.previous_checkpoint_path,
        _use_new_zipfile_serialization=False,
    )
    assert not zipfile.is_zipfile(folder.previous_checkpoint_path)
    (outcome,) = perform(Job(folder=folder.path), StopFlag())
    notes = outcome.notes
    assert len(notes) == 2 and "holds more than tensors and plain data" in notes[0]
    assert not sprung.exists()
    straight = RunFolder(tmp_path / "straight" / RUN.run_id)
    assert train(RUN, straight)
    assert_same_run(folder, straight)


@pytest.mark.parametrize("name", ["", "log.txt", "checkpoint.pt", "probes/there"])
def test_nothing_is_written_through_links(
    tmp_path: Path, stopped: RunFolder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "runs").mkdir()
    folder = RunFolder(tmp_path / "runs" / RUN.run_id)
    if name:
        copy(stopped, tmp_path / "runs")
        elsewhere.write_text("mine")
        (folder.path / "probes").mkdir(exist_ok=True)
        (folder.path / name).unlink(missing_ok=True)
        (folder.path / name).symlink_to(elsewhere)
    else:
        elsewhere.mkdir()
        folder.path.symlink_to(elsewhere)
    monkeypatch.setattr(LocalBackend, "take", lambda *_: pytest.fail("a worker was started"))
    with pytest.raises(LoopscopeError, match="is a link"):
        run_grid(toy(RUN), tmp_path / "runs", progress=False)
    if name:
        assert elsewhere.read_text() == "mine"
        folder.write_result({"run_id": folder.run_id, "measurements": []})
        with pytest.raises(LoopscopeError, match="is a link"):
            measure_again(tmp_path / "runs", [folder.run_id])
    else:
        assert not list(elsewhere.iterdir())


# --- grids


GRID = {
    "name": "grid",
    "baseline": {
        "task": {"kind": "multihop", "entities": 8, "relations": 4, "hops": 2},
        "model": {"width": 16, "heads": 2},
        "training": {"batch": 16, "phases": [{"until_step": 2}]},
    },
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../grid"}, "cannot name files"),
        ({"name": "/tmp/grid"}, "cannot name files"),
        ({"name": ".."}, "cannot name files"),
        ({"parts": {"../part": {}}}, "parts"),
        ({"figures": [{"kind": "plane", "name": "../figure"}]}, "figures.0.name"),
        ({"figures": [{"kind": "plane", "name": "/figure"}]}, "figures.0.name"),
        ({"baseline": {**GRID["baseline"], "start": "../multihop-1x1-0123456789ab"}}, "start"),
    ],
)
def test_names_in_a_grid_lead_nowhere_else(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(GRID))
    assert load_grid(path).name == "grid", "as a control: it is good without the change"
    path.write_text(yaml.safe_dump({**GRID, **changes}))
    with pytest.raises(LoopscopeError, match=said):
        load_grid(path)


def test_the_kind_of_a_users_task_is_a_name(tmp_path: Path) -> None:
    plugin, path = tmp_path / "task.py", tmp_path / "grid.yaml"
    plugin.write_text(
        "from typing import Literal\n"
        "from generators.multihop import MultiHop\n"
        "class Outside(MultiHop):\n"
        "    kind: Literal['../outside'] = '../outside'\n"
    )
    task = {**GRID["baseline"]["task"], "kind": f"{plugin}:Outside"}
    path.write_text(yaml.safe_dump({**GRID, "baseline": {**GRID["baseline"], "task": task}}))
    with pytest.raises(LoopscopeError, match="needs a name of its own"):
        load_grid(path)


@pytest.mark.parametrize("tag", ["python/object/apply:os.mkdir", "python/name:os.mkdir"])
def test_a_grid_is_no_program(tmp_path: Path, tag: str) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "grid.yaml"
    path.write_text(f"name: !!{tag} [{sprung}]\nbaseline: {{}}\n")
    with pytest.raises(LoopscopeError, match="grid.yaml"):
        load_grid(path)
    assert not sprung.exists()
