"""Growth: what is copied, and what stays exactly as it was."""

import pytest
import torch

from models.config import LoopedConfig
from models.conversion.growth import grow, growth_mapping

V = 9
TOKENS = torch.randint(1, V, (2, 5), generator=torch.Generator().manual_seed(1))


def build(**fields):
    return LoopedConfig(width=16, heads=2, **fields).build(V, gate=True, seed=2)


def test_stacking_and_halving_the_loops_changes_nothing_without_norms_between():
    """2⊗4 and 4⊗2 apply the same eight blocks in the same order."""
    model = build(core=2, loops=4, prelude=1, coda=1, norm_between_loops=False)
    grown = grow(model, "stack", loops=2)
    assert grown.config.label == "1+4⊗2+1"
    assert torch.equal(grown(TOKENS).logits(), model(TOKENS).logits())
    assert torch.equal(grown(TOKENS).logits(1), model(TOKENS).logits(2))
    interleaved = grow(model, "interleave", loops=2)  # another order
    assert (interleaved(TOKENS).logits() - model(TOKENS).logits()).abs().max() > 1e-3


def test_a_norm_between_the_loops_is_lost():
    model = build(core=2, loops=4)
    with torch.no_grad():
        model.final_norm.weight.mul_(0.5)
    difference = grow(model, loops=2)(TOKENS).logits() - model(TOKENS).logits()
    assert difference.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("mapping", "origin"), [("stack", (0, 1, 0, 1)), ("interleave", (0, 0, 1, 1))]
)
def test_every_layer_is_the_copy_the_mapping_names(mapping, origin):
    assert growth_mapping(2, 2, mapping) == origin
    model = build(core=2, loops=2, loop_embedding="learned")
    grown = grow(model, mapping)
    for new, old in enumerate(origin):
        weights = model.core[old].state_dict()
        for name, tensor in grown.core[new].state_dict().items():
            assert torch.equal(tensor, weights[name])
    assert torch.equal(grown.embedding.weight, model.embedding.weight)
    with torch.no_grad():  # copies, no views
        grown.core[0].mlp.up.weight.zero_()
    assert model.core[0].mlp.up.weight.abs().sum() > 0


def test_impossible_growth_names_the_setting():
    with pytest.raises(ValueError, match="factor of 2 or more, got 1"):
        grow(build(core=2), factor=1)
    with pytest.raises(ValueError, match=r"growth cannot go with reuse \[0, 1, 1\]"):
        grow(build(core=2, reuse=(0, 1, 1)))
