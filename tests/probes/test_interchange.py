"""Interchange on a solver that holds the entity reached before the answer, and exact controls."""

from typing import ClassVar, Literal

import hop_solver
import numpy as np
import pytest
import torch
from hop_solver import EntityHead, HookedSolver, HopSolver, subject
from known_models import table

from generators.composition import Composition
from generators.layered import Layered
from generators.mano import Mano
from generators.multihop import MultiHop
from models.adapter import ForeignModel
from models.model import ModelConfig
from models.objectives.last_loop import LastLoop
from probes.interchange import Interchange, pair_up, patched_logits
from probes.questions import before, questions

TASK = MultiHop(
    entities=8, relations=4, hops=3, world="permutation", held_out=0.5, hold_out="questions"
).bind(1)
V = len(TASK.vocabulary)
VARIANTS = (
    {}, {"prelude": 1}, {"coda": 1}, {"injection": "add"}, {"norm_between_loops": False},
    {"reuse": "sequence"},
)  # fmt: skip


def looped(task=TASK, **fields):
    found = hop_solver.looped(task, seed=3, **fields)
    with torch.no_grad():
        found.looped.embedding.weight.mul_(50)  # so that answers differ
    return found


@pytest.mark.parametrize("differ", ["entity", "relation", "hop"])
def test_the_solver_follows_the_state_that_holds_the_entity(differ):
    probe = Interchange(items=64, differ=differ, only_right=True)
    found = table(probe.measure(subject(HookedSolver(TASK, 3), TASK)))
    for k in (2, 3):
        assert found["interchange_pairs", "", k, None].value >= 20
        for loop in range(4):
            held = found["follows_donor", "answer", k, loop]
            assert held.value == (loop > 0), "in its own state the token holds nothing"
            assert found["follows_base", "answer", k, loop].value == (loop == 0)
            assert held.floor < 0.5 and held.low <= held.value <= held.high
            assert found["follows_donor", "all", k, loop].value == 1
            if differ == "entity":
                asked = found["follows_donor", "entity", k, loop].value
                assert asked == (loop == 0), "it is looked at in the first loop alone"
            assert found["follows_neither", "answer", k, loop].value == 0


class HookedHops(HopSolver):
    """The solver as the module of a stranger, who gives hooks between loops."""

    def forward(self, tokens, n_loops, hook=None):
        ask, states = hook or (lambda loop, x: x), []
        x = ask(0, self.embed(tokens))
        for t in range(1, n_loops + 1):
            x = ask(t, self.loop(x, t))
            states.append(x)
        return states


class Shown(ModelConfig):
    hooks: ClassVar[bool] = True
    kind: Literal["shown-hops"] = "shown-hops"

    def build(self, vocabulary_size, *, gate, seed):
        raise NotImplementedError


class Closed(Shown):
    hooks: ClassVar[bool] = False
    kind: Literal["closed-hops"] = "closed-hops"


def test_a_model_from_elsewhere_with_hooks_is_measured_as_ours_is():
    probe = Interchange(items=64, only_right=True, swap=("all", "answer", "entity", "each"))
    module = HookedHops(TASK)
    model = ForeignModel(module, Shown(width=2, loops=3), head=EntityHead(module)).eval()
    probe.check_model(model.config, TASK, LastLoop())
    ours = probe.measure(subject(HookedSolver(TASK, 3), TASK))
    assert probe.measure(subject(model, TASK)) == ours
    with pytest.raises(ValueError, match="no hook loop.4; this model has loop.0, loop.1, loop.2"):
        model(torch.ones(1, 4, dtype=torch.int64), capture=("loop.4",))
    closed = ForeignModel(module, Closed(width=2, loops=3), head=EntityHead(module)).eval()
    with pytest.raises(ValueError, match="which this one has not"):
        probe.measure(subject(closed, TASK))
    with pytest.raises(ValueError, match="looks inside .* `hooks` of models.contract are enough"):
        probe.check_model(closed.config, TASK, LastLoop())


