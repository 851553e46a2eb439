"""Variants of the looped transformer: patterns, gradients, experts, sizes."""

import pytest
import torch

from models.config import LoopedConfig
from models.counts import count_parameters, forward_flops
from models.layers.mlp import MLP, MixtureOfExperts, imbalance
from models.sizes import SIZES
from tests.helpers.reference_transformer import SHAPES, V, build, tokens

SHAPE = {"width": 16, "heads": 2, "core": 2, "loops": 3}


@pytest.fixture(params=SHAPES, ids=str)
def config(request):
    return SHAPES[request.param]


def test_block_calls_are_counted(config):
    """Applications of core blocks: layers × loops, or 3 calls × 3 loops for [0, 1, 1]."""
    model, calls = build(config), []
    for block in model.core:
        block.register_forward_hook(lambda *_: calls.append(1))
    model(tokens())
    assert len(calls) == (9 if config.reuse == (0, 1, 1) else config.core * config.loops)
    assert len({call.name for call in config.schedule()}) == len(config.schedule())


def test_recomputing_equals_keeping_in_loss_and_every_gradient(config):
    model = build(config)

    def gradients(**options):
        outputs = model(tokens(), **options)
        loss = sum(state.square().sum(-1).cos().mean() for state in outputs.states)
        if (uneven := outputs.read_imbalance()) is not None:
            loss = loss + uneven
        model.zero_grad()
        loss.backward()
        return loss, [p.grad for p in model.parameters() if p.grad is not None]

    (kept, kept_gradients), (again, gradients_again) = gradients(), gradients(recompute=True)
    assert torch.equal(kept, again)
    for a, b in zip(kept_gradients, gradients_again, strict=True):
        assert torch.equal(a, b)


def test_recomputing_keeps_less():
    """Saved tensors outside the blocks grow with the loops, those inside do not."""
    model = LoopedConfig(width=16, heads=2, core=4).build(V, gate=False, seed=0)

    def saved(loops, recompute):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: kept.append(x.numel()), lambda x: x
        ):
            model(tokens(), loops, recompute=recompute).logits()
        return sum(kept)

    def growth(recompute):
        return saved(6, recompute) - saved(3, recompute)

    assert growth(True) < growth(False) / 20


