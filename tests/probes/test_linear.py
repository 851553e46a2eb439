"""Linear probes: find what is planted, nothing in noise, and agree with other software."""

from collections import Counter

import numpy as np
import pytest
import torch
from hop_solver import HookedSolver
from known_models import subject
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from generators.mano import Mano
from generators.multihop import MultiHop
from generators.streams import Stream, generator
from models.config import LoopedConfig
from probes.linear import Linear, decodability, held_out_predictions, measurements
from probes.questions import questions
from probes.states import hooks_of, states_at

TASK = MultiHop(
    entities=6, relations=8, hops=3, world="permutation", held_out=0.4, hold_out="questions"
).bind(1)


def values(rows, metric):
    return {(r.item, r.loop): r for r in rows if r.metric == metric}


def planted(n: int, classes: int, strength: float) -> tuple[np.ndarray, np.ndarray]:
    rng = generator(0, Stream.PROBE)
    y = rng.integers(0, classes, n)
    directions = rng.normal(size=(classes, 16))
    return strength * directions[y] + rng.normal(size=(n, 16)), y


def test_a_planted_direction_is_found_and_a_removed_one_is_not() -> None:
    rng = generator(0, Stream.PROBE, 2)
    x, y = planted(400, 4, 3.0)
    right, control = decodability(x, y, rng, 5, 1.0)
    assert right.mean() > 0.97 and control.mean() < 0.4
    means = np.stack([x[y == c].mean(0) for c in range(4)])
    basis = np.linalg.svd(means - means.mean(0))[2][:3]  # the span of the class means
    right, _ = decodability(x - x @ basis.T @ basis, y, rng, 5, 1.0)
    assert right.mean() < 0.4


def test_noise_stays_at_the_floor() -> None:
    rng = generator(1, Stream.PROBE)
    x, y = rng.normal(size=(600, 8)), rng.choice(3, 600, p=[0.6, 0.3, 0.1])
    majority = np.bincount(y).max() / 600
    right, control = decodability(x, y, rng, 5, 1.0)
    rows = {r.metric: r for r in measurements(right, control, majority, item="x")}
    assert rows["probe_accuracy"].low < majority < rows["probe_accuracy"].high + 0.02
    assert rows["probe_selectivity"].low < 0 < rows["probe_selectivity"].high
    assert rows["probe_selectivity"].value == pytest.approx(right.mean() - control.mean())
    assert {r.n_items for r in rows.values()} == {600}


def test_predictions_are_those_of_scikit_learns_cross_validation() -> None:
    x, y = planted(200, 3, 0.7)
    x = (x - x.mean(0)) / x.std(0)
    fold = np.arange(200) % 4
    model = LogisticRegression(C=0.1, max_iter=1000)
    wanted = cross_val_predict(model, x, y, cv=PredefinedSplit(fold))
    assert (held_out_predictions(x, y, fold, 10.0) == wanted).mean() > 0.97  # scaled per fold
    one = np.where(np.arange(200) == 0, 1, 0)  # a class that one fold's training lacks
    assert set(held_out_predictions(x, one, fold, 1.0)) == {0}


def test_a_bridge_is_found_from_the_loop_in_which_it_is_reached() -> None:
    """The solver holds the entity after t hops in loop t, and overwrites it in the next."""
    model = HookedSolver(TASK, loops=3).eval()
    probe = Linear(items=300, difficulties=(3,), folds=3, targets=("hop.1", "hop.2", "answer"))
    rows = probe.measure(subject(model, TASK))
    accuracy = values(rows, "probe_accuracy")
    control = values(rows, "probe_control")
    for target, found in (("hop.1", 1), ("hop.2", 2), ("answer", 3)):
        for loop in (1, 2, 3):
            row = accuracy[f"{target}@state", loop]
            if loop == found:
                assert row.value > 0.95, (target, loop)
                assert values(rows, "probe_selectivity")[f"{target}@state", loop].low > 0.6
            else:
                assert row.value < 0.5, (target, loop)
            assert accuracy[f"{target}@core.0", loop].value == row.value
            assert control[f"{target}@state", loop].value < 0.35
        assert accuracy[f"{target}@embed", 0].value < 0.4
    majority = accuracy["hop.1@state", 1].floor
    assert 1 / 6 <= majority < 0.3 and accuracy["hop.1@state", 1].ceiling == 1
    assert {row.difficulty for row in rows} == {3}


