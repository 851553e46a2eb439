"""Weights of difficulties change where the phases of a run say."""

from pathlib import Path
from typing import Any

import every_task
import numpy as np
import pytest
from laws import chi_square
from scipy.stats import chi2

from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.grid.grid import load_grid
from generators.batch import Batch
from generators.brevo import Brevo
from generators.comparison import Comparison
from generators.composition import Composition
from generators.copying import Copying
from generators.depo import Depo
from generators.layered import Layered
from generators.mano import Mano
from generators.mqar import MQAR
from generators.multihop import MultiHop
from generators.phop import PHop
from generators.retry import Retry
from generators.streams import Stream, generator
from generators.task import Task

#: tasks of several difficulties, small enough that held-out questions come again
TASKS: dict[str, Task] = {
    "brevo": Brevo(nodes=16),
    "comparison": Comparison(entities=12, attributes=3, values=5, ood=0.25, phi=2.0, held_out=20),
    "composition": Composition(
        entities=30, relations=6, out_degree=4, phi=2.0, ood=0.2, held_out=0.1
    ),
    "copy": Copying(length=8, shortest=3, symbols=18),
    "depo": Depo(nodes=8, hops=4, symbols=9, longest=1),
    "layered": Layered(people=40, relations=3, fewer_hops=True, held_out=5),
    "mano": Mano(length=4, modulus=5),
    "multihop": MultiHop(entities=8, relations=6, hops=3),
    "mqar": MQAR(pairs=4, fewest=1, length=24, keys=120, values=120),
    "phop": PHop(hops=4, length=24),
    "retry": Retry(task=MultiHop(entities=8, relations=6, hops=3), tries=2),
}


def run_of(task: Any, phases: list[dict]) -> RunConfig:
    training = {"batch": 8, "phases": phases}
    return RunConfig.model_validate({"task": task, "model": {"width": 16}, "training": training})


def bound(task: Task, *weights: dict[str, float] | None) -> Task:
    """The task of a run with a phase of 10 steps for each of these weights."""
    phases = [{"until_step": 10 * (i + 1), "weights": w} for i, w in enumerate(weights)]
    return run_of(task.model_dump(), phases).bound_task()


def drawn(task: Task, step: int, n: int = 2000) -> Batch:
    return task.training_batch(generator(0, Stream.TRAIN, step), n, 8 * step)


def test_every_task_of_several_difficulties_is_looked_at() -> None:
    several = {k for k in every_task.KINDS if len(every_task.task_of(k).weighable) > 1}
    assert several - {"mixture"} == TASKS.keys() - {"copy", "layered"}  # whose defaults have one


@pytest.mark.parametrize("name", TASKS)
def test_documents_come_in_the_shares_of_their_phase(name: str) -> None:
    """One difficulty alone, then two as 1 : 3, then again as the task itself draws them."""
    easy, hard = TASKS[name].weighable[0], TASKS[name].weighable[-1]
    task = bound(TASKS[name], {easy: 1}, {easy: 1, hard: 3}, None)
    assert set(drawn(task, 9).difficulty) == {int(easy)}
    both = drawn(task, 10).difficulty
    assert set(both) == {int(easy), int(hard)}
    expected = np.array([0.25, 0.75]) * len(both)
    found = [np.sum(both == int(easy)), np.sum(both == int(hard))]
    assert chi_square(found, expected) < chi2.isf(1e-4, 1)
    plain = TASKS[name].bind(0).sample(generator(0, Stream.TRAIN, 20), 64, index=160)
    assert np.array_equal(drawn(task, 20, 64).tokens, plain.tokens)


@pytest.mark.parametrize("name", TASKS)
def test_without_weights_the_bytes_are_those_of_the_task(name: str) -> None:
    plain = TASKS[name].bind(0).sample(generator(0, Stream.TRAIN, 3), 64, index=24)
    batch = drawn(bound(TASKS[name], None), 3, 64)
    assert np.array_equal(batch.tokens, plain.tokens)
    assert np.array_equal(batch.loss_mask, plain.loss_mask)


@pytest.mark.parametrize("name", TASKS)
def test_weights_show_nothing_of_what_is_held_out(name: str) -> None:
    """Questions up to the answer; without the split, training would show some of them."""
    task = TASKS[name].bind(0)
    hard = task.difficulties_of("test")[0]
    held_out, again, shown = (
        {
            row[:start].tobytes()
            for row, (start, _) in zip(batch.tokens, batch.spans["answer"], strict=True)
        }
        for batch in (
            task.sample(generator(1, Stream.EVALUATION), 3000, split="test", difficulty=hard),
            task.sample(generator(2, Stream.EVALUATION), 3000, split="test", difficulty=hard),
            drawn(bound(TASKS[name], {str(hard): 1}), 5, 3000),
        )
    )
    assert held_out.isdisjoint(shown) and shown
    assert held_out & again or name in (
        "brevo",
        "depo",
        "phop",
        "copy",
        "mqar",
    )  # they have very many


