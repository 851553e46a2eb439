"""Where norms stand and how branches are scaled; that they compute the right thing is asked of
every shape in test_looped."""

from math import sqrt
from typing import Any

import pytest
import torch
from golden_step import TOLERANCE, golden_step
from reference_transformer import V, build, tokens

from experiments.export.huggingface import config_of
from models.config import LoopedConfig
from models.conversion.interop import ouro_tensors
from models.layers.block import branch_scales
from models.looped import LoopedTransformer


def shape(**fields: Any) -> LoopedConfig:
    return LoopedConfig.model_validate({"width": 16, "heads": 2, "core": 2, "loops": 3} | fields)


def logits(model: LoopedTransformer) -> torch.Tensor:
    return model(tokens()).logits()


# --- residual scale and LayerScale


def test_the_scale_is_lambda_over_runs_and_the_root_of_layers() -> None:
    assert branch_scales(shape()) == [1.0, 1.0]
    assert branch_scales(shape(residual_scale=6.0)) == pytest.approx([6 / (3 * sqrt(2))] * 2)
    order = shape(residual_scale=1.0, core=3, reuse=(0, 1, 2, 1), prelude=2, coda=1)
    assert branch_scales(order) == pytest.approx([1 / (n * sqrt(3)) for n in (3, 6, 3)])
    assert branch_scales(shape(residual_scale=1.0, core=1, reuse="sequence")) == [1 / 3]


@pytest.mark.parametrize("norm", ["pre", "sandwich", "post"])
def test_a_scale_of_one_is_none(norm: str) -> None:
    fields: dict[str, Any] = {"norm": norm, "core": 1, "prelude": 1, "coda": 1}
    plain, scaled = build(shape(**fields)), build(shape(**fields, residual_scale=3.0))
    assert torch.equal(logits(plain), logits(scaled)), "λ/(N√L) = 3/(3·1)"
    other = build(shape(**fields, residual_scale=1.5))
    assert not torch.allclose(logits(plain), logits(other))
    for part in ("prelude", "coda"):
        (block,) = getattr(other, part)
        assert block.scale == 1
    vector = LoopedTransformer(shape(**fields, layer_scale=1.0), V).double()
    plain = LoopedTransformer(shape(**fields), V).double()
    assert torch.equal(logits(plain), logits(vector))
    small = LoopedTransformer(shape(**fields, layer_scale=1e-4), V).double()
    assert not torch.allclose(logits(plain), logits(small), atol=1e-3)


def test_the_state_grows_with_loops_only_without_a_scale() -> None:
    """Pre-norm without norms between loops, how far the state moves in 4 and in 32 loops."""

    def moved(loops: int, scale: float | None) -> float:
        fields = {"norm": "pre", "norm_between_loops": False, "loops": loops, "core": 1}
        model = LoopedTransformer(shape(**fields, residual_scale=scale), V, seed=3).double()
        captured = model(tokens(), capture=["embed", f"core.0.loop.{loops}"]).captured
        way = captured[f"core.0.loop.{loops}"] - captured["embed"]
        return way.detach().norm(dim=-1).mean().item()

    scaled, plain = (moved(32, scale) / moved(4, scale) for scale in (1.0, None))
    assert scaled < 1.5 and plain > 4, (scaled, plain)


def test_layer_scale_begins_with_its_value_and_learns() -> None:
    model = LoopedTransformer(shape(layer_scale=1e-4), V)
    gains = {n: p for n, p in model.named_parameters() if n.endswith("_gain.weight")}
    assert len(gains) == 4 and all((p == 1e-4).all() and p.shape == (16,) for p in gains.values())
    logits(model).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in gains.values())


# --- norms of queries and keys


@pytest.mark.parametrize("positions", ["rope", "none"])
def test_normed_queries_and_keys_forget_their_size(positions: str) -> None:
    change: dict[bool, float] = {}
    for qk_norm in (True, False):
        model = build(shape(qk_norm=qk_norm, positions=positions, norm_eps=1e-12))
        before = logits(model)
        with torch.no_grad():
            for block in model.core:
                block.attention.qkv.weight[:32] *= 7.0
        change[qk_norm] = (logits(model) - before).detach().abs().max().item()
    assert change[True] < 1e-9 and change[False] > 1e-2


