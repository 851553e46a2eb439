"""What training is timed against computes the same function; times are not tested."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from experiments.bench.models import PlainLoop, comparable, llama, plain
from experiments.bench.scaling import recomputing
from experiments.bench.train import plain_batch, standard_shape
from experiments.cli.main import app
from experiments.config.run import RunConfig
from experiments.training.trainer import Trainer
from models.config import LoopedConfig


def small() -> RunConfig:
    run = standard_shape(32)
    training = run.training.model_copy(update={"batch": 3})
    return run.model_copy(update={"training": training})


@pytest.mark.parametrize("shape", [{}, {"injection": "add", "tied": True}])
def test_the_plain_loop_is_the_same_model(shape: dict[str, Any]) -> None:
    run = small()
    config = run.model.model_copy(update=shape)
    trainer = Trainer(run.model_copy(update={"model": config}), "cpu")
    model, plain = trainer.model, PlainLoop(config, trainer.vocabulary_size)
    with torch.no_grad():  # norms that begin at 1 would hide which is which
        for n, parameter in enumerate(model.parameters()):
            if parameter.dim() == 1:
                parameter.copy_(torch.linspace(0.5, 1 + n / 10, len(parameter)))
    plain.copy_weights(model)
    tokens, targets = plain_batch(trainer.documents(0), trainer.device)
    assert tokens.shape == targets.shape == (3, 64) and bool((targets > 0).all())
    torch.testing.assert_close(plain(tokens), model(tokens).logits(), rtol=1e-3, atol=1e-3)


def test_what_cannot_be_compared_is_not() -> None:
    assert comparable(LoopedConfig(width=32, tied=True))
    assert not comparable(LoopedConfig(width=32, injection="add"))
    assert plain(LoopedConfig(width=32, injection="add", norm="sandwich"))
    for other in ({"injection": "concat"}, {"prelude": 1}, {"residual_scale": 1.0}):
        assert not plain(LoopedConfig(width=32, **other))


def test_llama_has_as_many_layers_as_there_are_block_calls() -> None:
    pytest.importorskip("transformers", reason="needs the extra hf")
    model = llama(LoopedConfig(width=32, core=2, loops=3), 500)
    assert model is not None and len(model.model.model.layers) == 6


def test_commands(tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    arguments = ["bench", "train", "--shapes", "16", "--seconds", "0.01", "--json", str(file)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "2⊗4, width 16" in result.output and "x plain" in result.output
    (shape,) = json.loads(file.read_text())["shapes"]
    assert shape["tokens"] == 64 * 64 and shape["ratios"]["plain"] > 0
    assert sum(shape["parts"].values()) <= 1.5 * shape["seconds"]["loopscope"]
    assert set(shape["parts"]) == {"data", "forward", "backward", "optimiser"}


@pytest.mark.slow
def test_recomputing_keeps_memory_flat_in_the_loops() -> None:
    rows = [*recomputing("cpu", "fp32", 0.01, width=32, numbers=(1, 4))]
    kept, again = ([float(row[i]) for row in rows] for i in (1, 2))
    assert [row[0] for row in rows] == ["1", "4"]
    assert kept[1] > 2.5 * kept[0], "without it, four loops keep about as much as four times one"
    assert again[0] == kept[0] and again[1] < 1.5 * again[0]
    assert all(float(row[3]) > 0 for row in rows)


@pytest.mark.parametrize("more", [["--shapes", "16"], ["--json", "speed.json"], ["--recompute"]])
def test_tables_of_their_own_shapes_take_no_others(more: list[str]) -> None:
    result = CliRunner().invoke(app, ["bench", "train", "--scaling", *more])
    assert result.exit_code == 1 and "shapes of their own" in str(result.exception)