def test_a_document_of_a_difficulty_is_as_likely_as_in_training() -> None:
    """Answers of Mano at two operators, by weights and among all that training draws."""
    task = bound(TASKS["mano"], {"2": 1}, None)
    counts = []
    for step in (0, 10):
        batch = drawn(task, step, 40_000)
        answers = batch.tokens[np.arange(len(batch)), batch.spans["answer"][:, 0]]
        counts.append(np.bincount(answers[batch.difficulty == 2])[-5:])
    a, b = (count / count.sum() for count in counts)
    n = 1 / (1 / counts[0].sum() + 1 / counts[1].sum())
    assert n * ((a - b) ** 2 / ((a + b) / 2)).sum() < chi2.isf(1e-4, 4)


def test_depo_weighs_every_query_and_keeps_its_sizes() -> None:
    plain = TASKS["depo"].bind(0)
    task = bound(TASKS["depo"], {"1": 1, "4": 1})
    batch, usual = drawn(task, 0, 4000), plain.sample(generator(3, Stream.TRAIN), 4000)
    marks = [np.sum(batch.tokens == task.vocabulary.id(f"<{k}>")) for k in range(1, 5)]
    assert marks[1] == marks[2] == 0
    assert marks[0] / (marks[0] + marks[3]) == pytest.approx(0.5, abs=0.01)
    sizes = [np.bincount(b.latents["nodes"], minlength=9)[3:] for b in (batch, usual)]
    assert chi_square(sizes[0], (sizes[0] + sizes[1]) / 2) * 2 < chi2.isf(1e-4, 5)


def test_a_task_of_ones_own_needs_difficulties_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from typing import Literal\n"
        "import numpy as np\n"
        "from generators.task import Batch, Task\n"
        "from generators.vocabulary import Vocabulary\n\n"
        "class Own(Task):\n"
        "    kind: Literal['own'] = 'own'\n"
        "    difficulties = property(lambda self: (1, 2, 3))\n"
        "    vocabulary = property(lambda self: Vocabulary.build(['x']))\n"
        "    context_length = property(lambda self: 2)\n\n"
        "    def sample(self, rng, n, *, split='train', difficulty=None, index=None):\n"
        "        self.check_arguments(split, difficulty)\n"
        "        drawn = rng.integers(1, 4, n) if difficulty is None else np.full(n, difficulty)\n"
        "        return Batch(np.ones((n, 2), np.int32), np.ones((n, 2), bool), difficulty=drawn)\n"
    )
    task = {"kind": f"{tmp_path}/own.py:Own"}
    run = run_of(task, [{"until_step": 5, "weights": {"3": 1, "1": 1}}, {"until_step": 9}])
    batch = drawn(run.bound_task(), 2)
    assert set(batch.difficulty) == {1, 3} and len(batch) == 2000
    assert set(drawn(run.bound_task(), 6).difficulty) == {1, 2, 3}


@pytest.mark.parametrize(
    ("task", "weights", "message"),
    [
        ("{kind: mano, length: 4}", "{5: 1}", "nothing called '5' to weigh; it has 1, 2, 3, 4"),
        ("{kind: mano, length: 30}", "{31: 1}", "'31' to weigh (did you mean '3'?)"),
        ("{kind: mano, length: 30}", "{many: 1}", "'many' to weigh; it has 1 to 30"),
        ("{kind: phop, hops: 8}", "{3: 1}", "it has 1, 2, 4, 8"),
        ("{kind: brevo, nodes: 32}", "{4: 1}", "it has 8, 16, 32"),
        ("{kind: mano, length: 4}", "{1: 0}", "need to be 0 or more and not all 0"),
        ("{kind: mano, length: 4}", "{1: -1, 2: 1}", "need to be 0 or more and not all 0"),
        ("{kind: extraction}", "{1: 1}", "has no components to weigh, and no difficulties"),
    ],
)
def test_what_no_difficulty_is_called_is_refused_where_it_stands(
    tmp_path: Path, task: str, weights: str, message: str
) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(
        f"baseline:\n  task: {task}\n  model: {{width: 16}}\n"
        f"  training:\n    phases:\n      - {{until_step: 5, weights: {weights}}}\n"
    )
    with pytest.raises(LoopscopeError) as caught:
        load_grid(path)
    place = f"{path}:6:34: training.phases.0.weights: "
    assert str(caught.value).startswith(place) and message in str(caught.value)


def test_weights_are_part_of_the_id() -> None:
    task = {"kind": "mano", "length": 3}
    ids = {
        run_of(task, [{"until_step": 5, **weights}]).run_id
        for weights in ({}, {"weights": {"1": 1}}, {"weights": {"2": 1}})
    }
    assert len(ids) == 3


def test_largest_weights_have_shares() -> None:
    batch = drawn(bound(TASKS["mano"], {"1": 1.7e308, "2": 1.7e308, "3": 5e-324}), 0)
    assert set(batch.difficulty) == {1, 2}
