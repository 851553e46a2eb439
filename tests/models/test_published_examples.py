"""Examples of models from elsewhere, against their papers' equations written out."""

from pathlib import Path
from typing import Any

import pytest
import torch

import experiments
from generators.plugins import load_class
from models.adapter import ForeignModel
from models.model import ModelConfig, built

EXAMPLES = Path(experiments.__file__).parent / "examples"
TOKENS = torch.tensor([[3, 1, 4, 1, 5]])


def module_of(named: str, **fields: Any) -> Any:
    cls = load_class(ModelConfig, "models", str(EXAMPLES / named))
    torch.manual_seed(0)
    model = built(cls.model_validate({"width": 8, **fields}), 9, gate=False, seed=0).eval()
    assert isinstance(model, ForeignModel)
    return model.module


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Causal attention of one document and two heads, position by position, [T, D]."""
    T, D = q.shape
    out = torch.zeros(T, D)
    for h in (slice(0, D // 2), slice(D // 2, D)):
        for t in range(T):
            scores = k[: t + 1, h] @ q[t, h] / (D // 2) ** 0.5
            out[t, h] = scores.softmax(0) @ v[: t + 1, h]
    return out


def test_universal_transformer_step() -> None:
    """H^t = Norm(A + Transition(A)), A = Norm(H + P^t + MultiHead(H + P^t)); P is sinusoidal."""
    module = module_of("universal_transformer.py:UniversalTransformer")
    first = module(TOKENS, 2)[0][0]
    x = module.embedding(TOKENS)[0].clone()
    for i in range(5):
        for j in range(4):
            rate = 10_000 ** (-2 * j / 8)
            angles = torch.tensor([i * rate, 1 * rate])  # position and step 1
            x[i, 2 * j] += angles.sin().sum()
            x[i, 2 * j + 1] += angles.cos().sum()
    q, k, v = module.qkv(x).chunk(3, dim=-1)
    a = module.norms[0](x + module.out(attention(q, k, v)))
    hidden = module.down(module.up(a).clamp(min=0))
    torch.testing.assert_close(first, module.norms[1](a + hidden), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loops", [1, 3])
def test_residual_scale_is_one_over_loops_and_root_of_layers(loops: int) -> None:
    """With λ tiny, a loop's step has a size in proportion to λ/(N√L)."""
    module = module_of("residual_scaled.py:ResidualScaled", core=4, scale=1e-3, loops=loops)
    whole = module_of("residual_scaled.py:ResidualScaled", core=4, scale=1e-3 * 3 * 2)
    module.norm = whole.norm = torch.nn.Identity()
    start = module.embedding(TOKENS) + module.positions.weight[:5]
    mine = module(TOKENS, loops)[0] - start  # one loop of N: λ/(N·2) each
    theirs = whole(TOKENS, 3)[0] - start  # one of three with λ' = 6λ: λ each
    torch.testing.assert_close(mine * (loops * 2), theirs, rtol=0.02, atol=1e-5)


def test_the_gate_keeps_88_percent_at_the_start() -> None:
    module = module_of("gated_loop.py:GatedLoop")
    torch.nn.init.zeros_(module.gate.weight)
    module.norms[2] = torch.nn.Identity()
    x = module.embedding(TOKENS) + module.positions.weight[:5]
    step = module.depth.weight[0]
    expected = x + 0.1192029 * (module.block(x + step) - x)  # σ(-2)
    torch.testing.assert_close(module(TOKENS, 1)[0], expected, rtol=1e-5, atol=1e-6)
