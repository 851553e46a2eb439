"""The run id covers every scientific field, nothing else, and does not drift."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from experiments.config.chosen_probes import evaluation_probes
from experiments.config.phases import PhaseError, spans
from experiments.config.run import RunConfig
from experiments.grid.changes import with_value
from experiments.grid.run_checks import problems
from experiments.results.diff import flat
from generators.biographies import Biographies
from generators.multihop import MultiHop
from generators.plugins import STORED
from models.config import LoopedConfig
from models.objectives.entropy import Entropy
from probes.accuracy import Accuracy

BASE: dict[str, Any] = {
    "task": {"kind": "multihop"},
    "model": {"kind": "looped", "loops": 2},
    "objective": {"kind": "entropy"},
    "training": {"phases": [{"until_step": 100}]},
}
BIOS: dict[str, Any] = {
    "task": {"kind": "bios", "people": 100},
    "model": {"kind": "looped"},
    "training": {"phases": [{"until_exposure": 10}]},
}
#: another valid value for every scientific field of BASE and BIOS
OTHER: dict[str, Any] = {
    "seed": 1,
    "task.world_seed": 0,
    "task.world": "permutation",
    "task.entities": 33,
    "task.relations": 17,
    "task.hops": 4,
    "task.held_out": 0.2,
    "task.hold_out": "questions",
    "task.people": 101,
    "task.pools": "full",
    "task.templates": 5,
    "task.versions": 1,
    "task.permute": False,
    "task.fullname": True,
    "task.employer_first": False,
    "task.same_sentences": True,
    "task.reversed_date": True,
    "task.apart_from": 5,
    "task.name_last": True,
    "task.hop_weights": [1.0] * 3,
    "task.cot": True,
    "model.width": 128,
    "model.heads": 4,
    "model.core": 2,
    "model.loops": 3,
    "model.prelude": 1,
    "model.coda": 1,
    "model.norm": "pre",
    "model.qk_norm": True,
    "model.residual_scale": 2.0,
    "model.layer_scale": 0.1,
    "model.norm_between_loops": False,
    "model.mlp": "gelu",
    "model.reuse": "sequence",
    "model.injection": "add",
    "model.initial_state": "prelude",
    "model.loop_embedding": "sinusoidal",
    "model.loop_rows": 9,
    "model.experts": 8,
    "model.experts_per_token": 2,
    "model.balance": 0.1,
    "model.positions": "none",
    "model.zero_init": True,
    "model.mlp_hidden": 100,
    "model.rope_base": 500.0,
    "model.context": 512,
    "model.tied": True,
    "model.norm_eps": 1e-5,
    "objective.beta": 0.2,
    "training.batch": 1000,
    "training.lr": 2e-3,
    "training.betas.0": 0.8,
    "training.betas.1": 0.99,
    "training.eps": 1e-7,
    "training.weight_decay": 0.2,
    "training.clip": None,
    "training.precision": "bf16",
    "training.phases.0.until_step": 101,
    "training.phases.0.until_exposure": 11,
    "training.phases.0.lr": 1e-2,
    "training.phases.0.warmup": 7,
    "training.phases.0.decay": "sqrt",
    "training.phases.0.final": 0.1,
    "training.phases.0.loops": 3,
    "training.phases.0.beta": 0.3,
    "training.phases.0.draw": {"kind": "poisson", "most": 4},
    "training.phases.0.backprop_loops": 1,
    "training.recompute": True,
    "training.optimiser": "muon",
    "training.muon_lr": 2e-2,
    "training.muon_momentum": 0.9,
    "training.accumulate": 2,
    "training.ema": 0.99,
    "training.phases.0.decay_share": 0.5,
    "start": "multihop-1x2-0123456789ab",
    "continued": True,
    "training.phases.0.weights": {"a": 1.0},
    "training.phases.0.until_accuracy": {"level": 0.9},
    "training.phases.0.core": 1,
    "training.phases.0.growth": "stack",
}

#: fields that are read only beside another value of another field
READ_WITH: dict[str, tuple[str, Any]] = {
    "continued": ("start", "multihop-1x2-0123456789ab"),
    "task.same_sentences": ("task.versions", 2),
    "training.muon_lr": ("training.optimiser", "muon"),
    "training.muon_momentum": ("training.optimiser", "muon"),
    "training.phases.0.decay_share": ("training.phases.0.decay", "wsd"),
}


def run(fields: dict[str, Any], **changes: Any) -> RunConfig:
    return RunConfig.model_validate({**fields, **changes})


def changed(fields: dict[str, Any], path: str, value: Any) -> RunConfig:
    """The complete config with one field replaced."""
    complete = run(fields).model_dump(mode="json")
    return RunConfig.model_validate(with_value(complete, path.split("."), value))


def scientific(fields: dict[str, Any]) -> Iterator[str]:
    """Dotted paths of the fields that enter the id; tags and the other end of a phase apart."""
    ends = ("training.phases.0.until_step", "training.phases.0.until_exposure")
    for path, value in flat(run(fields).model_dump(mode="json")).items():
        other_end = path in ends and value is None
        if not (path.startswith("observe") or path.endswith("kind") or other_end):
            yield path


def test_golden_ids() -> None:
    """Fails if a default, a version or the way of hashing changes: then results are not the same.

    A changed default of a task, model or objective needs a higher `version`; then pin new ids.
    """
    assert run(BASE).run_id == "multihop-1x2-f58a9e5244d8"
    # from before whole strings were held out: a better default changes no older id
    before = {"kind": "multihop", "hold_out": "questions"}
    assert run(BASE, task=before).run_id == "multihop-1x2-4ef3ffc9bec1"
    stored = RunConfig.model_validate(BASE, context=STORED)
    assert stored.run_id == "multihop-1x2-4ef3ffc9bec1"
    assert run(stored.model_dump(mode="json")) == stored
    assert run(BIOS).run_id == "bios-1x1-688ecff5894c"


@pytest.mark.parametrize("fields", [BASE, BIOS], ids=["multihop", "bios"])
def test_every_scientific_field_changes_the_id(fields: dict[str, Any]) -> None:
    paths = list(scientific(fields))
    ids, unread_here = {run(fields).run_id}, 0
    for path in paths:
        assert path in OTHER, f"{path} is new: give it another value here"
        unread = ("training.phases.0.beta", "training.phases.0.backprop_loops")
        if path in unread and fields is BIOS:
            continue  # last_loop has no β, and one loop cannot be cut
        if path in READ_WITH:
            other = changed(fields, *READ_WITH[path]).model_dump(mode="json")
            assert changed(other, path, OTHER[path]).run_id != run(other).run_id
            unread_here += 1
            continue
        ids.add(changed(fields, path, OTHER[path]).run_id)
    skipped = 2 if fields is BIOS else 0
    assert len(ids) == 1 + len(paths) - skipped - unread_here


def test_tags_change_the_id_of_parts_left_at_their_defaults() -> None:
    one_loop = {**BASE, "model": {"loops": 2}}
    assert run(one_loop).run_id != run(one_loop, objective={"kind": "last_loop"}).run_id
    assert run(BASE, task={"kind": "bios"}).run_id != run(BASE).run_id


def test_a_default_written_out_is_the_same_run() -> None:
    complete = run(BASE).model_dump(mode="json")
    assert RunConfig.model_validate(complete).run_id == run(BASE).run_id
    respelt = {"lr": "1e-3", "clip": 1, "betas": (0.9, 0.98), "batch": 1024.0}
    assert run(BASE, training={**BASE["training"], **respelt}).run_id == run(BASE).run_id


@pytest.mark.parametrize("cls", [MultiHop, LoopedConfig, Entropy])
def test_a_new_version_is_a_new_run(cls: type, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run(BASE).run_id
    monkeypatch.setattr(cls, "version", 99)
    assert run(BASE).run_id != before


def test_what_is_observed_is_not_part_of_the_id() -> None:
    observe = {
        "probes": [{"kind": "accuracy", "items": 7}],
        "evaluate_every": 5,
        "evaluate_with": [{"kind": "accuracy"}],
        "log_every": 3,
        "checkpoint_seconds": 1.0,
        "compile_blocks": "anywhere",
    }
    assert set(observe) == set(type(run(BASE).observe).model_fields)
    assert run(BASE, observe=observe).run_id == run(BASE).run_id


def test_one_loop_makes_entropy_and_last_loop_the_same_run() -> None:
    model = {"loops": 1}
    entropy = run(BASE, model=model, objective={"kind": "entropy", "beta": 0.3})
    last = run(BASE, model=model, objective={"kind": "last_loop"})
    assert entropy.run_id == last.run_id
    assert entropy.canonical() == last
    assert run(BASE).canonical().objective.kind == "entropy"


def test_a_phase_with_more_loops_keeps_the_objectives_apart() -> None:
    fields = {
        **BASE,
        "model": {"loops": 1},
        "training": {"phases": [{"until_step": 100, "loops": 2}]},
    }
    assert run(fields).run_id != run(fields, objective={"kind": "last_loop"}).run_id


def test_a_beta_that_nobody_reads_makes_no_other_run() -> None:
    last = {**BASE, "objective": {"kind": "last_loop"}}
    assert changed(last, "training.phases.0.beta", 0.3).run_id == run(last).run_id
    assert changed(BASE, "training.phases.0.beta", 0.3).run_id != run(BASE).run_id


def test_back_propagation_through_all_loops_is_the_same_run_however_it_is_said() -> None:
    def truncated(n: int | None) -> str:
        return changed(BASE, "training.phases.0.backprop_loops", n).run_id

    assert run(BASE).model.loops == 2
    assert truncated(None) == truncated(2) == truncated(7) != truncated(1)
    drawn = changed(BASE, "training.phases.0.draw", {"kind": "uniform", "most": 4})
    ids = {
        changed(drawn.model_dump(mode="json"), "training.phases.0.backprop_loops", n).run_id
        for n in (3, 4, 5, None)
    }
    assert len(ids) == 2  # three of at most four loops are something else


def test_numbers_of_numpy_are_those_that_were_written() -> None:
    plain = run(BASE, training=training(lr=1e-3, betas=(0.9, 0.95), batch=32), seed=3)
    numpy = run(
        BASE,
        training=training(
            lr=np.float32(1e-3), betas=(np.float32(0.9), np.float16(0.95)), batch=np.int64(32)
        ),
        seed=np.int32(3),
    )
    assert numpy.run_id == plain.run_id
    assert numpy.training.lr == 1e-3  # and not 0.0010000000474974513


def training(**fields: Any) -> dict[str, Any]:
    return {**fields, "phases": [{"until_step": 10}]}


def test_ids_do_not_depend_on_the_process() -> None:
    code = (
        "import json, sys; from experiments.config.run import RunConfig;"
        "print(RunConfig.model_validate(json.loads(sys.argv[1])).run_id)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    output = subprocess.run(
        [sys.executable, "-c", code, json.dumps(BASE)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert output.stdout.strip() == run(BASE).run_id


SETTINGS = st.fixed_dictionaries(
    {
        "core": st.integers(1, 3),
        "loops": st.integers(1, 3),
        "heads": st.sampled_from([1, 2]),
        "beta": st.sampled_from([0.0, 0.1, 1e-17]),
        "lr": st.sampled_from([1e-3, 1.0000000001e-3]),
        "steps": st.sampled_from([1, 11, 111]),
        "seed": st.integers(0, 2),
    }
)


def configured(s: dict[str, Any]) -> RunConfig:
    return RunConfig.model_validate(
        {
            "task": {"kind": "multihop"},
            "model": {"core": s["core"], "loops": s["loops"], "heads": s["heads"]},
            "objective": {"kind": "entropy", "beta": s["beta"]},
            "training": {"lr": s["lr"], "phases": [{"until_step": s["steps"]}]},
            "seed": s["seed"],
        }
    )


@settings(max_examples=100)
@given(SETTINGS, SETTINGS)
def test_two_runs_share_an_id_only_if_they_are_the_same(one: dict, two: dict) -> None:
    first, second = configured(one), configured(two)
    assert (first.run_id == second.run_id) == (first.canonical() == second.canonical())


def test_a_phase_has_exactly_one_end() -> None:
    for phase in ({}, {"until_step": 5, "until_exposure": 5}):
        with pytest.raises(ValidationError, match="exactly one of until_step and until_exposure"):
            run(BASE, training={"phases": [phase]})


def test_evaluations_need_probes_and_probes_a_rhythm() -> None:
    with pytest.raises(ValidationError, match="evaluate_with needs evaluate_every"):
        run(BASE, observe={"evaluate_with": [{"kind": "accuracy"}]})
    alone = run(BASE, observe={"evaluate_every": 5})
    assert alone.run_id == run(BASE).run_id
    assert evaluation_probes(alone, alone.task) == (Accuracy(),)
    assert evaluation_probes(run(BASE), alone.task) == ()
    assert not list(problems(alone))
    stored = run(BIOS, observe={"evaluate_every": 5})
    assert evaluation_probes(stored, stored.task) == ()
    assert [(at, "asks no questions" in says) for at, says in problems(stored)] == [
        (("observe", "evaluate_every"), True)
    ]


def test_exposures_show_every_document_exactly_so_often() -> None:
    training = run(
        BIOS,
        training={"batch": 7, "phases": [{"until_exposure": 3}, {"until_step": 60}]},
    ).training
    first, second = spans(training, Biographies(people=100))
    assert (first.first_document, first.last_document) == (0, 300)
    assert (first.first_step, first.last_step) == (0, 43)  # 42 batches of 7 and one of 6
    assert (second.first_step, second.last_step) == (43, 60)
    assert (second.first_document, second.last_document) == (300, 300 + 17 * 7)


@pytest.mark.parametrize(
    ("phases", "items", "where", "says"),
    [
        ([{"until_exposure": 3}], None, "training.phases.0.until_exposure", "no exposures"),
        ([{"until_step": 5}, {"until_step": 5}], None, "training.phases.1", "ends at step 5"),
        ([{"until_step": 50}, {"until_exposure": 1}], 10, "training.phases.1", "not after"),
    ],
)
def test_impossible_phases(phases: list, items: int | None, where: str, says: str) -> None:
    with pytest.raises(PhaseError, match=says) as caught:
        task = MultiHop() if items is None else Biographies(people=items)
        spans(run(BASE, training={"phases": phases, "batch": 1}).training, task)
    assert ".".join(caught.value.location) == where


def test_weights_come_from_a_stream_of_their_own() -> None:
    """The seed of the weights is the first number of numpy's generator of (seed, 2, 0)."""
    run = RunConfig.model_validate({**BASE, "objective": {"kind": "last_loop"}, "seed": 5})
    task = run.bound_task()
    seed = int(np.random.default_rng([5, 2, 0]).integers(2**63))
    wanted = run.model.build(len(task.vocabulary), gate=False, seed=seed).state_dict()
    found = run.build_model(task).state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
