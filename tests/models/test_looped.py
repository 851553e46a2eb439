"""The looped transformer in every shape against an independent forward pass, and its theorems."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.config import LoopedConfig
from models.counts import forward_flops
from models.shape import BlockCall
from tests.helpers.reference_transformer import SHAPES, V, build, reference, tokens


@pytest.fixture(params=SHAPES, ids=str)
def config(request):
    return SHAPES[request.param]


def test_every_loop_equals_the_reference(config):
    model, loops = build(config), config.loops + 1  # one more than it was built for
    batch = tokens()
    outputs = model(batch, loops)
    assert outputs.n_loops == config.states(loops)
    for row in range(len(batch)):
        states, logits = reference(model, batch[row], loops)
        for loop in range(1, outputs.n_loops + 1):
            found = (outputs.state(loop)[row], outputs.logits(loop)[row])
            for ours, theirs in zip(found, (states[loop - 1], logits[loop - 1]), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_causality_by_gradients(config):
    """∂ logits[t] / ∂ embedding[s] is zero for s > t, and only there."""
    model = build(config)
    batch = tokens(1)
    inputs = []
    outputs = model(
        batch,
        interventions=[
            ("embed", lambda x: inputs.append(x.detach().requires_grad_()) or inputs[0])
        ],
    )
    for t in range(batch.shape[1]):
        (gradient,) = torch.autograd.grad(
            outputs.logits()[0, t].square().sum(), inputs[0], retain_graph=True
        )
        reached = gradient[0].abs().sum(-1) > 0
        assert reached[: t + 1].all() and not reached[t + 1 :].any()


def test_right_padding_changes_nothing(config):
    model = build(config)
    batch = tokens()
    padded = torch.cat([batch, torch.zeros(3, 4, dtype=torch.long)], 1)
    torch.testing.assert_close(model(padded).logits()[:, :7], model(batch).logits())


def test_left_padding_with_mask_and_positions_changes_nothing(config):
    model = build(config)
    batch = tokens()
    padded = torch.cat([torch.zeros(3, 4, dtype=torch.long), batch], 1)
    positions = (torch.arange(11) - 4).clamp(min=0).expand(3, 11)
    outputs = model(padded, positions=positions, attention_mask=padded != 0)
    torch.testing.assert_close(outputs.logits()[:, 4:], model(batch).logits())
    wrong = model(padded).logits()[:, 4:]  # negative control: without mask and positions
    assert (wrong - model(batch).logits()).abs().max() > 1e-3


def test_selected_positions_are_the_same_logits(config):
    model = build(config, gate=True)
    outputs = model(tokens())
    at = (torch.tensor([0, 2, 2]), torch.tensor([6, 0, 3]))
    for loop in range(1, config.states() + 1):
        torch.testing.assert_close(outputs.logits(loop, at), outputs.logits(loop)[at])
    torch.testing.assert_close(outputs.exit_logits(at), outputs.exit_logits()[:, at[0], at[1]])


def test_capture_and_interventions(config):
    model = build(config)
    batch = tokens()
    names = [call.name for call in config.schedule()] + ["embed"]
    names += [f"state.loop.{t}" for t in range(1, config.states() + 1)]
    plain = model(batch, capture=names)
    assert set(plain.captured) == set(names)
    torch.testing.assert_close(plain.captured[f"state.loop.{config.states()}"], plain.states[-1])
    name = config.schedule()[-1].name
    replayed = model(batch.flip(0), interventions=[(name, lambda _: plain.captured[name])])
    torch.testing.assert_close(replayed.logits(), plain.logits())
    with pytest.raises(ValueError, match=r"no hook core\.9\.loop\.1"):
        model(batch, capture=["core.9.loop.1"])


def test_the_schedule_can_be_read():
    config = LoopedConfig(prelude=1, core=2, loops=2, coda=1)
    assert [call.name for call in config.schedule()] == [
        "prelude.0.loop.0",
        "core.0.loop.1",
        "core.1.loop.1",
        "core.0.loop.2",
        "core.1.loop.2",
    ]
    assert config.schedule(1)[-1] == BlockCall("core", 1, 1)
    assert config.label == "1+2⊗2+1" and LoopedConfig(core=6).label == "6⊗1"


def test_a_loop_is_a_deeper_model_with_shared_weights():
    """1⊗3 equals 3⊗1 with the same weights three times, where no norm lies between the loops."""
    looped = build(LoopedConfig(width=16, heads=2, loops=3, norm_between_loops=False))
    deep = build(LoopedConfig(width=16, heads=2, core=3, norm_between_loops=False))
    weights = looped.state_dict()
    for i in range(3):
        weights |= {k.replace("core.0.", f"core.{i}."): v for k, v in looped.state_dict().items()}
    deep.load_state_dict(weights)
    torch.testing.assert_close(looped(tokens()).logits(), deep(tokens()).logits())


def test_parameters_by_part_sum_to_the_tensors(config):
    for gate in (False, True):
        model = config.build(V, gate=gate, seed=0)
        counts = model.count_parameters()  # asserts its own sum
        unused = config.width * (1 if config.tied else 2)
        assert counts["total"] == sum(p.numel() for p in model.parameters()) - unused
        assert counts["core"] == sum(p.numel() for p in model.core.parameters())
    known = LoopedConfig(width=64, heads=2).build(52, gate=False, seed=0).count_parameters()
    assert known["total"] == 55_872


def test_flops_equal_those_torch_counts(config):
    model = config.build(V, gate=False, seed=0)
    batch = tokens()
    rows, columns = torch.tensor([0, 1, 2, 2]), torch.tensor([6, 5, 1, 2])
    for losses in {1, config.states()}:
        # torch does not count its fused CPU kernel, but counts the products it stands for
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            outputs = model(batch)
            for loop in range(config.states() - losses + 1, config.states() + 1):
                outputs.logits(loop, (rows, columns))
        assert counter.get_total_flops() == forward_flops(
            config, V, documents=3, context=7, predicted=4, losses=losses
        )


def test_bf16_stays_near_fp32(config):
    """Norms run in fp32 under autocast, so no kernel falls back with a warning.

    A router may choose another expert for a rounded state.
    """
    model = config.build(V, gate=True, seed=0)
    exact = model(tokens()).logits()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(tokens()).logits().float()
    assert rounded.isfinite().all()
    if config.mlp != "moe":
        error = (rounded - exact).pow(2).mean().sqrt() / exact.pow(2).mean().sqrt()
        assert 0 < error < 0.05  # 8 bits are 0.4 % a product, some thirty products deep


def test_the_seed_decides_the_weights():
    config = SHAPES["ouro"]
    first, again, other = (config.build(V, gate=True, seed=s).state_dict() for s in (3, 3, 4))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["core.0.mlp.up.weight"], other["core.0.mlp.up.weight"])


def test_impossible_shapes_name_both_numbers():
    with pytest.raises(ValueError, match="width 64 is no multiple of heads 5"):
        LoopedConfig(width=64, heads=5)
    with pytest.raises(ValueError, match="even head size"):
        LoopedConfig(width=6, heads=2)
    with pytest.raises(ValueError, match="n_loops must be 1 or more, got 0"):
        build(SHAPES["ouro"])(tokens(), 0)
    with pytest.raises(ValueError, match="loop 4 does not exist, this pass ran loops 1 to 3"):
        build(SHAPES["ouro"])(tokens()).logits(4)
    with pytest.raises(ValueError, match="no exit gate"):
        build(SHAPES["ouro"])(tokens()).exit_logits()
