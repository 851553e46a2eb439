"""A task from elsewhere that trains on its test questions is told from one that does not."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.execution.runner import run_grid
from experiments.grid.grid import load_grid
from experiments.grid.leakage import leaked, leaks
from generators.multihop import MultiHop
from generators.streams import Stream, generator

SOURCE = """
from typing import Any, ClassVar, Literal
from generators.multihop import MultiHop


class Honest(MultiHop):
    kind: Literal["honest"] = "honest"


class Leaking(MultiHop):
    kind: Literal["leaking"] = "leaking"

    def sample(self, rng: Any, n: int, *, split: str = "train", **how: Any) -> Any:
        return super().sample(rng, n, split="train", **how)


class Stored(Leaking):
    kind: Literal["stored"] = "stored"
    splits: ClassVar[tuple[str, ...]] = ("train",)


class Faulty(MultiHop):
    kind: Literal["faulty"] = "faulty"

    def sample(self, *_: Any, **__: Any) -> Any:
        raise KeyError("no")
"""
GRID = """
baseline:
  model: {{kind: looped, width: 16, heads: 2}}
  task: {{kind: "mine.py:{name}", entities: 8, relations: 4, hops: 2}}
  training: {{batch: 16, phases: [{{until_step: 2}}]}}
axes:
  seed: [0, 1]
"""


def grid(folder: Path, name: str) -> Path:
    (folder / "mine.py").write_text(SOURCE)
    path = folder / f"{name.lower()}.yaml"
    path.write_text(GRID.format(name=name))
    return path


def test_a_task_that_holds_nothing_out_is_warned_of(tmp_path: Path) -> None:
    (warning,) = leaks(load_grid(grid(tmp_path, "Leaking")).runs.values())
    assert "leaking" in warning and "of hops 2" in warning and "not held out" in warning


@pytest.mark.parametrize("name", ["Honest", "Stored", "Faulty"])
def test_others_are_not(name: str, tmp_path: Path) -> None:
    assert not list(leaks(load_grid(grid(tmp_path, name)).runs.values()))


def test_tasks_of_ours_are_taken_at_their_word() -> None:
    assert not list(leaks(load_grid("quick").runs.values()))


class Leaky(MultiHop):
    """Half of its test questions are from training."""

    def sample(self, rng, n, *, split="train", difficulty=None, index=None):
        batch = super().sample(rng, n, split=split, difficulty=difficulty)
        if split == "test":
            other = super().sample(rng, n, split="train", difficulty=difficulty)
            batch.tokens[::2] = other.tokens[::2]
        return batch


def test_the_share_is_that_of_a_search() -> None:
    assert leaked(MultiHop(entities=8, relations=4, hops=2).bind(0), 2) == 0.0
    task = Leaky(entities=8, relations=4, hops=2).bind(0)
    training, test = (
        task.sample(generator(0, Stream.PROBE, i), n, split=split, difficulty=2)
        for i, (split, n) in enumerate((("train", 512), ("test", 256)))
    )
    asked = [row[1:4].tolist() for row in training.tokens]  # an entity and two relations
    found = sum(row[1:4].tolist() in asked for row in test.tokens) / 256
    assert 0.4 < found <= 0.5 and leaked(task, 2) == pytest.approx(found)


@pytest.mark.usefixtures("work_here")
def test_plan_and_run_say_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = grid(tmp_path, "Leaking")
    found = CliRunner().invoke(app, ["plan", str(path), "--out", str(tmp_path / "runs")])
    assert found.exit_code == 0 and found.stderr.count("not held out") == 1
    assert "held out" not in found.stdout
    assert run_grid(load_grid(path), tmp_path / "runs", workers=1).done
    assert capfd.readouterr().err.count("is not held out") == 1
