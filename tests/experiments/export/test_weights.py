"""`loopscope export`: a trained run's weights come out as they were trained."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from experiments.cli import main as cli
from experiments.config.phases import Phase, Training
from experiments.config.run import Observe, RunConfig
from experiments.measuring.load import load_model
from experiments.runs.folder import RunFolder
from experiments.training.train import train
from generators.multihop import MultiHop
from models.config import LoopedConfig
from models.conversion.interop import load_ouro, save_tensors


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["loopscope", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    return exit.value.code or 0


def run_of(out, **fields):
    config = RunConfig(
        task=MultiHop(entities=8, relations=4, hops=2),
        model=LoopedConfig(width=16, heads=2, loops=2, **fields),
        training=Training(batch=8, phases=(Phase(until_step=3),)),
        observe=Observe(probes=()),
    )
    train(config, RunFolder(out / config.run_id))
    return config.run_id


def test_both_formats_hold_the_trained_weights(tmp_path, monkeypatch):
    run_id = run_of(tmp_path, tied=True)
    model, task = load_model(tmp_path, run_id)
    plain, ouro = tmp_path / "plain.safetensors", tmp_path / "ouro.safetensors"
    assert command(monkeypatch, "export", run_id, plain, "--out", tmp_path) == 0
    tensors = load_file(plain)
    assert set(tensors) == {name for name, _ in model.named_parameters()}
    assert all(torch.equal(p, tensors[name]) for name, p in model.named_parameters())
    assert command(monkeypatch, "export", tmp_path / run_id, ouro, "--format", "ouro") == 0
    tokens = torch.randint(1, len(task.vocabulary), (2, 4))
    assert torch.equal(load_ouro(ouro)(tokens).logits(), model(tokens).logits())


@pytest.mark.parametrize(
    ("format", "name"), [((), ".safetensors"), (("--format", "ouro"), "-ouro.safetensors")]
)
def test_files_are_named_after_the_run(format, name, tmp_path, monkeypatch, capsys):
    run_id = run_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, "export", run_id, "--out", ".", *format) == 0
    assert capsys.readouterr().out.strip() == f"{run_id}{name}"
    assert (tmp_path / f"{run_id}{name}").is_file()


def test_only_what_was_exported_is_replaced(tmp_path, monkeypatch, capsys):
    run_id = run_of(tmp_path)
    path, checkpoint = tmp_path / "m.safetensors", tmp_path / run_id / "checkpoint.pt"
    before = checkpoint.read_bytes()
    assert command(monkeypatch, "export", run_id, checkpoint, "--out", tmp_path) == 2
    assert "checkpoint.pt exists and is not replaced" in capsys.readouterr().err
    assert checkpoint.read_bytes() == before
    for _ in range(2):
        assert command(monkeypatch, "export", run_id, path, "--out", tmp_path) == 0
    path.write_bytes(b"")
    assert command(monkeypatch, "export", run_id, path, "--out", tmp_path) == 2


def test_what_cannot_be_exported_is_a_message(tmp_path, monkeypatch, capsys):
    run_id = run_of(tmp_path, norm="pre")
    path = tmp_path / "m.safetensors"
    assert command(monkeypatch, "export", run_id, path, "--out", tmp_path, "--format", "ouro") == 2
    assert "norm is pre, needs sandwich" in capsys.readouterr().err
    assert not path.exists()
    assert command(monkeypatch, "export", "nothing", path, "--out", tmp_path) == 2
    assert "has no run nothing" in capsys.readouterr().err
    (tmp_path / run_id / "result.json").unlink()
    assert command(monkeypatch, "export", run_id, path, "--out", tmp_path) == 2
    assert "has no result yet" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs Linux's read-only /proc")
def test_a_place_that_cannot_be_written_is_an_os_error() -> None:
    """The command turns those into messages."""
    unwritable = Path("/proc/self/model.safetensors")
    with pytest.raises(OSError, match="/proc/self"):
        save_tensors({"a": torch.zeros(1)}, unwritable, {})