def test_every_hook_of_a_model_is_read_where_it_should_be() -> None:
    config = LoopedConfig(width=16, core=2, loops=2, prelude=1, coda=1)
    model = config.build(len(TASK.vocabulary), gate=False, seed=0).eval()
    hooks = hooks_of(config, 2)
    assert list(hooks.items()) == [
        ("embed", ("embed", 0)),
        ("prelude.0.loop.0", ("prelude.0", 0)),
        ("core.0.loop.1", ("core.0", 1)),
        ("core.1.loop.1", ("core.1", 1)),
        ("state.loop.1", ("state", 1)),
        ("core.0.loop.2", ("core.0", 2)),
        ("core.1.loop.2", ("core.1", 2)),
        ("state.loop.2", ("state", 2)),
    ]
    batch = TASK.sample(generator(0, Stream.EVALUATION), 9)
    columns = batch.spans["answer"][:, 0] - 1
    found = states_at(subject(model, TASK), batch, columns, tuple(hooks))
    outputs = model(torch.from_numpy(batch.tokens).long())
    for i, column in enumerate(columns):
        wanted = outputs.state(2)[i, column].detach().numpy()
        assert found["state.loop.2"][i] == pytest.approx(wanted, abs=1e-5)
        token = model.embedding.weight[int(batch.tokens[i, column])].detach().numpy()
        assert found["embed"][i] == pytest.approx(token)


def test_what_the_text_says_is_found_at_its_token() -> None:
    """In an untrained model the last relation is in the embedding, the one before is not."""
    model = LoopedConfig(width=16, loops=1).build(len(TASK.vocabulary), gate=False, seed=0).eval()
    probe = Linear(
        items=120, difficulties=(2,), folds=2, back=(0, 1), targets=("relation.1", "relation.2")
    )
    accuracy = values(probe.measure(subject(model, TASK)), "probe_accuracy")
    assert accuracy["relation.2@embed", 0].value == 1
    assert accuracy["relation.1@embed", 0].value < 0.4
    assert accuracy["relation.1@embed -1", 0].value == 1
    assert accuracy["relation.2@state -1", 1].value < 0.4  # it is not read yet


def test_partial_results_and_settings() -> None:
    task = Mano(length=3, modulus=5).bind(0)
    model = LoopedConfig(width=8, loops=2).build(len(task.vocabulary), gate=False, seed=0).eval()
    rows = Linear(items=40, difficulties=(3,), folds=2, loops=1).measure(subject(model, task))
    assert {row.item.partition("@")[0] for row in rows} == {"left", "right", "depth", "answer"}
    probe = Linear(items=40, difficulties=(3,), folds=2, loops=1, targets=("depth",))
    depth = tuple(row for row in rows if row.item.startswith("depth"))
    assert probe.measure(subject(model, task)) == depth  # the same folds again
    assert not Linear.by_default and Linear.applies(task)
    with pytest.raises(ValueError, match="mano has no latent 'hop.1'; it has left, right, depth"):
        Linear(targets=("hop.1",)).check(task)
    with pytest.raises(ValueError, match="0 or more"):
        Linear(back=(-1,)).check(task)


def test_the_floor_is_the_share_of_the_commonest_class() -> None:
    """Counted on the same documents, where the classes are far from equally common."""
    task = MultiHop(entities=6, relations=3, hops=2, world="function", held_out=0.5).bind(3)
    model = LoopedConfig(width=8, heads=1, loops=1).build(len(task.vocabulary), gate=False, seed=0)
    rows = Linear(items=200, folds=2).measure(subject(model.eval(), task))
    batch = questions(task, 0, "test", 2, 200)
    for target in ("hop.1", "hop.2"):
        classes = Counter(batch.latents[target].tolist())
        share = max(classes.values()) / len(batch)
        assert share > 1.3 / len(classes), "the control: not all classes alike"
        for metric in ("probe_accuracy", "probe_control"):
            found = {row.floor for (item, _), row in values(rows, metric).items() if target in item}
            assert found == {share}
