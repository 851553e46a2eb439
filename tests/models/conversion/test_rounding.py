"""Weights on a grid: against a search over the grid, and nothing left behind."""

import numpy as np
import pytest
import torch
from torch import nn

from models.config import LoopedConfig
from models.conversion.rounding import rounded, rounded_weights


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_every_weight_goes_to_the_nearest_point_of_its_rows_grid(bits: int) -> None:
    weight = torch.randn(5, 17, generator=torch.Generator().manual_seed(bits)) * torch.tensor(
        [[1e-3], [1.0], [3.0], [0.0], [1e4]]
    )
    found = rounded(weight, bits).double().numpy()
    for before, after in zip(weight.double().numpy(), found, strict=True):
        largest = np.abs(before).max()
        levels = 2 ** (bits - 1) - 1
        grid = np.arange(-levels, levels + 1) * largest / levels
        nearest = grid[np.abs(before[:, None] - grid).argmin(1)]
        assert after == pytest.approx(nearest, rel=1e-5, abs=1e-6 * largest)
        assert len(np.unique(after)) <= 2**bits - 1
        assert np.abs(after).max() == pytest.approx(largest)


def test_rounding_again_changes_nothing_and_one_bit_is_refused() -> None:
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    once = rounded(weight, 4)
    assert torch.allclose(rounded(once, 4), once, rtol=1e-6)
    with pytest.raises(ValueError, match="2 or more bits, got 1"):
        rounded(weight, 1)


def test_a_model_is_bit_for_bit_what_it_was() -> None:
    config = LoopedConfig(width=16, core=2, loops=2, tied=True, mlp="moe", loop_embedding="learned")
    model = config.build(23, gate=True, seed=0)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(KeyError), rounded_weights(model, 4):
        for name, weight in model.named_parameters():
            changed = not torch.equal(weight, before[name])
            assert changed == (weight.dim() == 2 and not name.startswith("gate.")), name
        assert model.head.weight is model.embedding.weight
        raise KeyError
    after = model.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_the_error_shrinks_with_every_bit() -> None:
    layer = nn.Linear(64, 64)
    x = torch.randn(100, 64, generator=torch.Generator().manual_seed(1))
    right, errors = layer(x), []
    for bits in (4, 6, 8, 10):
        with rounded_weights(layer, bits):
            errors.append(float((layer(x) - right).square().mean().sqrt().detach()))
    assert all(3.5 < a / b < 4.8 for a, b in zip(errors, errors[1:], strict=False)), errors