def test_backpropagation_through_the_last_loops_alone():
    model = build(LoopedConfig.model_validate({**SHAPE, "injection": "add"}))
    loss = model(tokens(), backprop_loops=1).logits().square().mean()
    found = torch.autograd.grad(loss, list(model.core.parameters()))
    before = model(tokens()).states[1].detach()
    names = [("state.loop.2", lambda _: before)]
    cut = model(tokens(), interventions=names).logits().square().mean()
    expected = torch.autograd.grad(cut, list(model.core.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    whole = model(tokens(), backprop_loops=3).logits().square().mean()
    plain = model(tokens()).logits().square().mean()
    for a, b in zip(
        *(torch.autograd.grad(x, [*model.parameters()]) for x in (whole, plain)), strict=True
    ):
        assert torch.equal(a, b)


def test_a_zero_start_is_the_identity():
    for norm in ("pre", "sandwich"):
        model = LoopedConfig(width=16, heads=2, norm=norm, zero_init=True).build(
            V, gate=False, seed=0
        )
        captured = model(tokens(), capture=["embed", "core.0.loop.1"]).captured
        assert torch.equal(captured["embed"], captured["core.0.loop.1"])


@pytest.mark.parametrize("k", [1, 2])
def test_every_token_goes_through_its_k_likeliest_experts(k):
    config = LoopedConfig(width=16, heads=2, mlp="moe", experts=4, experts_per_token=k)
    torch.manual_seed(0)
    mixture, x, told = MixtureOfExperts(config), torch.randn(2, 5, 16), []
    y = mixture(x, told.append)
    (routing,) = told
    for b in range(2):
        for t in range(5):
            p = (mixture.router.weight @ x[b, t]).softmax(0)
            best = p.argsort(descending=True)[:k]
            assert routing.chosen[b, t].tolist() == best.tolist()
            weight = p[best] if k == 1 else p[best] / p[best].sum()
            expected = sum(
                w * mixture.experts[i](x[b, t]) for w, i in zip(weight, best.tolist(), strict=True)
            )
            torch.testing.assert_close(y[b, t], expected, rtol=1e-4, atol=1e-6)
    used = torch.ones(2, 5, dtype=torch.bool)
    used[1, 3:] = False
    counts = torch.zeros(4)
    for i in routing.chosen[used].flatten().tolist():
        counts[i] += 1
    assert counts.sum() == 8 * k, "8 tokens count, each with k choices"
    expected = 4 * (counts / (8 * k) * routing.probability[used].mean(0)).sum()
    torch.testing.assert_close(imbalance(routing, used), expected)


def test_an_even_use_of_experts_has_imbalance_one_and_one_expert_is_the_mlp():
    config = LoopedConfig(width=16, heads=2, mlp="moe", experts=4)
    mixture, told = MixtureOfExperts(config), []
    torch.nn.init.zeros_(mixture.router.weight)
    mixture(torch.randn(2, 5, 16), told.append)
    used = torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(imbalance(told[0], used), torch.tensor(1.0))
    one = MixtureOfExperts(config.model_copy(update={"experts": 1}))
    mlp, x = MLP(config), torch.randn(2, 5, 16)
    mlp.load_state_dict(one.experts[0].state_dict())
    torch.testing.assert_close(one(x), mlp(x))


def test_active_parameters_leave_out_the_experts_a_token_does_not_use():
    config = LoopedConfig(width=16, heads=2, mlp="moe", experts=4, experts_per_token=1)
    total = count_parameters(config, V, gate=False)["total"]
    active = count_parameters(config, V, gate=False, active=True)["total"]
    assert total - active == 3 * 3 * 16 * config.hidden
    plain = LoopedConfig(width=16, heads=2)
    assert count_parameters(plain, V, gate=True) == count_parameters(
        plain, V, gate=True, active=True
    )


def test_patterns_are_those_of_virtual_logical_depth():
    def layers(reuse):
        config = LoopedConfig(core=2, loops=2, reuse=reuse)
        return [call.layer for call in config.schedule()], config.states()

    assert layers("cycle") == ([0, 1, 0, 1], 2)
    assert layers("sequence") == ([0, 0, 1, 1], 1)
    assert layers((0, 1, 1)) == ([0, 1, 1, 0, 1, 1], 2)
    same = LoopedConfig(core=2, loops=1, reuse=(0, 0, 1, 1))
    assert [c.name for c in same.schedule()] == [
        c.name for c in LoopedConfig(core=2, loops=2, reuse="sequence").schedule()
    ]


@pytest.mark.parametrize("name", SIZES)
def test_named_sizes_are_what_they_say(name):
    config = LoopedConfig.model_validate({"size": name})
    told = float(name[:-1]) * {"k": 1e3, "M": 1e6}[name[-1]]
    assert count_parameters(config, 2, gate=False)["core"] == pytest.approx(told, rel=0.1)
    wider = LoopedConfig.model_validate({"size": name, "core": 9})
    assert (wider.core, wider.width) == (9, SIZES[name].width)


def test_training_flops_follow_what_is_differentiated():
    config = LoopedConfig.model_validate(SHAPE)
    size = {"documents": 2, "context": 5, "predicted": 3}
    size |= {"n_loops": 3, "losses": 1}

    def flops(**options):
        return config.training_flops(V, **size, gate=True, **options)

    forward = forward_flops(config, V, **size, gate=True)
    assert flops() == flops(backprop_loops=3) == 3 * forward
    fewer = forward_flops(config, V, **{**size, "n_loops": 2}, gate=False)
    one_loop = forward_flops(config, V, **size) - fewer
    assert flops(backprop_loops=2) == 3 * forward - 2 * one_loop
    assert flops(frozen=True) == forward + 2 * 2 * 16 * 3 * 3


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mlp": "moe", "experts": 1, "experts_per_token": 2}, "experts_per_token 2 .* experts: 1"),
        ({"positions": "learned"}, "positions learned needs context"),
        ({"positions": "rope-quarter", "width": 8}, "rope-quarter .* width 8 / heads 2"),
        ({"reuse": "sequence", "injection": "add"}, "injection add .* reuse sequence"),
        ({"reuse": "sequence", "loop_embedding": "learned"}, "loop_embedding .* reuse sequence"),
        ({"reuse": [0, 2], "core": 2}, r"reuse \[0, 2\] .* core's 2 layers"),
        ({"size": "50m"}, "no size 50m .did you mean 50k"),
    ],
)
def test_impossible_combinations_name_both_settings(fields, says):
    with pytest.raises(ValueError, match=says):
        LoopedConfig.model_validate(fields)


def test_impossible_passes_say_why():
    learned = build(LoopedConfig(width=16, loop_embedding="learned", loops=2))
    with pytest.raises(ValueError, match="n_loops 3 is more than the 2 loop_rows"):
        learned(tokens(), 3)
    with pytest.raises(ValueError, match="reach 7, but context is 5"):
        build(LoopedConfig(width=16, positions="learned", context=5))(tokens())
    with pytest.raises(ValueError, match="backprop_loops must be 1 or more, got 0"):
        learned(tokens(), backprop_loops=0)
    with pytest.raises(ValueError, match="backprop_loops needs loops .* reuse is sequence"):
        build(LoopedConfig(width=16, reuse="sequence"))(tokens(), backprop_loops=1)
