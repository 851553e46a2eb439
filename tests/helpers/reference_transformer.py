"""Every shape of the looped transformer, and its forward pass written out for one document.

Nothing here calls the model: weights are read by name, attention is a loop over heads and tokens.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models.config import LoopedConfig
from models.looped import LoopedTransformer

V = 11
#: model, state, the loops' input, loop and loops -> the state after that loop
Loop = Callable[[LoopedTransformer, Tensor, Tensor, int, int], Tensor]
FIELDS: dict[str, dict[str, Any]] = {
    "ouro": {},
    "pre-gelu-tied": {"heads": 4, "core": 1, "norm": "pre", "mlp": "gelu", "tied": True},
    "prelude-coda": {"prelude": 1, "core": 1, "coda": 2},
    "unnormed": {"loops": 2, "norm_between_loops": False},
    "sequence": {"reuse": "sequence"},
    "order": {"reuse": (0, 1, 1)},
    "add": {"injection": "add", "prelude": 1},
    "once": {"injection": "once", "norm": "pre"},
    "concat": {"injection": "concat", "coda": 1},
    "diagonal": {"injection": "diagonal", "initial_state": "learned"},
    "gated": {"injection": "gated", "initial_state": "prelude", "tied": True},
    "learned-loops": {"loop_embedding": "learned", "loop_rows": 4},
    "sinusoidal": {"loop_embedding": "sinusoidal", "norm_between_loops": False},
    "top-1": {"mlp": "moe", "experts": 3, "coda": 1},
    "top-2": {"mlp": "moe", "experts": 3, "experts_per_token": 2, "tied": True},
    "rope-quarter": {"positions": "rope-quarter", "heads": 1},
    "learned": {"positions": "learned", "context": 11},
    "no-positions": {"positions": "none", "zero_init": True},
    "post": {"norm": "post", "prelude": 1, "qk_norm": True},
    "deepnorm": {"norm": "deepnorm", "coda": 1, "mlp": "gelu", "norm_between_loops": False},
    "residual-scale": {"residual_scale": 1.5, "norm": "pre", "norm_between_loops": False},
    "residual-scale-order": {"residual_scale": 2.0, "reuse": (0, 1, 1), "prelude": 1, "coda": 1},
    "layer-scale": {"layer_scale": 0.1, "qk_norm": True, "positions": "rope-quarter", "heads": 1},
    "layer-scale-post": {"layer_scale": 0.5, "norm": "post", "mlp": "moe", "positions": "none"},
    "qk-norm": {"qk_norm": True, "heads": 4, "norm": "pre", "tied": True},
    "zero-init-pre": {"zero_init": True, "norm": "pre", "mlp": "moe"},
}
SHAPES = {
    name: LoopedConfig.model_validate({"width": 16, "heads": 2, "core": 2, "loops": 3} | fields)
    for name, fields in FIELDS.items()
}


def tokens(rows: int = 3, columns: int = 7) -> Tensor:
    return torch.randint(1, V, (rows, columns), generator=torch.Generator().manual_seed(5))


def build(config: LoopedConfig, gate: bool = False, **options: Any) -> LoopedTransformer:
    """In float64, with no parameter at zero or one."""
    model = config.model_type()(config, V, gate=gate, seed=1, **options).double()
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
    return model


def weight(module: nn.Module, name: str) -> Tensor:
    return module.get_parameter(f"{name}.weight")


def rms(x: Tensor, gain: Tensor) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * gain


def rotated(x: Tensor, config: LoopedConfig) -> Tensor:
    """x [T, D/H], whose first dimensions are the real and imaginary parts of complex numbers."""
    size = {"rope": x.shape[1], "rope-quarter": x.shape[1] // 4}.get(config.positions, 0)
    if not size:
        return x
    # the angles are fp32 in every precision
    frequency = config.rope_base ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
    angle = torch.arange(len(x), dtype=torch.float32)[:, None] * frequency
    z = torch.complex(x[:, : size // 2], x[:, size // 2 : size])
    z = z * torch.complex(angle.cos().to(x.dtype), angle.sin().to(x.dtype))
    return torch.cat([z.real, z.imag, x[:, size:]], -1)


def attention(
    block: nn.Module, y: Tensor, config: LoopedConfig, seen: Tensor | None = None
) -> Tensor:
    """`seen` [T, D] is what keys and values come from, y itself by default."""
    T, D = y.shape
    q, k, v = (y @ weight(block, "attention.qkv").T).split(D, dim=-1)
    if seen is not None:
        _, k, v = (seen @ weight(block, "attention.qkv").T).split(D, dim=-1)
    mixed = torch.zeros_like(y)
    size = D // config.heads
    for h in range(config.heads):
        columns = slice(h * size, (h + 1) * size)
        query, key = q[:, columns], k[:, columns]
        if config.qk_norm:
            query = rms(query, weight(block, "attention.query_norm"))
            key = rms(key, weight(block, "attention.key_norm"))
        query, key = rotated(query, config), rotated(key, config)
        for t in range(T):
            score = key[: t + 1] @ query[t] / size**0.5
            mixed[t, columns] = score.softmax(0) @ v[: t + 1, columns]
    return mixed @ weight(block, "attention.out").T


def mlp(block: nn.Module, name: str, y: Tensor, config: LoopedConfig) -> Tensor:
    up = y @ weight(block, f"{name}.up").T
    if config.mlp == "gelu":
        inner = up * (1 + torch.erf(up / 2**0.5)) / 2
    else:
        gate, up = up.split(config.hidden, dim=-1)
        inner = gate / (1 + (-gate).exp()) * up
    return inner @ weight(block, f"{name}.down").T


def experts(block: nn.Module, y: Tensor, config: LoopedConfig) -> Tensor:
    k, out = config.experts_per_token, torch.zeros_like(y)
    for t, p in enumerate((y @ weight(block, "mlp.router").T).softmax(-1)):
        best = p.argsort(descending=True)[:k]
        share = p[best] if k == 1 else p[best] / p[best].sum()
        for i, w in zip(best.tolist(), share, strict=True):
            out[t] = out[t] + w * mlp(block, f"mlp.experts.{i}", y[t], config)
    return out


def reference_block(
    block: nn.Module, x: Tensor, config: LoopedConfig, scale: float = 1.0
) -> Tensor:
    """`scale` multiplies what attention and MLP add."""

    def normed(name: str, y: Tensor) -> Tensor:
        return rms(y, weight(block, name))

    def added(part: str, x: Tensor, y: Tensor) -> Tensor:
        if config.norm == "sandwich":
            y = normed(f"{part}_out_norm", y)
        if config.layer_scale is not None:
            y = y * weight(block, f"{part}_gain")
        if config.norm == "deepnorm":
            passed = config.prelude + config.core * config.loops + config.coda
            x = x * (2 * passed) ** 0.5
        total = x + scale * y
        return normed(f"{part}_out_norm", total) if config.norm in ("post", "deepnorm") else total

    first = config.norm in ("pre", "sandwich")
    y = attention(block, normed("attention_norm", x) if first else x, config)
    x = added("attention", x, y)
    y = normed("mlp_norm", x) if first else x
    y = experts(block, y, config) if config.mlp == "moe" else mlp(block, "mlp", y, config)
    return added("mlp", x, y)


def joined(model: LoopedTransformer, x: Tensor, e: Tensor, loop: int) -> Tensor:
    """The state with which a loop begins."""
    config = model.config
    if config.injection == "add" or (config.injection == "once" and loop == 1):
        x = x + e
    elif config.injection == "concat":
        x = torch.cat((x, e), -1) @ weight(model, "entrance.project").T
    elif config.injection == "diagonal":
        step = torch.log1p(weight(model, "entrance.step").exp())
        kept = torch.exp(-step * torch.exp(weight(model, "entrance.rate")))
        x = kept * x + step * (e @ weight(model, "entrance.project").T)
    elif config.injection == "gated":
        bias = model.get_parameter("entrance.project.bias")
        z = 1 / (
            1 + torch.exp(-(torch.cat((x, e), -1) @ weight(model, "entrance.project").T + bias))
        )
        x = (1 - z) * x + z * e
    if config.loop_embedding == "learned":
        return x + weight(model, "entrance.loops")[loop - 1]
    if config.loop_embedding == "sinusoidal":
        angle = loop * 10_000.0 ** (-torch.arange(8) / 8)
        return x + torch.cat((angle.sin(), angle.cos()))
    return x


def plain_loop(model: LoopedTransformer, x: Tensor, e: Tensor, t: int, loops: int) -> Tensor:
    """The state [T, D] after loop t, before the final norm."""
    config = model.config
    order = {"cycle": [0, 1][: config.core], "sequence": [0] * loops + [1] * loops}
    layers = order[config.reuse] if isinstance(config.reuse, str) else config.reuse
    x = joined(model, x, e, t)
    for layer in layers:
        scale = 1.0
        if config.residual_scale is not None:
            runs = config.loops * (2 if config.reuse == (0, 1, 1) and layer == 1 else 1)
            scale = config.residual_scale / (runs * config.core**0.5)
        x = reference_block(model.core[layer], x, config, scale)
    return x


def reference(
    model: LoopedTransformer, document: Tensor, loops: int, loop: Loop = plain_loop
) -> tuple[list[Tensor], list[Tensor]]:
    """States [T, D] and logits [T, V] after every loop."""
    config, states, logits = model.config, [], []
    x = weight(model, "embedding")[document]
    if config.positions == "learned":
        x = x + weight(model, "position")[: len(document)]
    for block in model.prelude:
        x = reference_block(block, x, config)
    e = x
    if config.injection != "none" or config.loop_embedding != "none":
        e = x = rms(x, weight(model, "entrance.norm"))
    if config.initial_state == "learned":
        x = weight(model, "entrance.start").expand_as(x)
    elif config.injection != "none" and config.initial_state != "prelude":
        x = torch.zeros_like(x)
    for t in range(1, 2 if config.reuse == "sequence" else loops + 1):
        x = loop(model, x, e, t, loops)
        states.append(rms(x, weight(model, "final_norm")))
        x = states[-1] if config.norm_between_loops else x
        y = states[-1]
        for block in model.coda:
            y = reference_block(block, y, config)
        y = rms(y, weight(model, "final_norm")) if len(model.coda) else y
        logits.append(y @ weight(model, "head").T)
    return states, logits
