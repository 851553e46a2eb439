"""What is computed only where it is read, against the pass that computes everything."""

from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.config import LoopedConfig
from models.fast.sparse_queries import SparseQueries
from models.looped import LoopedTransformer
from models.objectives.act import ACT
from models.objectives.entropy import Entropy
from models.objectives.gate import Gate
from models.objectives.last_loop import LastLoop
from models.objectives.objective import Objective
from models.outputs import Positions

B, T, V = 5, 8, 13
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one-loop": {"core": 1, "loops": 1},
    "pre-gelu-tied": {"norm": "pre", "mlp": "gelu", "tied": True, "norm_between_loops": False},
    "coda": {"coda": 2, "core": 1},
    "prelude-coda": {"prelude": 1, "coda": 1},
    "sequence": {"reuse": "sequence"},
    "order": {"reuse": (0, 1, 0)},
    "concat": {"injection": "concat", "prelude": 1},
    "learned-loops": {"loop_embedding": "learned"},
    "experts": {"mlp": "moe", "experts": 3},
    "experts-coda": {"mlp": "moe", "experts": 3, "coda": 1},
    "learned": {"positions": "learned", "context": T},
    "post-qk": {"norm": "post", "qk_norm": True, "layer_scale": 0.5},
    "deepnorm-coda": {"norm": "deepnorm", "coda": 1},
    "residual-scale": {"residual_scale": 2.0, "norm": "pre", "norm_between_loops": False},
    "quarter": {"positions": "rope-quarter", "heads": 1},
}
#: how many tokens chose an expert, and whether positions are within those learned, is asked
ASKING = ("experts", "experts-coda", "learned")
OBJECTIVES: dict[str, Objective] = {
    "last_loop": LastLoop(),
    "entropy": Entropy(),
    "act": ACT(),
    "gate": Gate(sharpness=5.0),  # 50 times the rounding of a loss would be too much in fp32
}
#: selected positions: one a document, several in disorder, a document without, nearly all, all
SELECTED: dict[str, list[tuple[int, int]]] = {
    "one": [(0, 7), (1, 5), (2, 7), (3, 0), (4, 6)],
    "some": [(4, 6), (0, 1), (0, 7), (0, 2), (2, 0), (4, 3)],
    "most": [(row, column) for row in range(B) for column in range(1, T)],
    "all": [(row, column) for row in range(B) for column in range(T)],
}


def cases(variants: Iterable[str], selected: Iterable[str]) -> list[Any]:
    """Every variant, objective and selection; what differs from others in two of them is slow.

    By default every variant meets every selection with the objective that reads every loop and the
    gate, and every objective meets every selection without a coda and with one.
    """
    return [
        pytest.param(
            variant,
            kind,
            name,
            marks=() if kind == "entropy" or variant in ("plain", "coda") else pytest.mark.slow,
        )
        for variant, kind, name in product(variants, OBJECTIVES, selected)
        # the gate compares loops; there is one state
        if not (kind == "gate" and variant in ("sequence", "one-loop"))
    ]


def positions(name: str) -> Positions:
    row, column = torch.tensor(SELECTED[name]).T
    return row.contiguous(), column.contiguous()


def build(fields: dict[str, Any], objective: Objective, dtype: torch.dtype) -> LoopedTransformer:
    """With no parameter at zero or one."""
    shape = {"width": 16, "heads": 2, "core": 2, "loops": 3} | fields
    model = LoopedConfig.model_validate(shape).build(V, gate=objective.uses_gate, seed=1)
    model.halting = objective.halting
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
    return model.to(dtype)


def loss_and_gradients(
    model: LoopedTransformer, objective: Objective, at: Positions, **options: Any
) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(5)
    tokens = torch.randint(1, V, (B, T), generator=rng)
    targets = torch.randint(1, V, (len(at[0]),), generator=rng)
    model.zero_grad()
    outputs = model(tokens, **options)
    loss = objective.loss(outputs, at, targets).total
    if (imbalance := outputs.read_imbalance()) is not None:
        loss = loss + imbalance
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach()} | gradients


def same(found: dict[str, torch.Tensor], plain: dict[str, torch.Tensor], tolerance: float) -> None:
    """Within a share of each norm; of those a hundred times below the largest, of that."""
    assert found.keys() == plain.keys()
    least = 0.01 * max(float(value.norm()) for value in plain.values())
    for name in plain:
        error = (found[name] - plain[name]).norm() / plain[name].norm().clamp(min=least)
        assert error < tolerance, (name, float(error))