def test_each_token_by_itself_says_where_the_state_is():
    probe = Interchange(items=64, only_right=True, swap=("each", "answer", "entity"))
    found = table(probe.measure(subject(HookedSolver(TASK, 3), TASK)))
    for k in (2, 3):
        (entity,) = set(
            TASK.sample(np.random.default_rng(0), 4, difficulty=k).spans["entity"][:, 0]
        )
        last = TASK.sample(np.random.default_rng(0), 4, difficulty=k).spans["answer"][0, 0] - 1
        for loop in range(4):
            for n in range(last + 1):
                item = f"each@state -{n}" if n else "each@state"
                share = found["follows_donor", item, k, loop].value
                assert share == ((n == 0) if loop else (n == last - entity)), (k, loop, n)


def test_a_swapped_relation_alone_is_followed_by_neither_kind_of_state():
    """The entity's state is the same in both questions: swapping it leaves the base's answer."""
    probe = Interchange(items=64, differ="relation")
    found = table(probe.measure(subject(HookedSolver(TASK, 3), TASK)))
    for loop in range(4):
        assert found["follows_base", "entity", 3, loop].value == 1


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_swapping_the_same_changes_nothing_and_swapping_all_is_the_donor(fields):
    model = looped(**fields).model
    batch = questions(TASK, 1, "test", 3, 200)
    base, donor = pair_up(batch, 3, "hop")
    tokens, at, _ = before(batch.rows(base), "answer")
    other, _, _ = before(batch.rows(donor), "answer")
    hooks = {0: "embed"} | {call.loop: call.name for call in model.config.schedule()}
    everywhere = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        own = model(tokens, capture=tuple(hooks.values()))
        theirs = model(other, capture=tuple(hooks.values()))
        for loop, hook in hooks.items():
            same = patched_logits(model, tokens, at, hook, own.captured[hook], everywhere)
            assert torch.equal(same, own.logits(at=at))
            nowhere = patched_logits(model, tokens, at, hook, theirs.captured[hook], ~everywhere)
            assert torch.equal(nowhere, own.logits(at=at))
            swapped = patched_logits(model, tokens, at, hook, theirs.captured[hook], everywhere)
            whole = loop == 0 or model.config.injection == "none"
            # with an injection the base's input comes back, but for the last loop
            assert torch.equal(swapped, theirs.logits(at=at)) == (whole or loop == 3)
    assert not torch.equal(own.logits(at=at), theirs.logits(at=at))


def test_controls_are_among_the_rows():
    found = table(Interchange(items=64).measure(looped()))
    assert found["interchange_pairs", "", 3, None].value > 0
    for loop in range(4):
        assert found["follows_donor", "all", 3, loop].value == 1
        total = sum(
            found[f"follows_{who}", "entity", 3, loop].value for who in ("donor", "base", "neither")
        )
        assert total == pytest.approx(1)
    assert found["follows_donor", "answer", 3, 3].value == 1
    assert found["follows_base", "entity", 3, 3].value == 1


def test_pairs_share_what_they_should():
    batch = questions(TASK, 1, "test", 3, 500)
    same = {
        "entity": ("relation.1", "relation.2", "relation.3"),
        "relation": ("hop.0", "relation.2", "relation.3"),
        "hop": ("relation.2", "relation.3"),
    }
    for differ, names in same.items():
        base, donor = pair_up(batch, 3, differ)
        assert len(base) > 50 and len(np.unique(base)) == len(base)
        for name in names:
            assert (batch.latents[name][base] == batch.latents[name][donor]).all()
        for name in ("hop.1", "hop.3"):
            assert (batch.latents[name][base] != batch.latents[name][donor]).all()


def test_other_tasks_with_hops_and_those_without():
    layered = Layered(people=40, relations=3, held_out=20, fewer_hops=True, budget=0.3, hops=2)
    fields = {"entities": 20, "relations": 6, "out_degree": 3, "phi": 1.5, "held_out": 0.2}
    for task in (layered, Composition(**fields, ood=0.2)):
        task = task.bind(0)
        assert Interchange.applies(task)
        rows = Interchange(items=32, split="train", differ="hop").measure(looped(task))
        assert {row.metric for row in rows} > {"follows_donor", "interchange_pairs"}
        assert {row.value for row in rows if row.item == "all" and "donor" in row.metric} == {1}
    assert not Interchange.applies(Mano(length=2).bind(0))
    assert not Interchange.by_default
    with pytest.raises(ValueError, match="no span 'verb'"):
        Interchange(items=8, swap=("verb",)).measure(looped())
