"""What is learned of a task's documents without its world, against documents of the world."""

import time
from typing import Any

import numpy as np
import pytest

from experiments.config.costs import _documents, cost, shape_of_batch
from experiments.config.run import RunConfig
from generators.biographies import Biographies
from generators.layered import Layered
from generators.multihop import MultiHop
from generators.plugins import choices
from generators.streams import Stream, generator
from generators.task import Batch, Task

KINDS = choices(Task, "generators")
BATCH = 512
#: tasks whose documents are of other lengths than those of the defaults, by kind
FIELDS: dict[str, list[dict[str, Any]]] = {
    "biod": [{}, {"people": 20, "chunks": 3, "length": 2, "attributes": 3, "alphabet": 200_000}],
    "bios": [
        {"people": 60_000, "pools": "full", "templates": 20},
        {"people": 20_000, "apart_from": 5000, "pools": "full", "fullname": True},
        {"people": 9000, "versions": 3, "name_last": True, "same_sentences": True},
        {"people": 7, "versions": 2},
    ],
    "brevo": [{}],
    "comparison": [
        {},
        {"entities": 300, "attributes": 40, "phi": 0.3, "ood": 0.5, "cot": True},
        {"entities": 900, "attributes": 4, "phi": 300.0},
    ],
    "composition": [
        {},
        {"entities": 900, "relations": 12, "out_degree": 8, "phi": 0.4, "ood": 0.4, "cot": True},
        {"entities": 60, "relations": 150, "out_degree": 150, "phi": 120.0, "ood": 0.1},
    ],
    "copy": [{}, {"length": 40, "shortest": 5, "symbols": 300}],
    "depo": [{}],
    "extraction": [{"biographies": {"people": 30_000, "pools": "full"}, "trained": 0.01}],
    "layered": [
        {},
        {"people": 800, "layers": 4, "relations": 30, "facts": True, "hop_weights": [1, 3]},
        {"people": 8, "layers": 4, "relations": 8, "fewer_hops": True, "held_out": 4, "cot": True},
    ],
    "mano": [{}],
    "mixture": [
        {},
        {
            "components": {
                "long": {"task": {"kind": "multihop", "entities": 20_000, "hops": 9}, "weight": 3},
                "rare": {"task": {"kind": "bios", "people": 9000}, "weight": 0.05},
                "short": {"task": {"kind": "composition"}, "weight": 2},
            }
        },
    ],
    "mqar": [{}, {"pairs": 8, "keys": 400, "values": 300, "length": 64, "filler": False}],
    "multihop": [
        {},
        {"entities": 50_000, "relations": 40, "hops": 4, "hop_weights": [5, 1, 0, 1], "cot": True},
    ],
    "operations": [
        {"operation": "dual", "biographies": {"people": 20_000}, "questions": 3},
        {"operation": "inverse", "biographies": {"people": 9000, "pools": "full"}},
        {
            "operation": "modulo",
            "quantity": "luck",
            "modulus": 100,
            "biographies": {"pools": "full"},
        },
    ],
    "phop": [{}],
    "retry": [{}, {"task": {"kind": "layered"}, "tries": 2, "right": 1.0}],
    "random_sequences": [{}, {"sequences": 3, "length": 500, "alphabet": 70_000}],
}
TASKS = [KINDS[kind].model_validate(f) for kind in sorted(KINDS) for f in FIELDS[kind]]
NAMES = [f"{kind}-{i}" for kind in sorted(KINDS) for i in range(len(FIELDS[kind]))]
every_task = pytest.mark.parametrize("task", TASKS, ids=NAMES)
#: the others are as small as their sketch
SKETCHED = [
    pytest.param(task, id=name)
    for task, name in zip(TASKS, NAMES, strict=True)
    if task.sketch() is not task
]


def batches(task: Task, n: int) -> list[Batch]:
    """The first n of training, in the world itself."""
    bound = task.bind(0)
    return [bound.sample(generator(1, Stream.TRAIN, i), BATCH, index=i * BATCH) for i in range(n)]