@pytest.mark.parametrize(("variant", "kind", "selected"), cases(VARIANTS, ("one", "some", "most")))
def test_loss_and_gradients_are_those_of_a_whole_pass(
    variant: str, kind: str, selected: str
) -> None:
    objective, at = OBJECTIVES[kind], positions(selected)
    precisions = ((torch.float64, 1e-12), (torch.float32, 1e-5))
    for dtype, tolerance in precisions if selected == "one" else precisions[:1]:
        model = build(VARIANTS[variant], objective, dtype)
        plain = loss_and_gradients(model, objective, at)
        same(loss_and_gradients(model, objective, at, read=at), plain, tolerance)


@pytest.mark.parametrize(
    "options",
    [
        {"backprop_loops": 1},
        {"recompute": True},
        {"recompute": True, "backprop_loops": 2},
        {"positions": torch.arange(B * T).view(B, T) % 11},
        {"attention_mask": torch.arange(T) >= torch.tensor([0, 2, 1, 0, 3])[:, None]},
        {"capture": ("core.1.loop.3",)},
        {"interventions": [("core.1.loop.3", lambda x: 2 * x)]},
        {"n_loops": 5},
    ],
    ids=lambda options: "-".join(options),
)
@pytest.mark.parametrize("coda", [0, 1])
def test_whatever_else_is_asked_of_the_pass(options: dict[str, Any], coda: int) -> None:
    at = positions("one")
    model = build({"coda": coda, "injection": "add"}, LastLoop(), torch.float64)
    plain = loss_and_gradients(model, LastLoop(), at, **options)
    same(loss_and_gradients(model, LastLoop(), at, read=at, **options), plain, 1e-12)


def flops(fields: dict[str, Any], read: Positions | None, at: Positions) -> int:
    model = build(fields, LastLoop(), torch.float32)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.ones(B, T, dtype=torch.int64), read=read).logits(at=at)
    return counter.get_total_flops()


def test_only_what_is_read_is_computed() -> None:
    """At 35 of 40 tokens, keys and values are all that is left of one block."""
    at = (torch.tensor([0, 1, 2, 3, 4]), torch.tensor([7, 7, 2, 7, 7]))
    for fields in ({"core": 1, "loops": 1}, {"core": 1, "loops": 3}, {"coda": 1}):
        whole, part = flops(fields, None, at), flops(fields, at, at)
        D, hidden = 16, 8 * 16 // 3
        # queries and output, three matrices of the MLP, scores and what they weigh
        block = 2 * B * (T - 1) * (2 * D * D + 3 * D * hidden + 2 * T * D)
        assert whole - part == block
    assert flops({"mlp": "moe"}, at, at) == flops({"mlp": "moe"}, None, at)
    everything = positions("all")
    assert flops({}, everything, everything) == flops({}, None, everything)


def test_states_are_those_of_the_positions() -> None:
    at = positions("some")
    model = build({}, Entropy(), torch.float64)
    tokens = torch.ones(B, T, dtype=torch.int64)
    whole, part = model(tokens), model(tokens, read=at)
    for loop in (1, 2, 3):
        torch.testing.assert_close(part.state(loop), whole.state(loop)[at])
        torch.testing.assert_close(part.logits(loop), whole.logits(loop)[at])
    torch.testing.assert_close(part.exit_logits(at), whole.exit_logits(at))
    with pytest.raises(ValueError, match="positions of its `read` alone"):
        part.logits(at=positions("some"))


def test_queries_are_packed_in_the_order_asked_for() -> None:
    at = positions("some")
    reading = SparseQueries.of(at, B, T, None, None, torch.device("cpu"))
    assert reading is not None
    x = torch.arange(B * T, dtype=torch.float32).view(B, T, 1)
    queries = reading.gather(x)
    assert queries.shape == (B, 3, 1)
    assert torch.equal(reading.select(queries), x[at])
    assert reading.mask.shape == (B, 1, 3, T)
    seen = reading.mask[:, 0].flatten(0, 1)[reading.place].sum(-1)
    assert torch.equal(seen, at[1] + 1)
    assert SparseQueries.of(positions("most"), B, T, None, None, torch.device("cpu")) is None
    nothing = (torch.zeros(0, dtype=torch.int64),) * 2
    assert SparseQueries.of(nothing, B, T, None, None, torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("variant", "kind", "selected"),
    cases([name for name in VARIANTS if name not in ASKING], ("some", "all")),
)
def test_a_step_never_waits_to_learn_a_value(variant: str, kind: str, selected: str) -> None:
    """On a device whose tensors have no values, where asking for one is an error."""
    chosen, device = OBJECTIVES[kind], torch.device("meta")
    model = build(VARIANTS[variant], chosen, torch.float32).to(device)
    at = positions(selected)
    tokens = torch.ones(B, T, dtype=torch.int64, device=device)
    targets = torch.ones(len(at[0]), dtype=torch.int64, device=device)
    loss = chosen.loss(model(tokens, read=at), at, targets).total
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    with pytest.raises(RuntimeError, match="meta"):
        loss.item()
