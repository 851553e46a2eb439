"""Loops drawn from a list, a heavy tail, or for each document: their laws and their gradients."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from joint import close, trainer_of
from laws import chi_square
from pydantic import ValidationError
from scipy.stats import chi2
from torch.nn.functional import cross_entropy
from toys import assert_same_run, trained

from experiments.config.costs import cost, cost_and_work
from experiments.config.loop_sampling import LoopDraw, loops_of_documents, loops_of_step
from experiments.config.phases import Training
from experiments.config.run import RunConfig
from experiments.execution.stack_planner import reason_not_stackable
from experiments.grid.run_checks import problems
from experiments.training.trainer import Trainer
from generators.batch import Batch
from generators.copying import Copying
from models.config import LoopedConfig
from models.interface import LoopedModel
from models.objectives.act import ACT
from models.objectives.entropy import Entropy
from models.objectives.last_loop import LastLoop
from models.objectives.objective import PositionwiseObjective

EACH = {"kind": "uniform", "most": 4, "per": "document"}


def fits(counts: Any, probabilities: dict[int, float], n: int) -> bool:
    """Whether counts are of a law, at one in 10,000; what is rare is counted together."""
    common = [k for k, p in probabilities.items() if p * n >= 8]
    found = [counts[k] for k in common] + [n - sum(counts[k] for k in common)]
    expected = [probabilities[k] * n for k in common]
    expected.append(n - sum(expected))
    if expected[-1] < 8:
        found, expected = found[:-1], expected[:-1]
    return chi_square(np.array(found), np.array(expected)) < chi2.isf(1e-4, len(found) - 1)


def drawn(draw: LoopDraw, mean: int, n: int = 40_000) -> np.ndarray:
    return np.bincount(loops_of_documents(draw, mean, 0, 3, n), minlength=100)


def test_a_list_is_drawn_by_its_weights() -> None:
    draw = LoopDraw(kind="list", among=(1, 2, 7), weights=(1, 0, 3), per="document")
    assert draw.largest == 7 and draw.probabilities(9) == {1: 0.25, 2: 0.0, 7: 0.75}
    counts = drawn(draw, 9)
    assert counts.sum() == counts[[1, 7]].sum() and fits(counts, {1: 0.25, 7: 0.75}, 40_000)
    assert not fits(counts, {1: 0.27, 7: 0.73}, 40_000)
    even = LoopDraw(kind="list", among=(2, 4), per="document")
    assert even.probabilities(3) == {2: 0.5, 4: 0.5} and fits(
        drawn(even, 3), {2: 0.5, 4: 0.5}, 40_000
    )


@pytest.mark.parametrize(("mean", "sigma"), [(4, None), (4, 1.0), (9, 0.2), (2, 0.5)])
def test_the_heavy_tail_is_that_of_drawing_the_rate_first(mean: int, sigma: float | None) -> None:
    """As Geiping et al. write it: τ ~ N(ln r - σ²/2, σ), 1 + Poisson(e^τ), with r + 1 loops."""
    draw = LoopDraw(kind="lognormal_poisson", most=30, sigma=sigma, per="document")
    s, rng, n = sigma or 0.5, np.random.default_rng(1), 40_000
    rate = np.exp(np.log(mean - 1) - s**2 / 2 + s * rng.standard_normal(n))
    wanted = np.bincount(np.minimum(1 + rng.poisson(rate), 30), minlength=100)
    counts = drawn(draw, mean, n)
    common = (wanted + counts) >= 20
    both = (wanted + counts)[common] / 2
    assert chi_square(counts[common], both) * 2 < chi2.isf(1e-4, common.sum() - 1)
    assert fits(counts, draw.probabilities(mean), n)
    found = draw.probabilities(mean)
    assert sum(found.values()) == pytest.approx(1)
    if s < 1:  # the tail beyond 30 is small
        assert sum(k * p for k, p in found.items()) == pytest.approx(mean, abs=1e-3)
    plain = LoopDraw(kind="poisson", most=30).probabilities(mean)
    assert not fits(counts, plain, n), "a control: it is no Poisson law"


def test_one_loop_has_no_tail() -> None:
    assert LoopDraw(kind="lognormal_poisson", most=3).probabilities(1) == {1: 1.0, 2: 0.0, 3: 0.0}


def test_documents_of_a_step_are_drawn_apart_and_the_first_as_that_step() -> None:
    draw = LoopDraw(kind="uniform", least=1, most=4)
    each = draw.model_copy(update={"per": "document"})
    found = loops_of_documents(each, 2, 5, 7, 40_000)
    assert found[0] == loops_of_step(draw, 2, 5, 7)
    pairs = np.bincount(4 * (found[:-1:2] - 1) + found[1::2] - 1, minlength=16)
    assert chi_square(pairs, 20_000 / 16) < chi2.isf(1e-4, 15)
    assert not np.array_equal(found, loops_of_documents(each, 2, 5, 8, 40_000))
    same = loops_of_documents(draw, 2, 5, 7, 9)
    assert same.tolist() == [loops_of_step(draw, 2, 5, 7)] * 9
    assert loops_of_documents(None, 3, 5, 7, 2).tolist() == [3, 3]


def run_of(draw: dict[str, Any], accumulate: int = 1, **changes: Any) -> RunConfig:
    phase = {"until_step": 6, "draw": draw}
    training = {"batch": 12, "lr": 1e-2, "phases": [phase], "accumulate": accumulate, "clip": None}
    model = LoopedConfig(width=16, heads=2, loops=3, injection="add", prelude=1)
    return toys.config(**{"model": model, "training": Training.model_validate(training), **changes})


def uneven(step: int) -> Batch:
    """Documents of all lengths that predict many, few or none of their positions."""
    rng = np.random.default_rng(step)
    tokens = rng.integers(1, 9, (12, 11)).astype(np.int32)
    mask = rng.random((12, 11)) < np.linspace(0, 0.9, 12)[:, None]
    for row, length in enumerate(rng.integers(2, 12, 12)):
        tokens[row, length:], mask[row, length:] = 0, False
    mask[4, 1] = True
    return Batch(tokens, mask)


def one_at_a_time(
    model: LoopedModel, objective: PositionwiseObjective, batch: Batch, loops: np.ndarray
) -> torch.Tensor:
    """The loss of a batch from the losses of its documents, each alone and with its own loops."""
    total, positions = torch.zeros((), dtype=torch.float64), 0
    for tokens, mask, n in zip(batch.tokens, batch.loss_mask, loops.tolist(), strict=True):
        length = int((tokens != 0).sum())
        (column,) = np.nonzero(mask[1:length])
        if len(column):
            inputs = torch.from_numpy(tokens[None, : length - 1].astype("int64"))
            at = (torch.zeros(len(column), dtype=torch.int64), torch.from_numpy(column))
            targets = torch.from_numpy(tokens[column + 1].astype("int64"))
            outputs = model(inputs, n)
            if isinstance(objective, LastLoop):
                logits = outputs.logits(at=at)
                total = total + cross_entropy(logits, targets, reduction="sum")
            else:
                total = total + len(column) * objective.loss(outputs, at, targets).total
            positions += len(column)
    return total / positions


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("objective", [LastLoop(), Entropy(beta=0.1), ACT()], ids=lambda o: o.kind)
def test_loss_and_gradients_are_those_of_one_document_at_a_time(
    objective: PositionwiseObjective, accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(EACH, accumulate, objective=objective)
    trainer, alone = (trainer_of(run, torch.float64) for _ in range(2))
    monkeypatch.setattr(trainer, "documents", uneven)
    for step in range(3):
        alone.model.load_state_dict(trainer.model.state_dict())
        alone.model.zero_grad(set_to_none=True)
        loops = loops_of_documents(LoopDraw.model_validate(EACH), 3, 0, step, 12)
        assert len(set(loops.tolist())) > 1
        wanted = one_at_a_time(alone.model, objective, uneven(step), loops)
        wanted.backward()
        others = one_at_a_time(alone.model, objective, uneven(step), loops[::-1].copy())
        loss = trainer.step(trainer.spans[0])
        close(loss.total, wanted.detach(), 1e-12, "loss")
        if not isinstance(objective, ACT):  # which halts before the last loops
            assert abs(float(others.detach() - loss.total)) > 1e-4, "a control: other loops"
        own = dict(trainer.model.named_parameters())
        for name, parameter in alone.model.named_parameters():
            found = own[name].grad
            assert (found is None) == (parameter.grad is None), name
            if found is not None and parameter.grad is not None:
                close(found, parameter.grad, 1e-10, name)


def test_what_is_logged_of_a_loop_is_the_mean_over_the_documents_that_run_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = trainer_of(run_of(EACH, objective=Entropy(beta=0.1)), torch.float64)
    batch, loops = uneven(0), loops_of_documents(LoopDraw.model_validate(EACH), 3, 0, 0, 12)
    monkeypatch.setattr(trainer, "documents", uneven)
    found = {1: 0.0, 3: 0.0}
    for loop in found:
        losses, positions = 0.0, 0
        for n in range(loop, 5):
            rows = np.flatnonzero(loops == n)
            part = Batch(batch.tokens[rows], batch.loss_mask[rows])
            row, column = part.loss_mask[:, 1:].nonzero()
            if not len(row):
                continue
            at = (torch.from_numpy(row), torch.from_numpy(column))
            targets = torch.from_numpy(part.tokens[row, column + 1].astype("int64"))
            with torch.no_grad():
                outputs = trainer.model(torch.from_numpy(part.tokens[:, :-1].astype("int64")), n)
                logits = outputs.logits(loop, at=at)
            losses += float(cross_entropy(logits, targets, reduction="sum"))
            positions += len(row)
        found[loop] = losses / positions
    logged = trainer.step(trainer.spans[0]).logged
    assert {k: float(logged[f"loss.{k}"]) for k in found} == pytest.approx(found, rel=1e-9)


def test_it_is_charged_for_what_every_document_ran() -> None:
    """Documents of one length, so that their FLOPs can be told one by one."""
    task = Copying(length=4, symbols=20)
    run = run_of(EACH, task=task)
    trainer = Trainer(run, "cpu")
    ran = 0.0
    for step in range(6):
        trainer.step(trainer.spans[0])
        for n in loops_of_documents(LoopDraw.model_validate(EACH), 3, 0, step, 12).tolist():
            fixed = {"kind": "list", "among": [n]}
            ran += cost(run_of(fixed, task=task)).train_flops / 72
    assert trainer.counters.train_flops == pytest.approx(ran, rel=1e-6)
    by_step = run_of({**EACH, "per": "step"}, task=task)
    assert cost(run).train_flops == cost(by_step).train_flops
    calls = [cost_and_work(r)[1].calls for r in (run, by_step)]
    assert calls[0] / calls[1] == pytest.approx(4 * (1 - 0.75**12), rel=0.01)


@pytest.mark.parametrize(
    "draw",
    [EACH, {"kind": "list", "among": [1, 3]}, {"kind": "lognormal_poisson", "most": 6}],
    ids=["documents", "list", "tail"],
)
def test_a_stopped_run_is_the_same_run(tmp_path: Path, draw: dict[str, Any]) -> None:
    one = trained(tmp_path / "a", run_of(draw))
    assert_same_run(one, trained(tmp_path / "b", run_of(draw), 2, 1))
    assert reason_not_stackable(run_of(draw)) == "every run draws its own numbers of loops"


def test_every_field_of_a_draw_is_another_run() -> None:
    draws = [
        {"kind": "lognormal_poisson", "most": 6},
        {"kind": "lognormal_poisson", "most": 6, "sigma": 0.6},
        {"kind": "lognormal_poisson", "most": 6, "per": "document"},
        {"kind": "list", "among": [1, 6]},
        {"kind": "list", "among": [1, 5]},
        {"kind": "list", "among": [1, 6], "weights": [1, 2]},
    ]
    assert len({run_of(draw).run_id for draw in draws}) == len(draws)


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        ({"kind": "uniform"}, "uniform needs most"),
        ({"kind": "list"}, "needs among"),
        ({"kind": "list", "among": []}, "at least 1 item"),
        ({"kind": "list", "among": [2, 1]}, "fewest first"),
        ({"kind": "list", "among": [1, 1]}, "each once"),
        ({"kind": "list", "among": [0, 1]}, "from 1 on"),
        ({"kind": "list", "among": [1], "most": 3}, "most means nothing"),
        ({"kind": "list", "among": [2], "least": 2}, "least means nothing"),
        ({"kind": "list", "among": [1, 2], "weights": [1]}, "one number for each of"),
        ({"kind": "list", "among": [1, 2], "weights": [0, 0]}, "not all 0"),
        ({"kind": "list", "among": [1, 2], "weights": [-1, 2]}, "0 or more"),
        ({"kind": "list", "among": [1, 2], "weights": [float("nan"), 2]}, "finite"),
        ({"kind": "poisson", "most": 3, "sigma": 0.5}, "sigma means nothing"),
        ({"kind": "poisson", "most": 3, "among": [1]}, "among means nothing"),
        ({"kind": "lognormal_poisson", "most": 3, "sigma": 0}, "greater than 0"),
        ({"kind": "poisson", "most": 3, "per": "token"}, "'step' or 'document'"),
    ],
)
def test_draws_that_cannot_be_say_why(draw: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        LoopDraw.model_validate(draw)


def test_a_loss_of_the_whole_batch_has_no_loops_of_its_own() -> None:
    moe = run_of(EACH, model=LoopedConfig(width=16, heads=2, loops=3, mlp="moe"))
    ((at, message),) = problems(moe)
    assert at == ("training", "phases", "0", "draw", "per") and "load-balancing" in message
    by_step = {**EACH, "per": "step"}
    assert not list(problems(run_of(by_step, model=moe.model)))
    assert not list(problems(run_of(EACH)))


def test_learned_loop_embeddings_have_a_row_for_the_largest_of_a_list() -> None:
    model = LoopedConfig(width=16, heads=2, loops=3, loop_embedding="learned")
    listed = run_of({"kind": "list", "among": [1, 5]}, model=model)
    assert listed.max_loops == 5
    assert any("up to 5 loops" in message for _, message in problems(listed))