# --- norms on sums


def test_after_a_norm_on_the_sum_every_position_has_one_size() -> None:
    """With gains at one: a root mean square of 1, whatever was added."""
    for norm in ("post", "deepnorm"):
        model = LoopedTransformer(shape(norm=norm), V, seed=1).double()
        captured = model(tokens(), capture=["core.1.loop.2"]).captured["core.1.loop.2"]
        sizes = captured.pow(2).mean(-1)
        torch.testing.assert_close(sizes, torch.ones_like(sizes), rtol=1e-4, atol=0)


def test_deepnorm_begins_with_smaller_values_outputs_and_mlps() -> None:
    """N = 1 + 2·3 + 1 blocks of a pass: √16 before the state, 1/√64 on the weights."""
    fields: dict[str, Any] = {"prelude": 1, "coda": 1, "mlp": "moe", "experts": 2}
    deep = LoopedTransformer(shape(norm="deepnorm", **fields), V, seed=1)
    post = LoopedTransformer(shape(norm="post", **fields), V, seed=1)
    other = dict(post.named_parameters())
    for name, parameter in deep.named_parameters():
        wanted = other[name].detach().clone()
        if name.endswith("qkv.weight"):
            wanted[32:] /= 8
        elif name.endswith(("out.weight", "up.weight", "down.weight")):
            wanted /= 8
        assert torch.allclose(parameter, wanted), name
    assert {block.kept for block in (*deep.prelude, *deep.core, *deep.coda)} == {4.0}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"norm": "post", "zero_init": True}, "with post no block is the identity"),
        ({"norm": "deepnorm", "zero_init": True}, "with deepnorm no block is the identity"),
        ({"norm": "deepnorm", "residual_scale": 1.0}, "residual_scale needs another norm"),
        ({"norm": "deepnorm", "layer_scale": 1.0}, "layer_scale needs another norm"),
        ({"residual_scale": 0.0}, "greater than 0"),
        ({"layer_scale": -1.0}, "greater than 0"),
        ({"norm": "none"}, "pre"),
    ],
)
def test_settings_that_do_not_go_together(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        shape(**fields)


#: settings, and losses before and after a step
LEVERS: list[tuple[dict[str, Any], tuple[float, float]]] = [
    ({"norm": "post"}, (2.39903, 2.37722)),
    ({"norm": "deepnorm"}, (2.39712, 2.28672)),
    ({"qk_norm": True}, (2.39454, 2.36917)),
    ({"residual_scale": 2.0}, (2.39374, 2.38896)),
    ({"layer_scale": 0.1}, (2.39455, 2.36940)),
]


@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # torch has no fused norm of bf16 by fp32
@pytest.mark.parametrize("fields", [fields for fields, _ in LEVERS], ids=str)
@pytest.mark.parametrize("read", [None, (torch.tensor([0, 1, 2]), torch.tensor([6, 3, 5]))])
def test_half_precision_is_near_full_precision(fields: dict[str, Any], read: Any) -> None:
    """In training, with the fast layers, and where only a few positions are read."""
    model = LoopedTransformer(shape(**fields), V, seed=1)
    found = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            outputs = model(tokens(), read=read)
            loss = outputs.logits(at=read).float().log_softmax(-1)[..., 3].mean()
        model.zero_grad()
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        assert gradient.dtype == torch.float32
        found.append((loss.detach(), gradient))
    (full, exact), (rounded, near) = found
    assert (rounded - full).abs() < 5e-3
    assert 0 < (near - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("fields", [fields for fields, _ in LEVERS], ids=str)
def test_a_format_that_cannot_say_it_refuses(fields: dict[str, Any]) -> None:
    ((name, value),), model = fields.items(), build(shape(**fields))
    with pytest.raises(ValueError, match=f"the exported code has no {name} {value}"):
        config_of(model)
    with pytest.raises(ValueError, match=f"{name} is {value}, needs"):
        ouro_tensors(model)
    assert config_of(build(shape())) and ouro_tensors(build(shape()))


@pytest.mark.parametrize(("fields", "losses"), LEVERS)
def test_a_golden_step(fields: dict[str, Any], losses: tuple[float, float]) -> None:
    assert golden_step(shape(**fields)) == pytest.approx(losses, abs=TOLERANCE)
