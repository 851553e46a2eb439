"""`loopscope probe` on several runs: one that is damaged costs the others nothing."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.measuring import remeasure
from experiments.measuring.remeasure import measure_again, measure_each
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import read_json
from experiments.runs.lock import RunLock
from experiments.training.train import train
from probes.accuracy import Accuracy
from probes.lens import Lens

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


def runs_told(output: str) -> list[str]:
    """Ids that stand before what was measured."""
    return [line for line in output.splitlines() if not line.startswith(" ")]


def test_what_was_measured_is_shown_and_nothing_replaced_in_silence(
    folders: list[RunFolder],
) -> None:
    out, good = folders[0].path.parent, folders[0]
    before = good.result()
    assert before is not None
    asked = ["probe", str(out), good.run_id, "--probe", "{kind: accuracy, items: 3}"]
    (again,) = measure_each(out, [good.run_id], (Accuracy(items=3),))
    said = CliRunner().invoke(app, asked).stdout
    rows = again.records[0]["measurements"]
    lines = said.splitlines()
    assert lines[0] == good.run_id and lines[1].split()[:2] == ["probe", "metric"]
    for row, line in zip(rows, lines[2:], strict=False):
        assert f"{row['value']:.4g}" in line.split() and line.split()[-1] == str(row["n_items"])
    assert len(lines) == len(rows) + 3 and "apart from the result" in lines[-1]
    assert good.result() == before
    said = CliRunner().invoke(app, [*asked, "--replace"]).stdout
    assert f"in place of {before['measurements'][0]['probe']}" in said
    assert f"`loopscope probe {out} {good.run_id}` gives back the run's own" in said
    assert items(good) != {row["n_items"] for row in before["measurements"]}
    assert CliRunner().invoke(app, ["probe", str(out), good.run_id]).exit_code == 0
    assert good.result() == before


def test_a_damaged_run_keeps_no_other_from_being_measured(folders: list[RunFolder]) -> None:
    out = folders[0].path.parent
    good, damaged, last = folders
    before, kept = [items(f) for f in folders], read_json(damaged.path / "result.json")
    asked = ["probe", str(out), "--probe", "{kind: accuracy, items: 3}", "--replace"]
    found = CliRunner().invoke(app, asked)
    assert found.exit_code == 2
    assert runs_told(found.stdout) == [good.run_id, last.run_id]
    (message,) = found.stderr.splitlines()
    assert str(damaged.path) in message and "is damaged" in message
    assert [items(f) == was for f, was in zip(folders, before, strict=True)] == [False, True, False]
    assert read_json(damaged.path / "result.json") == kept
    assert damaged.checkpoint_path.exists(), "whoever only measures sets nothing aside"


def test_whole_runs_are_measured_with_status_0(folders: list[RunFolder]) -> None:
    out, (good, _, last) = folders[0].path.parent, folders
    seed = good.config().seed
    found = CliRunner().invoke(app, ["probe", str(out), "--where", f"seed={seed}"])
    assert (found.exit_code, runs_told(found.stdout)) == (0, [good.run_id])
    assert measure_again(out, [good.run_id, last.run_id]) == [good.run_id, last.run_id]
    found = CliRunner().invoke(app, ["probe", str(out), "--where", "seed=77"])
    assert isinstance(found.exception, LoopscopeError)
    assert "has no finished run with seed=77" in str(found.exception)


def test_any_error_is_told_with_its_run(
    folders: list[RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr("experiments.measuring.remeasure.record_probe", fails)
    found = {again.run_id: again.problem for again in measure_each(folders[0].path.parent)}
    assert [f.run_id for f in folders] == list(found)
    assert "RuntimeError: no such kernel" in found[folders[0].run_id]
    with pytest.raises(LoopscopeError, match="no such kernel"):
        measure_again(folders[0].path.parent)


def test_what_another_process_measured_meanwhile_stays(
    folders: list[RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, record = folders[0], remeasure.record_probe

    def slow(*args: object) -> dict[str, object]:
        monkeypatch.setattr(remeasure, "record_probe", record)
        measure_again(folder.path.parent, [folder.run_id], (Lens(items=8),))  # the other one
        return record(*args)  # pyrefly: ignore

    monkeypatch.setattr(remeasure, "record_probe", slow)
    measure_again(folder.path.parent, [folder.run_id])
    kinds = {row["probe"].rpartition("-")[0] for row in (folder.result() or {})["measurements"]}
    assert kinds == {"accuracy", "lens"}
    assert not folder.lock_path.exists()


def test_a_lock_that_stays_held_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        RunLock.hold(path),
        pytest.raises(LoopscopeError, match="in use by another process.*try again"),
        RunLock.hold(path, patience=0.2),
    ):
        pass
    with RunLock.hold(path, patience=0.0):
        assert path.exists()
    assert not path.exists()
