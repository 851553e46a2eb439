"""What training is timed against computes the same function; times are not tested."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from experiments.bench.models import PlainLoop, comparable, llama
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


def test_the_plain_loop_is_the_same_model() -> None:
    trainer = Trainer(small(), "cpu")
    model, plain = trainer.model, PlainLoop(trainer.config.model, trainer.vocabulary_size)
    own = model.state_dict()
    weights = {"embedding.weight": own["embedding.weight"], "head.weight": own["head.weight"]}
    weights["norm.weight"] = own["final_norm.weight"]
    norms = ("attention_norm", "attention_out_norm", "mlp_norm", "mlp_out_norm")
    for layer in range(2):
        there, here = f"core.{layer}.", f"core.{layer}."
        q, k, v = own[here + "attention.qkv.weight"].chunk(3)
        gate, up = own[here + "mlp.up.weight"].chunk(2)
        weights |= {f"{there}{n}.weight": w for n, w in zip(("query", "key", "value"), (q, k, v))}  # noqa: B905
        weights |= {f"{there}gate.weight": gate, f"{there}up.weight": up}
        weights[there + "out.weight"] = own[here + "attention.out.weight"]
        weights[there + "down.weight"] = own[here + "mlp.down.weight"]
        for i, name in enumerate(norms):
            weights[f"{there}norms.{i}.weight"] = own[f"{here}{name}.weight"]
    plain.load_state_dict(weights)
    tokens, targets = plain_batch(trainer.documents(0), trainer.device)
    assert tokens.shape == targets.shape == (3, 64) and bool((targets > 0).all())
    torch.testing.assert_close(plain(tokens), model(tokens).logits(), rtol=1e-3, atol=1e-3)


def test_what_cannot_be_compared_is_not() -> None:
    assert comparable(LoopedConfig(width=32, tied=True))
    assert not comparable(LoopedConfig(width=32, injection="add"))


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
