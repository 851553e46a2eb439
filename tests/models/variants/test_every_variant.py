"""What every variant promises: counts, masks, exits, caches, fast paths, growth, a golden step."""

from typing import Any

import pytest
import torch
from golden_step import TOLERANCE, golden_step
from reference_transformer import V, build, tokens
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from variant_shapes import FIELDS, variant

from experiments.export.huggingface import config_of
from models.conversion.growth import grow
from models.conversion.interop import ouro_tensors
from models.counts import forward_flops
from models.decoding.cache import CacheSettings
from models.decoding.exit_rules import AllLoops, QuantileExit, StateDifference, StaticExit
from models.decoding.generation import generate
from models.fast.layers import FAST
from models.layers.block import Layers

#: loss in nats before and after one step, by `golden_step`
GOLDEN = {
    "film": (2.40672, 2.3809),
    "lora": (2.38692, 2.37605),
    "hyper-connections": (2.39131, 2.3915),
    "disco-loop": (2.38984, 2.39452),
    "memory-tokens": (2.39211, 2.36155),
    "first-keys": (2.42869, 2.39127),
}

#: variants that have the weights of the plain model
WITHOUT_PARTS = {"first-keys"}


@pytest.fixture(params=FIELDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_causality_by_gradients(kind: str) -> None:
    model, batch = build(variant(kind)), tokens(1)
    inputs: list[Tensor] = []

    def kept(x: Tensor) -> Tensor:
        inputs.append(x.detach().requires_grad_())
        return inputs[0]

    outputs = model(batch, interventions=[("embed", kept)])
    for t in range(batch.shape[1]):
        (gradient,) = torch.autograd.grad(
            outputs.logits()[0, t].square().sum(), inputs[0], retain_graph=True
        )
        reached = gradient[0].abs().sum(-1) > 0
        assert reached[: t + 1].all() and not reached[t + 1 :].any()


def test_padding_on_either_side_changes_nothing(kind: str) -> None:
    model, batch, pad = build(variant(kind)), tokens(), torch.zeros(3, 4, dtype=torch.long)
    right, left = torch.cat((batch, pad), 1), torch.cat((pad, batch), 1)
    wanted = model(batch).logits()
    torch.testing.assert_close(model(right).logits()[:, :7], wanted)
    positions = (torch.arange(11) - 4).clamp(min=0).expand(3, 11)
    found = model(left, positions=positions, attention_mask=left != 0).logits()[:, 4:]
    torch.testing.assert_close(found, wanted)


def test_hooks_see_and_replace_every_state(kind: str) -> None:
    config = variant(kind)
    model, names = build(config), config.hook_names()
    names -= {name for name in names if name.startswith("coda")}
    plain = model(tokens(), capture=names)
    assert set(plain.captured) == names
    assert all(x.shape == (3, 7, 16) for x in plain.captured.values())
    changed = model(tokens(), interventions=[("core.1.loop.2", lambda x: x + 0.1 * x.cos())])
    assert torch.equal(changed.state(1), plain.state(1))
    assert (changed.state(2) - plain.state(2)).abs().max() > 1e-3


def test_parameters_by_part_sum_to_the_tensors(kind: str) -> None:
    config = variant(kind)
    for gate in (False, True):
        model = config.build(V, gate=gate, seed=0)
        counts = model.count_parameters()  # asserts its own sum against the tensors
        assert counts == config.count_parameters(V, gate=gate)
        assert sum(n for part, n in counts.items() if part != "total") == counts["total"]
        own = config.extra_parameters()
        assert all(counts[part] > 0 for part in own)
        assert len(own) == (kind not in WITHOUT_PARTS)


def test_flops_equal_those_torch_counts(kind: str) -> None:
    config = variant(kind)
    model, at = config.build(V, gate=False, seed=0).eval(), (torch.zeros(2).long(), torch.arange(2))

    def counted(documents: int, loops: int) -> int:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(tokens(documents), loops).logits(at=at)
        return counter.get_total_flops()

    size: dict[str, Any] = {"context": 7, "predicted": 2}
    for loops in (1, 3):
        one = forward_flops(config, V, documents=1, n_loops=loops, **size)
        assert counted(1, loops) == one
        three = forward_flops(config, V, documents=3, n_loops=loops, **size)
        once = config.extra_flops(V, 0, loops) if kind == "memory-tokens" else 0
        # what is the same for all documents is computed once and counted for each
        assert counted(3, loops) == three - 2 * once
    training = {"documents": 1, "context": 7, "predicted": 2, "losses": 1, "gate": False}
    whole = config.training_flops(V, n_loops=3, **training)
    assert whole == 3 * forward_flops(config, V, documents=1, n_loops=3, **size)
    last = config.training_flops(V, n_loops=3, backprop_loops=2, **training)
    first = config._loop_flops(V, 7, 1)
    assert whole - last == 2 * first > 0


@pytest.mark.parametrize(
    "rule",
    [AllLoops(), StaticExit(loop=2), QuantileExit(q=0.6), StateDifference(epsilon=0)],
    ids=lambda rule: rule.kind,
)
def test_cached_decoding_equals_uncached_under_every_exit(kind: str, rule: Any) -> None:
    model = build(variant(kind), gate=True).eval()
    with torch.no_grad():
        model.head.weight.mul_(0.3)
    prompts = torch.tensor([[0, 0, 4, 9, 2, 7], [3, 1, 5, 8, 6, 2], [0, 0, 0, 0, 0, 5]])
    if isinstance(rule, StateDifference):  # half of the tokens leave after the second loop
        one, two = model(prompts, 2).states
        rule = StateDifference(epsilon=(two - one).norm(dim=-1).median().item())
    given = {"attention_mask": prompts != 0, "exit_rule": rule, "keep_logits": True}
    wanted = generate(model, prompts, 5, cache=None, **given)
    for settings in (CacheSettings(), CacheSettings(prefill="serial")):
        found = generate(model, prompts, 5, cache=settings, **given)
        assert torch.equal(found.tokens, wanted.tokens)
        assert torch.equal(found.exit_loop, wanted.exit_loop)
        assert found.logits is not None and wanted.logits is not None
        torch.testing.assert_close(found.logits, wanted.logits, rtol=0, atol=1e-12)
    if isinstance(rule, QuantileExit | StateDifference):
        assert len(set(wanted.exit_loop.flatten().tolist())) > 1, "no token left at another loop"


@pytest.mark.parametrize("sharing", ["last-loop", "first-loop", "average"])
def test_shared_caches_decode(kind: str, sharing: str) -> None:
    """Under the serial rule, a prompt read at once or as new tokens is the same."""
    model = build(variant(kind)).eval()
    settings = CacheSettings.model_validate({"sharing": sharing, "prefill": "serial"})
    first = generate(model, tokens()[:, :4], 3, cache=settings, keep_logits=True)
    longer = torch.cat((tokens()[:, :4], first.tokens[:, :1]), 1)
    again = generate(model, longer, 2, cache=settings, keep_logits=True)
    assert first.logits is not None and again.logits is not None
    torch.testing.assert_close(first.logits[:, 1:], again.logits)


CACHES = [
    (s, p) for s in ("full", "last-loop", "first-loop", "average") for p in ("full", "serial")
]


@pytest.mark.parametrize(
    ("sharing", "prefill"), [*CACHES, ("full", "shared"), ("first-loop", "shared")]
)
def test_keys_of_the_first_loop_make_every_cache_exact(sharing: str, prefill: str) -> None:
    settings = CacheSettings.model_validate({"sharing": sharing, "prefill": prefill})
    prompts, given = tokens()[:, :4], {"exit_rule": QuantileExit(q=0.6), "keep_logits": True}
    size = {}
    for kind, exact in (("first-keys", True), ("film", sharing == "full" and prefill != "shared")):
        model = build(variant(kind), gate=True).eval()
        wanted = generate(model, prompts, 4, cache=None, **given)
        found = generate(model, prompts, 4, cache=settings, **given)
        assert found.logits is not None and wanted.logits is not None
        assert torch.allclose(found.logits, wanted.logits, rtol=0, atol=1e-9) == exact, kind
        size[kind] = found.cache_bytes
    assert size["first-keys"] == size["film"], "a cache is as large whatever model fills it"


def gradients(model: Any, loss_of: Any) -> list[Tensor]:
    model.zero_grad()
    loss = loss_of(model)
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def test_what_is_read_alone_is_what_a_whole_pass_says(kind: str) -> None:
    model, at = build(variant(kind)), (torch.tensor([0, 1, 2, 2]), torch.tensor([6, 5, 1, 4]))

    def loss(model: Any, **options: Any) -> Tensor:
        return model(tokens(), **options).logits(at=at).log_softmax(-1)[:, 3].mean()

    whole = gradients(model, loss)
    alone = gradients(model, lambda m: loss(m, read=at))
    again = gradients(model, lambda m: loss(m, recompute=True))
    for ours, theirs in zip(alone, whole, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert all(torch.equal(a, b) for a, b in zip(again, whole, strict=True))


def test_fast_layers_equal_plain_ones(kind: str) -> None:
    config = variant(kind)
    fast, plain = build(config, layers=FAST).train(), build(config, layers=Layers()).train()

    def loss(model: Any) -> Tensor:
        return model(tokens()).logits().log_softmax(-1)[..., 3].mean()

    for ours, theirs in zip(gradients(fast, loss), gradients(plain, loss), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    rounded = config.build(V, gate=True, seed=0)
    exact = rounded(tokens()).logits()
    with torch.autocast("cpu", torch.bfloat16):
        half = rounded(tokens()).logits().float()
    assert 0 < (half - exact).pow(2).mean().sqrt() / exact.pow(2).mean().sqrt() < 0.05


def test_a_core_grows_by_copies_of_its_layers_with_what_they_hold(kind: str) -> None:
    config = variant(kind, loop_rows=4)
    grown = grow(model := build(config).float(), loops=3)
    assert type(grown) is type(model) and grown.config.core == 4
    assert grown.config == config.model_copy(update={"core": 4, "loop_rows": config.loop_limit})
    for new in range(4):
        weights = model.core[new % 2].state_dict()
        for name, tensor in grown.core[new].state_dict().items():
            assert torch.equal(tensor, weights[name])
    kept = [n for n, _ in model.named_parameters() if not n.startswith("core.")]
    assert all(torch.equal(grown.get_parameter(n), model.get_parameter(n)) for n in kept)


def test_a_golden_step(kind: str) -> None:
    assert golden_step(variant(kind)) == pytest.approx(GOLDEN[kind], abs=TOLERANCE)


def test_formats_that_cannot_say_it_refuse(kind: str) -> None:
    model = build(variant(kind))
    with pytest.raises(ValueError, match=f"the exported code has no kind {kind}"):
        config_of(model)
    with pytest.raises(ValueError, match=f"kind is {kind}, needs looped"):
        ouro_tensors(model)


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("film", {"reuse": "sequence"}, "kind film tells loops apart; with reuse sequence"),
        ("film", {"rank": 3}, "rank\n  Extra inputs are not permitted"),
        ("lora", {"reuse": "sequence"}, "kind lora tells loops apart; with reuse sequence"),
        ("lora", {"mlp": "moe"}, "kind lora adapts one MLP; mlp moe has several"),
        ("lora", {"rank": 0}, "rank\n  Input should be greater than or equal to 1"),
        ("hyper-connections", {"norm_between_loops": True}, "norm_between_loops false"),
        ("hyper-connections", {"reuse": "sequence", "injection": "none"}, "lies between loops"),
        ("hyper-connections", {"streams": 1}, "streams\n  Input should be greater than or equal"),
        ("disco-loop", {"reuse": "sequence"}, "kind disco-loop lies between loops"),
        ("disco-loop", {"temperature": 0}, "temperature\n  Input should be greater than 0"),
        ("memory-tokens", {"coda": 1}, "kind memory-tokens with coda"),
        ("memory-tokens", {"memory": 0}, "memory\n  Input should be greater than or equal to 1"),
        ("memory-tokens", {"memory": 4097}, "memory\n  Input should be less than or equal to 4096"),
    ],
)
def test_what_a_variant_does_not_go_with_is_refused(
    kind: str, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        variant(kind, **changes)


@pytest.mark.parametrize("kind", ["film", "lora"])
def test_loops_without_weights_of_their_own_are_refused(kind: str) -> None:
    config = variant(kind, loop_rows=None)
    assert config.loop_limit == 3 and variant(kind).loop_limit == 4
    with pytest.raises(ValueError, match=f"n_loops 4 is more than the 3 loop_rows of kind {kind}"):
        build(config)(tokens(), 4)
