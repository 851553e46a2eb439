"""Injections and initial states: where they begin, what they bound, and that noise is repeated.

The passes themselves are in `tests/models/test_looped.py`, against a reference.
"""

import math

import pytest
import torch
from golden_step import TOLERANCE, golden_step
from reference_transformer import V, build, tokens
from toys import assert_same_run, config, trained, weights

from experiments.execution.stack_planner import reason_not_stackable
from experiments.export.huggingface import config_of
from models.config import LoopedConfig
from models.layers.input_injection import InputInjection

SHAPE = {"width": 16, "heads": 2, "loops": 3}
NOISY = LoopedConfig.model_validate({**SHAPE, "injection": "add", "initial_state": "noise"})


def shape(**fields: object) -> LoopedConfig:
    return LoopedConfig.model_validate(SHAPE | fields)


def test_a_fresh_diagonal_injection_keeps_a_known_share_and_adds_the_input_itself() -> None:
    entrance = shape(injection="diagonal").build(V, gate=False, seed=0).entrance
    assert entrance is not None
    x, e = torch.randn(2, 2, 5, 16)
    kept, taken = 0.2**0.5, -math.log(0.2**0.5)
    torch.testing.assert_close(entrance(x, e, 1), kept * x + taken * e)


@pytest.mark.parametrize("seed", range(5))
def test_a_diagonal_injection_is_bounded_over_any_number_of_loops(seed: int) -> None:
    """By the geometric series of its decay; `add` grows with the loops (control)."""
    torch.manual_seed(seed)
    e = torch.randn(1, 5, 16)
    reached = {}
    for name in ("diagonal", "add"):
        entrance = InputInjection(shape(injection=name))
        with torch.no_grad():
            for parameter in entrance.parameters():
                parameter.normal_(std=2)
            x = torch.zeros_like(e)
            for loop in range(1, 1001):
                x = entrance(x, e, loop)
        if name == "diagonal":
            step = entrance.step.weight.exp().log1p()
            kept = torch.exp(-step * entrance.rate.weight.exp())
            limit = step * (e @ entrance.project.weight.T) / (1 - kept)
            assert (kept < 1).all() and (x.abs() <= limit.abs() * (1 + 1e-3)).all()
        reached[name] = float(x.abs().max())
    assert reached["add"] == pytest.approx(1000 * float(e.abs().max()), rel=1e-3)


def test_a_fresh_gate_lets_twelve_percent_in() -> None:
    entrance = shape(injection="gated").build(V, gate=False, seed=0).entrance
    assert entrance is not None and entrance.project is not None
    torch.nn.init.zeros_(entrance.project.weight)
    x, e = torch.randn(2, 2, 5, 16)
    z = 1 / (1 + math.exp(2))
    torch.testing.assert_close(entrance(x, e, 1), (1 - z) * x + z * e)


def test_noise_is_drawn_while_training_alone() -> None:
    noisy, still = build(NOISY), build(shape(injection="add"))
    assert noisy.state_dict().keys() == still.state_dict().keys()
    x = torch.randn(50, 40, 16)
    assert noisy.entrance is not None and noisy.entrance.training
    start, _ = noisy.entrance.begin(x.double())
    assert start.std() == pytest.approx(0.4**0.5, rel=0.02) and abs(start.mean()) < 0.02
    noisy.train()
    assert not torch.equal(noisy(tokens()).logits(), noisy(tokens()).logits())
    torch.testing.assert_close(noisy.eval()(tokens()).logits(), still.eval()(tokens()).logits())


def test_a_noisy_run_is_the_same_however_often_it_is_stopped(tmp_path) -> None:
    run = config(model=NOISY)
    straight = trained(tmp_path / "a", run)
    torch.manual_seed(99)  # which it does not depend on
    assert_same_run(straight, trained(tmp_path / "b", run, 2, 3))
    still = trained(tmp_path / "c", config(model=shape(injection="add")))
    name = "core.0.mlp.up.weight"
    assert not torch.equal(weights(straight)[name], weights(still)[name])


def test_what_noise_cannot_do_is_refused() -> None:
    assert reason_not_stackable(config(model=NOISY)) == "every run draws its own noise"
    assert not reason_not_stackable(config(model=shape(injection="diagonal")))


def test_an_input_that_joins_once_is_that_of_add_in_one_loop_and_does_not_come_back() -> None:
    once, add, none = (build(shape(injection=name, core=1)) for name in ("once", "add", "none"))
    add.load_state_dict(once.state_dict())
    none.load_state_dict({k: v for k, v in once.state_dict().items() if "entrance" not in k})
    one, of_add = (model(tokens(), n_loops=1).logits() for model in (once, add))
    assert torch.equal(one, of_add)
    assert not torch.allclose(once(tokens(), n_loops=2).logits(), add(tokens(), n_loops=2).logits())
    assert not torch.allclose(one, none(tokens(), n_loops=1).logits()), "its input is not normed"
    e = torch.randn(2, 3, once.config.width, generator=torch.Generator().manual_seed(0)).double()
    assert once.entrance is not None
    assert torch.equal(once.entrance(e, 2 * e, 1), 3 * e)
    assert torch.equal(once.entrance(e, 2 * e, 2), e)


@pytest.mark.parametrize("state", ["zero", "noise", "learned"])
def test_without_an_injection_the_state_begins_with_the_tokens(state: str) -> None:
    with pytest.raises(ValueError, match=f"initial_state {state} with injection none shows no"):
        shape(initial_state=state)


def test_an_initial_state_that_is_there_anyway_changes_no_number() -> None:
    for injection, own in (("none", "prelude"), ("add", "zero"), ("gated", "zero")):
        plain, named = shape(injection=injection), shape(injection=injection, initial_state=own)
        assert torch.equal(build(plain)(tokens()).logits(), build(named)(tokens()).logits())


@pytest.mark.parametrize(
    "fields",
    [
        {"injection": "diagonal"},
        {"injection": "gated"},
        {"injection": "add", "initial_state": "prelude"},
    ],
)
def test_a_format_that_cannot_say_it_refuses(fields: dict[str, str]) -> None:
    name = "initial_state" if "initial_state" in fields else "injection"
    with pytest.raises(ValueError, match=f"the exported code has no {name} {fields[name]}"):
        config_of(build(shape(**fields)))


@pytest.mark.parametrize(
    ("fields", "losses"),
    [
        ({"injection": "diagonal", "initial_state": "learned"}, (2.43174, 2.34654)),
        ({"injection": "gated", "initial_state": "prelude"}, (2.41830, 2.35106)),
        ({"injection": "concat", "initial_state": "noise"}, (2.42177, 2.34049)),
    ],
)
def test_a_golden_step(fields: dict[str, str], losses: tuple[float, float]) -> None:
    assert golden_step(shape(**fields)) == pytest.approx(losses, abs=TOLERANCE)