@every_task
def test_documents_are_as_long_as_those_of_the_world(task: Task) -> None:
    drawn = batches(task, 32)
    lengths = np.concatenate([(b.tokens != 0).sum(1) for b in drawn])
    scored = np.concatenate([b.loss_mask[:, 1:].sum(1) for b in drawn])
    columns = [int((b.tokens != 0).sum(1).max()) - 1 for b in drawn]
    shape = shape_of_batch(type(task), task.model_dump_json(), BATCH)
    chance = 0.0  # of tasks that are drawn afresh and have no world
    if task.sketch() is task:
        looked_at = min(32 * BATCH, 2**20 // task.context_length)
        chance = 4 * lengths.std() / lengths.mean() / np.sqrt(looked_at)
    assert shape.tokens == pytest.approx(lengths.mean(), rel=max(0.01, chance))
    assert shape.predicted == pytest.approx(scored.mean(), rel=max(0.01, 2 * chance))
    assert shape.context == pytest.approx(np.mean(columns), rel=max(0.01, chance))
    assert shape.vocabulary == len(task.vocabulary)


@every_task
def test_names_are_those_of_the_task(task: Task) -> None:
    small = task.sketch()
    assert type(small) is type(task) and small.sketch().splits == task.splits == small.splits
    assert small.context_length == task.context_length
    for split in task.splits:
        assert small.difficulties_of(split) == task.difficulties_of(split)
    one, other = (t.bind(0).sample(generator(0, Stream.PROBE), 64, index=0) for t in (task, small))
    assert one.spans.keys() == other.spans.keys() and one.latents.keys() == other.latents.keys()
    assert small.model_dump_json() == small.sketch().model_dump_json(), "there is nothing smaller"


def test_what_has_a_large_world_is_sketched() -> None:
    as_they_are = {"brevo", "depo", "mano", "phop"}
    assert {task.kind for (task,), *_ in SKETCHED} == set(KINDS) - as_they_are


@pytest.mark.parametrize("task", SKETCHED)
def test_flops_are_those_of_the_world(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig.model_validate(
        {
            "task": task,
            "model": {"kind": "looped", "width": 16, "heads": 1, "loops": 2},
            "training": {"batch": BATCH, "phases": [{"until_step": 50}]},
        }
    )
    told = cost(config)
    monkeypatch.setattr(type(task), "sketch", Task.sketch)
    for cached in (shape_of_batch, _documents):
        cached.cache_clear()
    full = cost(config)
    shape_of_batch.cache_clear()
    assert told.train_flops == pytest.approx(full.train_flops, rel=0.01)
    assert told.tokens == pytest.approx(full.tokens, rel=0.01)
    assert told.parameters == full.parameters


def test_no_world_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    huge: list[Any] = [
        Biographies(people=100_000_000, pools="full"),
        Biographies(people=50_000_000, apart_from=60_000_000, pools="full", versions=1000),
        MultiHop(entities=100_000_000, relations=1000, hops=3),
        KINDS["random_sequences"](sequences=100_000_000, length=1000),
        KINDS["random_sequences"](sequences=10_000, length=1_000_000),
        KINDS["biod"](people=10**9, name_length=9, diversity=10**7, length=9, alphabet=10**8),
        KINDS["composition"](entities=10**8),
        KINDS["comparison"](entities=10**8),
        KINDS["copy"](symbols=10**9),
        KINDS["extraction"].model_validate({"biographies": {"people": 10**8, "pools": "full"}}),
        KINDS["mixture"].model_validate(
            {"components": {"a": {"task": {"kind": "multihop", "entities": 10**8}}}}
        ),
    ]
    start = time.process_time()
    for task in huge:
        for probe_batch in (64, 1024):
            shape_of_batch(type(task), task.model_dump_json(), probe_batch)
        assert task.world_bytes > 1e9
    assert time.process_time() - start < 2


class Longer(MultiHop):
    """Writes other documents than its parent and says nothing of it."""

    kind: Any = "longer"

    @property
    def vocabulary(self) -> Any:  # pyrefly: ignore[bad-override]
        return type(super().vocabulary).build([*super().vocabulary.tokens, "more"])


def test_a_task_from_elsewhere_is_looked_at_itself() -> None:
    task = Longer(entities=2000)
    assert (
        task.sketch() is task
        and task.vocabulary_size == MultiHop(entities=2000).vocabulary_size + 1
    )
    assert MultiHop(entities=2000).sketch() is not task
    assert Layered.sketch is not Task.sketch, "and ours are not touched by it"
