"""`loopscope probe` on several runs: one that is damaged costs the others nothing."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli import app
from experiments.config import RunConfig
from experiments.errors import LoopscopeError
from experiments.files import read_json
from experiments.remeasure import measure_again, measure_each
from experiments.store import RunFolder
from experiments.train import train

ACCURACY = {"kind": "accuracy", "items": 8}


def config(seed: int) -> RunConfig:
    return RunConfig.model_validate(
        {
            "task": {"kind": "multihop", "entities": 8, "relations": 4, "hops": 2},
            "model": {"kind": "looped", "width": 16, "heads": 2},
            "training": {"batch": 16, "phases": [{"until_step": 2}]},
            "observe": {"probes": [ACCURACY]},
            "seed": seed,
        }
    )


@pytest.fixture
def folders(tmp_path: Path) -> list[RunFolder]:
    """Three finished runs; the checkpoint of the second is cut off."""
    found = []
    for seed in range(3):
        run = config(seed)
        folder = RunFolder(tmp_path / run.run_id)
        folder.freeze(run)
        assert train(run, folder)
        found.append(folder)
    found.sort(key=lambda f: f.run_id)
    checkpoint = found[1].checkpoint_path
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    return found


def items(folder: RunFolder) -> set[int]:
    """Questions behind each accuracy in the result."""
    return {row["n_items"] for row in (folder.result() or {})["measurements"]}


def test_a_damaged_run_keeps_no_other_from_being_measured(folders: list[RunFolder]) -> None:
    out = folders[0].path.parent
    good, damaged, last = folders
    before, kept = [items(f) for f in folders], read_json(damaged.path / "result.json")
    found = CliRunner().invoke(app, ["probe", str(out), "--probe", "{kind: accuracy, items: 3}"])
    assert found.exit_code == 2
    assert found.stdout.split() == [good.run_id, last.run_id]
    (message,) = found.stderr.splitlines()
    assert str(damaged.path) in message and "is damaged" in message
    assert [items(f) == was for f, was in zip(folders, before, strict=True)] == [False, True, False]
    assert read_json(damaged.path / "result.json") == kept
    assert damaged.checkpoint_path.exists(), "whoever only measures sets nothing aside"


def test_whole_runs_are_measured_with_status_0(folders: list[RunFolder]) -> None:
    out, (good, _, last) = folders[0].path.parent, folders
    seed = good.config().seed
    found = CliRunner().invoke(app, ["probe", str(out), "--where", f"seed={seed}"])
    assert (found.exit_code, found.stdout.split()) == (0, [good.run_id])
    assert measure_again(out, [good.run_id, last.run_id]) == [good.run_id, last.run_id]
    found = CliRunner().invoke(app, ["probe", str(out), "--where", "seed=77"])
    assert isinstance(found.exception, LoopscopeError)
    assert "has no finished run with seed=77" in str(found.exception)


def test_any_error_is_told_with_its_run(
    folders: list[RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr("experiments.remeasure.record_probe", fails)
    found = dict(measure_each(folders[0].path.parent))
    assert [f.run_id for f in folders] == list(found)
    assert "RuntimeError: no such kernel" in found[folders[0].run_id]
    with pytest.raises(LoopscopeError, match="no such kernel"):
        measure_again(folders[0].path.parent)
