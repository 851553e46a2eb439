"""Gradients written out, against those that autograd finds for the plain forms."""

import pytest
import torch
from torch import Tensor, nn

from models.config import LoopedConfig
from models.fast.fused import FusedRMSNorm, HeadAngles, Rotation
from models.fast.layers import FAST
from models.layers.block import Layers
from models.looped import LoopedTransformer
from models.positions import rotary_angles, rotate
from tests.helpers.reference_transformer import SHAPES, V, tokens


def draw(*shape: int) -> Tensor:
    rng = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=rng, dtype=torch.float64).requires_grad_()


def double(positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    cos, sin = rotary_angles(positions, size, 100.0)
    return cos.double(), sin.double()


def test_gradients_equal_finite_differences() -> None:
    x, weight = draw(2, 3, 8), draw(8)
    assert torch.autograd.gradcheck(lambda x, w: FusedRMSNorm.apply(x, w, 1e-2), (x, weight))
    angles = HeadAngles.of(double(torch.arange(3), 6), draw(2, 3, 16), heads=2)
    assert torch.autograd.gradcheck(lambda x: Rotation.apply(x, angles), (draw(2, 3, 16),))


def test_values_equal_the_plain_forms() -> None:
    x, weight = draw(2, 3, 8), draw(8)
    plain = nn.functional.rms_norm(x, (8,), weight, 1e-6)
    torch.testing.assert_close(FusedRMSNorm.apply(x, weight, 1e-6), plain, rtol=1e-13, atol=1e-13)
    x = draw(2, 4, 3 * 8)
    apart = x.view(2, 4, 3, 8).transpose(1, 2)
    of_each = torch.tensor([[0, 1, 2, 3], [5, 0, 9, 2]])
    for size, positions in ((8, torch.arange(4)), (4, torch.arange(4)), (6, of_each)):
        table = double(positions, size)
        plain = rotate(apart, table if positions.dim() == 1 else tuple(t[:, None] for t in table))
        turned = Rotation.apply(x, HeadAngles.of(table, x, heads=3))
        torch.testing.assert_close(turned.view(2, 4, 3, 8).transpose(1, 2), plain)


@pytest.mark.parametrize("name", SHAPES)
def test_loss_and_gradients_equal_those_of_the_plain_layers(name: str) -> None:
    # narrower states and more loops amplify the rounding of fp32
    shape = SHAPES[name].model_copy(update={"width": 32, "loops": 2})
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        found = []
        for layers, training in ((FAST, True), (Layers(), True), (FAST, False)):
            model = LoopedTransformer(shape, V, layers=layers).to(dtype).train(training)
            loss = model(tokens()).logits().log_softmax(-1)[..., 3].mean()
            loss.backward()
            found.append([loss.detach(), *(p.grad for p in model.parameters())])
        for plain in found[1:]:
            for fast, value in zip(found[0], plain, strict=True):
                assert (fast - value).norm() <= tolerance * value.norm().clamp(min=0.01)


def test_evaluation_and_no_gradients_use_the_plain_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LoopedConfig(width=8, heads=2).build(11, gate=False, seed=0)
    used: list[int] = []
    apply = FusedRMSNorm.apply
    monkeypatch.setattr(FusedRMSNorm, "apply", lambda *a: used.append(1) or apply(*a))
    tokens = torch.ones(1, 3, dtype=torch.int64)
    model.eval()(tokens)
    with torch.no_grad():
        model.train()(tokens)
    assert not used
    model(tokens)
    assert len(used) == 5
