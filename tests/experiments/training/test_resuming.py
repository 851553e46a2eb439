"""A stopped run is the same run, whatever was damaged or changed in between."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toys import assert_same_run, stop_after, trained, weights
from training import STEPS, TINY_PROBE, checkpointed, config

from experiments.config.run import Observe
from experiments.errors import LoopscopeError
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import write_json
from experiments.runs.repair import repair
from experiments.training.train import train
from experiments.training.trainer import Trainer
from models.objectives.entropy import Entropy


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return trained(tmp_path_factory.mktemp("straight"), config())


# --- the same run, however often it is stopped


def test_the_same_config_twice_is_the_same_run(tmp_path: Path, straight: RunFolder) -> None:
    assert_same_run(straight, trained(tmp_path, config()))
    other = trained(tmp_path, config(seed=1))
    assert not torch.equal(
        weights(straight)["embedding.weight"], weights(other)["embedding.weight"]
    )


@pytest.mark.parametrize("stops", [(1,), (20,), (7, 7, 1), (STEPS,)])
def test_stopped_and_resumed_is_the_same_run(
    tmp_path: Path, straight: RunFolder, stops: tuple[int, ...]
) -> None:
    assert_same_run(straight, trained(tmp_path, config(), *stops))


def test_a_stopped_run_says_so(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert not train(config(), folder, stop=stop_after(12))
    status = folder.status()
    assert status is not None
    assert (status.state, status.step, status.checkpoint_step) == ("stopped", 12, 12)
    assert folder.state() == "resumable" and folder.result() is None


def test_entropy_with_a_gate_resumes_too(tmp_path: Path) -> None:
    run = config(objective=Entropy(beta=0.05))
    one, other = trained(tmp_path / "a", run), trained(tmp_path / "b", run, 15)
    assert_same_run(one, other)
    assert {"exit_entropy", "loss.1", "exit.2"} <= one.metrics()[0].keys()


def test_evaluation_changes_no_weight(tmp_path: Path, straight: RunFolder) -> None:
    observe = Observe(
        probes=(TINY_PROBE,),
        log_every=7,
        evaluate_every=15,
        evaluate_with=(TINY_PROBE,),
        checkpoint_seconds=1000,
    )
    watched = trained(tmp_path, config(observe=observe), 16)
    a, b = weights(straight), weights(watched)
    assert all(torch.equal(a[name], b[name]) for name in a)
    seen = [line for line in watched.metrics() if "measurements" in line]
    assert [line["step"] for line in seen] == [15, 30, 40]
    result = watched.result()
    assert result is not None
    final = [{k: v for k, v in row.items() if k != "probe"} for row in result["measurements"]]
    assert seen[-1]["measurements"] == final


def test_a_rhythm_alone_evaluates_accuracy(tmp_path: Path) -> None:
    run = config(observe=Observe(probes=(), evaluate_every=20, checkpoint_seconds=1000))
    rows = [line["measurements"] for line in trained(tmp_path, run).metrics() if "loss" not in line]
    assert len(rows) == 2 and {row["metric"] for row in rows[0]} == {"accuracy"}


def test_work_after_the_checkpoint_is_done_again(tmp_path: Path, straight: RunFolder) -> None:
    """As after a power failure: the log is ahead of the checkpoint, and its last line is torn."""
    folder = RunFolder(tmp_path / config().run_id)
    assert not train(config(), folder, stop=stop_after(10))
    for step in (14, 21):
        folder.append_metrics({"step": step, "loss": 99.0})
    with folder.metrics_path.open("a") as file:
        file.write('{"step": 28, "lo')
    assert train(config(), folder)
    assert_same_run(straight, folder)


def test_checkpoints_are_written_in_time(tmp_path: Path) -> None:
    observe = Observe(probes=(), checkpoint_seconds=1e-9)
    folder = RunFolder(tmp_path / "run")

    def seen() -> bool:
        state = torch.load(folder.checkpoint_path, weights_only=True)
        return state["step"] == 3

    assert not train(config(observe=observe), folder, stop=seen)
    before = torch.load(folder.previous_checkpoint_path, weights_only=True)
    assert before["step"] == 2, "the one before is kept"
    assert train(config(observe=observe), folder)
    assert not folder.previous_checkpoint_path.exists()


# --- damage


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(weights_of_a_file(path)) + 5] ^= 1
    path.write_bytes(data)


def weights_of_a_file(path: Path) -> bytes:
    state = torch.load(path, weights_only=True)
    return state["model"]["embedding.weight"].numpy().tobytes()


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip_a_bit, cut_in_half, lambda path: path.write_bytes(b"")])
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(
    tmp_path: Path, straight: RunFolder, damage: Callable[[Path], object]
) -> None:
    folder = checkpointed(tmp_path, 10, 10)
    damage(folder.checkpoint_path)
    assert train(config(), folder)
    assert_same_run(straight, folder)
    log = (folder.path / "log.txt").read_text()
    assert "checkpoint.pt is damaged" in log and "resumes at step 10" in log
    assert (folder.path / "checkpoint.pt.corrupt").exists()


def test_without_any_good_checkpoint_the_run_starts_anew(
    tmp_path: Path, straight: RunFolder
) -> None:
    folder = checkpointed(tmp_path, 10, 10)
    cut_in_half(folder.checkpoint_path)
    cut_in_half(folder.previous_checkpoint_path)
    assert train(config(), folder)
    assert_same_run(straight, folder)


def test_a_damaged_result_is_measured_again_without_training(
    tmp_path: Path, straight: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(tmp_path, config())
    (folder.path / "result.json").write_text("{")
    repair(folder)
    monkeypatch.setattr(Trainer, "step", lambda *_: pytest.fail("trained again"))
    assert train(config(), folder)
    assert_same_run(straight, folder)


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, straight: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpointed(tmp_path, 10)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "fsync", full)
        train(config(), folder, stop=stop_after(10))
    assert torch.load(folder.checkpoint_path, weights_only=True)["step"] == 10
    assert not list(folder.path.glob(".*.tmp"))
    assert train(config(), folder)
    assert_same_run(straight, folder)


# --- drift


def change_environment(folder: RunFolder, group: str, name: str, digest: str | None) -> None:
    environment = folder.environment()
    assert environment is not None
    environment["sources"][group][name] = digest
    if digest is None:
        del environment["sources"][group][name]
    write_json(folder.path / "environment.json", environment)


@pytest.mark.parametrize(
    ("group", "name", "said"),
    [
        ("models", "models/looped.py", "models: models/looped.py changed"),
        (
            "training",
            "experiments/training/trainer.py",
            "training: experiments/training/trainer.py changed",
        ),
        ("pools", "generators/pools/gone.txt", "generators/pools/gone.txt is gone"),
    ],
)
def test_resuming_with_other_code_is_refused(
    tmp_path: Path, group: str, name: str, said: str
) -> None:
    folder = checkpointed(tmp_path, 10)
    before = folder.checkpoint_path.read_bytes()
    change_environment(folder, group, name, "0" * 16)
    with pytest.raises(LoopscopeError, match=said) as refused:
        train(config(), folder)
    assert "--allow-drift" in str(refused.value)
    assert folder.checkpoint_path.read_bytes() == before
    assert train(config(), folder, allow_drift=True)
    result = folder.result()
    assert result is not None and said in result["accepted_drift"][0]


def test_resuming_with_another_torch_is_refused(tmp_path: Path) -> None:
    folder = checkpointed(tmp_path, 10)
    environment = folder.environment()
    assert environment is not None
    environment["versions"]["torch"] = "1.0"
    write_json(folder.path / "environment.json", environment)
    with pytest.raises(LoopscopeError, match="torch was 1.0 and is"):
        train(config(), folder)


def test_a_new_file_or_another_machine_is_no_drift(tmp_path: Path, straight: RunFolder) -> None:
    folder = checkpointed(tmp_path, 10)
    change_environment(folder, "generators", "generators/hashing.py", None)
    environment = folder.environment()
    assert environment is not None
    write_json(folder.path / "environment.json", environment | {"machine": {}})
    assert train(config(), folder)
    assert_same_run(straight, folder)
