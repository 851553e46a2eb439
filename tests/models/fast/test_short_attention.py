"""Attention with its gradient written out, against torch's and against finite differences."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.config import LoopedConfig
from models.counts import LONGEST, LONGEST_HALF, keeps_probabilities
from models.fast.short_attention import short_attention
from models.positions import RotaryAngles, causal, rotary_angles, rotate

B, T, H, D = 3, 7, 2, 12
OF_EACH = torch.tensor([[0, 4], [2, 6], [1, 1]])
Tables = tuple[RotaryAngles, RotaryAngles] | None


def draw(rows: int, dtype: torch.dtype = torch.float64) -> Tensor:
    rng = torch.Generator().manual_seed(rows)
    return torch.randn(B, rows, D, generator=rng, dtype=dtype).requires_grad_()


def table(positions: Tensor, size: int = D // H) -> RotaryAngles:
    """In float64; [B, 1, T, r/2] for positions of each document."""
    cos, sin = (t.double() for t in rotary_angles(positions, size, 100.0))
    return (cos[:, None], sin[:, None]) if positions.dim() == 2 else (cos, sin)


def plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, tables: Tables) -> Tensor:
    q, k, v = (x.view(B, -1, H, D // H).transpose(1, 2) for x in (q, k, v))
    if tables is not None:
        q, k = rotate(q, tables[0]), rotate(k, tables[1])
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(-2)


def cases() -> dict[str, tuple[Tensor, Tensor, Tables]]:
    """Queries, mask and tables of: all positions, part of the dimensions turned, two of each."""
    whole, part = table(torch.arange(T)), table(torch.arange(T), 2)
    hidden = causal(T, torch.device("cpu")).repeat(B, 1, 1, 1)
    hidden[1, :, 3:, 1] = False
    chosen = (torch.arange(T) <= OF_EACH[..., None])[:, None]
    return {
        "causal": (draw(T), causal(T, torch.device("cpu")), (whole, whole)),
        "part": (draw(T), causal(T, torch.device("cpu")), (part, part)),
        "unturned": (draw(T), causal(T, torch.device("cpu")), None),
        "masked": (draw(T), hidden, (whole, whole)),
        "chosen": (draw(2), chosen, (table(OF_EACH), whole)),
    }


@pytest.mark.parametrize("name", cases())
def test_values_and_gradients_equal_those_of_torch(name: str) -> None:
    q, mask, tables = cases()[name]
    k, v = draw(T + 1)[:, :T], draw(T + 2)[:, :T]
    weight = torch.linspace(-1, 1, q.numel(), dtype=torch.float64).view_as(q)
    mixed = short_attention(q, k, v, H, mask, tables)
    wanted = plain(q, k, v, mask, tables)
    torch.testing.assert_close(mixed, wanted, rtol=1e-12, atol=1e-12)
    found = torch.autograd.grad((mixed * weight).sum(), (q, k, v))
    for got, exact in zip(
        found, torch.autograd.grad((wanted * weight).sum(), (q, k, v)), strict=True
    ):
        torch.testing.assert_close(got, exact, rtol=1e-11, atol=1e-12)


def test_gradients_equal_finite_differences() -> None:
    q, mask, tables = cases()["chosen"]

    def mixed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return short_attention(q, k, v, H, mask, tables)

    assert torch.autograd.gradcheck(mixed, (q, draw(T), draw(T)))


def error(attend: Callable[..., Tensor], dtype: torch.dtype, size: float) -> list[float]:
    """Of values and gradients, each relative to float64, for queries and keys of some size."""
    _, mask, tables = cases()["causal"]
    weight = torch.linspace(-1, 1, B * T * D, dtype=torch.float64).view(B, T, D)

    def all_of(inputs: list[Tensor]) -> list[Tensor]:
        mixed = attend(*inputs, mask, tables)
        return [mixed, *torch.autograd.grad((mixed.double() * weight).sum(), inputs)]

    rounded = [(size * draw(T + i).detach()[:, :T]).to(dtype).requires_grad_() for i in range(3)]
    found = all_of(rounded)
    exact = [x.detach().double().requires_grad_() for x in rounded]
    q, k, v = exact
    wanted = plain(q, k, v, mask, tables)
    gradients = torch.autograd.grad((wanted * weight).sum(), exact)
    pairs = zip(found, [wanted, *gradients], strict=True)
    return [
        float((got.double() - true).detach().norm() / true.norm().detach()) for got, true in pairs
    ]


@pytest.mark.parametrize("size", [1.0, 4.0])
def test_half_precision_is_as_close_to_the_truth_as_torchs(size: float) -> None:
    def ours(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, tables: Tables) -> Tensor:
        return short_attention(q, k, v, H, mask, tables)

    for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 0.06)):
        got, theirs = error(ours, dtype, size), error(plain, dtype, size)
        assert max(got) < bound
        assert sum(got) < 1.1 * sum(theirs)


def test_only_short_documents_in_training_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import models.fast.layers

    used: list[int] = []

    def seen(*arguments: object) -> Tensor:
        used.append(1)
        return short_attention(*arguments)  # pyrefly: ignore [bad-argument-type]

    monkeypatch.setattr(models.fast.layers, "short_attention", seen)
    model = LoopedConfig(width=8, heads=2).build(11, gate=False, seed=0)
    short, long = (torch.ones(1, n, dtype=torch.int64) for n in (LONGEST, LONGEST + 1))
    model.eval()(short)
    model.train()(long)
    with torch.no_grad():
        model(short)
    assert not used
    model(short)
    assert len(used) == 1
    with torch.autocast("cpu", torch.bfloat16):
        model(long)
        assert len(used) == 2, "half precision keeps them in longer documents"
        model(torch.ones(1, LONGEST_HALF + 1, dtype=torch.int64))
    assert len(used) == 2
    assert keeps_probabilities(LONGEST_HALF, half=True)
    assert not keeps_probabilities(LONGEST_HALF, half=False)
