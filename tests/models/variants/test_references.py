"""Every variant against its definition, written out for one document, and what it starts as."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from reference_transformer import (
    Loop,
    V,
    attention,
    build,
    joined,
    mlp,
    reference,
    reference_block,
    rms,
    tokens,
    weight,
)
from torch import Tensor
from variant_shapes import FIELDS, variant

from generators.plugins import choices
from models.config import LoopedConfig
from models.looped import LoopedTransformer
from models.model import ModelConfig


def film_loop(model: LoopedTransformer, x: Tensor, e: Tensor, t: int, loops: int) -> Tensor:
    """(1 + γ_t)·norm(x) + β_t before attention and MLP."""
    config, x = model.config, joined(model, x, e, t)
    for block in model.core:

        def normed(name: str, x: Tensor, block=block) -> Tensor:
            scale, shift = (
                weight(block, f"film.{name}.{part}")[t - 1] for part in ("scale", "shift")
            )
            return (1 + scale) * rms(x, weight(block, name)) + shift

        y = attention(block, normed("attention_norm", x), config)
        x = x + rms(y, weight(block, "attention_out_norm"))
        x = x + rms(mlp(block, "mlp", normed("mlp_norm", x), config), weight(block, "mlp_out_norm"))
    return x


def lora_loop(model: LoopedTransformer, x: Tensor, e: Tensor, t: int, loops: int) -> Tensor:
    """The blocks of a loop with W + B·A written into their matrices."""
    for block in model.core:
        merged = deepcopy(block)
        for name in ("attention.qkv", "attention.out", "mlp.up", "mlp.down"):
            own = f"lora.{t - 1}.{name.split('.')[1]}"
            product = weight(block, f"{own}.up") @ weight(block, f"{own}.down")
            with torch.no_grad():
                weight(merged, name).add_(product)
        x = reference_block(merged, x, model.config)
    return x


def hyper_loop(
    model: LoopedTransformer, x: Tensor, e: Tensor, t: int, loops: int, kept: list[Tensor]
) -> Tensor:
    """h = Σ a_n·S_n; S_n ← Σ_m R_nm·S_m + b_n·(y - h); the mean of the streams."""
    if t == 1:
        kept[:] = [x] * 3
    a, b = weight(model, "streams.read"), weight(model, "streams.write")
    R = weight(model, "streams.mix").view(3, 3)
    h = sum(a[n] * kept[n] for n in range(3))
    y = joined(model, h, e, t)
    for block in model.core:
        y = reference_block(block, y, model.config)
    kept[:] = [sum(R[n, m] * kept[m] for m in range(3)) + b[n] * (y - h) for n in range(3)]
    return sum(kept) / 3


def disco_loop(model: LoopedTransformer, x: Tensor, e: Tensor, t: int, loops: int) -> Tensor:
    """h + sigmoid(a·h + b)·RMSNorm(softmax(W·h/τ)·W), from the second loop on."""
    W = weight(model, "embedding")
    if t > 1:
        logits = torch.stack([W @ h for h in x]) / 0.7
        p = logits.exp() / logits.exp().sum(-1, keepdim=True)
        token = sum(p[:, v, None] * W[v] for v in range(V))
        a, b = weight(model, "channel.alpha")[0], model.get_parameter("channel.alpha.bias")
        alpha = 1 / (1 + torch.exp(-(x @ a + b)))
        x = x + alpha[:, None] * rms(token, weight(model, "channel.norm"))
    for block in model.core:
        x = reference_block(block, x, model.config)
    return x


def first_keys_loop(
    model: LoopedTransformer, x: Tensor, e: Tensor, t: int, loops: int, seen: dict[int, Tensor]
) -> Tensor:
    """Keys and values of every block come from what it read in loop 1."""
    if t == 1:
        seen.clear()
    for layer, block in enumerate(model.core):
        y = rms(x, weight(block, "attention_norm"))
        y = attention(block, y, model.config, seen.setdefault(layer, y))
        x = x + rms(y, weight(block, "attention_out_norm"))
        y = mlp(block, "mlp", rms(x, weight(block, "mlp_norm")), model.config)
        x = x + rms(y, weight(block, "mlp_out_norm"))
    return x


def remembered(model: LoopedTransformer, document: Tensor, loops: int) -> tuple:
    """A plain model that knows the memory as three more words, which every document begins with."""
    M = 3
    fields = model.config.model_dump(exclude={"kind", "memory"})
    plain = LoopedTransformer(LoopedConfig.model_validate(fields), V + M).double()
    own = dict(model.named_parameters())
    memory = own.pop("memory.weight")
    own["embedding.weight"] = torch.cat((own["embedding.weight"], memory))
    own["head.weight"] = torch.cat((own["head.weight"], torch.zeros(M, 16)))
    plain.load_state_dict(own)
    longer = torch.cat((torch.arange(V, V + M), document))
    states, logits = reference(plain, longer, loops)
    return [s[M:] for s in states], [found[M:, :V] for found in logits]


LOOPS: dict[str, Loop] = {
    "film": film_loop,
    "lora": lora_loop,
    "hyper-connections": partial(hyper_loop, kept=[]),
    "disco-loop": disco_loop,
    "first-keys": partial(first_keys_loop, seen={}),
}


def test_every_variant_has_a_case_and_a_reference() -> None:
    shipped = {
        kind
        for kind, cls in choices(ModelConfig, "models").items()
        if cls.__module__.startswith("models.variants.")
    }
    assert shipped == set(FIELDS) == {*LOOPS, "memory-tokens"}


@pytest.mark.parametrize("kind", FIELDS)
def test_every_loop_equals_the_reference(kind: str) -> None:
    config = variant(kind)
    loops = config.loop_limit or config.loops + 1
    # angles are fp32 in every precision, and those of shifted positions are rounded otherwise
    tolerance = 1e-9 if kind in LOOPS else 1e-5
    model = build(config)
    outputs = model(tokens(), loops)
    for row, document in enumerate(tokens()):
        if kind in LOOPS:
            states, logits = reference(model, document, loops, LOOPS[kind])
        else:
            states, logits = remembered(model, document, loops)
        for loop in range(1, loops + 1):
            found = (outputs.state(loop)[row], outputs.logits(loop)[row])
            for ours, theirs in zip(found, (states[loop - 1], logits[loop - 1]), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["film", "lora", "hyper-connections"])
def test_a_fresh_variant_is_the_plain_model_of_its_seed(kind: str) -> None:
    config = variant(kind)
    plain = LoopedConfig.model_validate(
        {
            k: v
            for k, v in config.model_dump().items()
            if k in LoopedConfig.model_fields and k != "kind"
        }
    )
    ours, theirs = (c.build(V, gate=True, seed=3).double() for c in (config, plain))
    assert all(torch.equal(p, ours.get_parameter(n)) for n, p in theirs.named_parameters())
    torch.testing.assert_close(
        ours(tokens()).logits(), theirs(tokens()).logits(), rtol=1e-9, atol=1e-9
    )
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():  # a control: its own weights matter
        for name, parameter in ours.named_parameters():
            if name not in dict(theirs.named_parameters()):
                parameter.add_(torch.randn(parameter.shape, generator=rng))
    assert (ours(tokens()).logits() - theirs(tokens()).logits()).abs().max() > 1e-3
