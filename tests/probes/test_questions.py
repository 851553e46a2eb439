"""Questions put to a model: which floor stands beside an accuracy."""

from collections import Counter
from itertools import product

import pytest
import torch

from generators.multihop import MultiHop
from generators.task import Task
from models.config import LoopedConfig
from models.decoding.cache import CacheSettings
from probes.accuracy import Accuracy
from probes.decoding import Decoding
from probes.extrapolation import Extrapolation
from probes.probe import Probe, Subject
from probes.questions import floor_of

TASK = MultiHop(entities=6, relations=3, hops=2, held_out=0.2).bind(1)


def guessed_from_the_relations(hops: int) -> float:
    """The best answer to every string of relations, counted over all entities."""
    right = 0
    for relations in product(range(3), repeat=hops):
        answers = Counter[int]()
        for entity in range(6):
            for r in relations:
                entity = int(TASK.table[r, entity])
            answers[entity] += 1
        right += max(answers.values())
    return right / (3**hops * 6)


class Two(MultiHop):
    """Three floors, of which the highest is neither the first nor the last."""

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        return {"low": 0.1, "high": 0.4, "middle": 0.2}


def test_the_floor_is_the_highest_of_the_tasks() -> None:
    assert floor_of(Two(), None, "test") == 0.4
    for hops in (1, 2):
        floor = floor_of(TASK, hops, "train")
        assert floor == pytest.approx(guessed_from_the_relations(hops))
        assert floor is not None and floor > 1 / 6 + 0.05, "chance is another number"


def test_without_floors_there_is_none() -> None:
    class NoFloor(MultiHop):
        def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
            return {}

    assert floor_of(NoFloor(), None, "test") is None


@pytest.mark.parametrize(
    ("probe", "metric"),
    [
        (Accuracy(items=8, splits=("test",)), "accuracy"),
        (Decoding(items=8, split="test", cache=CacheSettings()), "accuracy"),
        (Extrapolation(items=8, counts=(1,)), "loops_accuracy"),
    ],
    ids=["accuracy", "decoding", "extrapolation"],
)
def test_the_highest_floor_stands_beside_an_accuracy(probe: Probe, metric: str) -> None:
    task: Task = Two(entities=6, relations=3, hops=2, held_out=0.2).bind(1)
    model = LoopedConfig(width=8, heads=1).build(len(task.vocabulary), gate=False, seed=0).eval()
    rows = probe.measure(Subject(model, task, {"total": 1}, 0, torch.device("cpu")))
    floors = {row.difficulty: row.floor for row in rows if row.metric == metric}
    assert floors == {2: 0.4}
