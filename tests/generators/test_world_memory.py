"""What worlds are said to need of memory, against the peak of processes that make them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.config.memory import run_memory
from experiments.errors import LoopscopeError
from experiments.execution.runner import run_grid
from experiments.grid.grid import load_grid
from experiments.planning.plan import plan
from generators.copying import Copying
from generators.mqar import MQAR
from generators.multihop import MultiHop
from generators.plugins import choices
from generators.streams import Stream, generator
from generators.support import distinct
from generators.task import Task

MAKE = """
import json, re, sys
from pathlib import Path
from generators.plugins import choices
from generators.streams import Stream, generator
from generators.task import Task
kinds = choices(Task, "generators")
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
def make(fields):
    task = kinds[fields["kind"]].model_validate(fields).bind(0)
    task.vocabulary.index  # held by every run
    for split in task.splits:
        task.sample(generator(0, Stream.TRAIN), 64, split=split, index=0)
    if "test" in task.splits:
        task.floors()
make(json.loads(sys.argv[1]))
before = peak()
make(json.loads(sys.argv[2]))
print(peak() - before)
"""

PEOPLE = {"pools": "full", "people": 400}
#: one task of a kind, and larger ones
WORLDS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "bios": (
        PEOPLE,
        [
            PEOPLE | {"people": 200_000},
            PEOPLE | {"people": 600_000},
            PEOPLE | {"people": 200_000, "versions": 20},
            PEOPLE | {"apart_from": 4_000_000},
        ],
    ),
    "extraction": (
        {"biographies": PEOPLE},
        [{"biographies": PEOPLE | {"people": n}} for n in (150_000, 400_000)],
    ),
    "operations": (
        {"operation": "inverse", "biographies": PEOPLE},
        [{"operation": "inverse", "biographies": PEOPLE | {"people": 150_000}}],
    ),
    "biod": (
        {"people": 20},
        [
            {"people": 150_000},
            {"people": 250_000},
            {"people": 150_000, "attributes": 2, "chunks": 3, "length": 4, "alphabet": 8},
            {"people": 20, "diversity": 100_000, "length": 4},
        ],
    ),
    "random_sequences": ({"sequences": 20}, [{"sequences": 50_000}, {"sequences": 150_000}]),
    "multihop": (
        {"entities": 20},
        [
            {"entities": 200_000, "relations": 2, "hops": 2, "held_out": 0.5},
            {"entities": 600_000, "relations": 2, "hops": 2, "held_out": 0.5},
            {"entities": 100, "relations": 200, "hops": 2},
            {"entities": 100, "relations": 60, "hops": 3},
        ],
    ),
    "layered": ({"relations": 5}, [{"relations": 42}]),
    "composition": (
        {"entities": 50, "relations": 9, "out_degree": 5, "phi": 1.0, "held_out": 0.1},
        [{"entities": 2000}, {"entities": 6000}, {"relations": 6000}],
    ),
    "comparison": (
        {"entities": 50, "phi": 1.0, "held_out": 20},
        [{"entities": 2000}, {"entities": 3500}, {"phi": 60.0}],
    ),
    "copy": ({}, [{"symbols": 300_000, "distinct": False}]),
    "mqar": ({}, [{"keys": 150_000, "values": 150_000}]),
}
SLOW = (pytest.mark.slow,)
#: kinds of which the first is in the quick tests
QUICK = ("bios", "biod", "random_sequences", "multihop", "composition", "comparison")
CASES = [
    pytest.param(kind, small, large, marks=SLOW if i or kind not in QUICK else (), id=f"{kind}-{i}")
    for kind, (small, more) in WORLDS.items()
    for i, large in enumerate(more)
]


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc"
)
@pytest.mark.parametrize(("kind", "small", "large"), CASES)
def test_the_peak_is_the_one_told(kind: str, small: dict[str, Any], large: dict[str, Any]) -> None:
    fields = [json.dumps({"kind": kind, **part}) for part in (small, large)]
    found = subprocess.check_output([sys.executable, "-c", MAKE, *fields], text=True)
    told = choices(Task, "generators")[kind].model_validate(large).world_bytes  # pyrefly: ignore
    assert told > 30e6, "large enough to be seen beside the interpreter"
    assert 0.5 < int(found) / told < 1.3


def test_half_a_million_people_take_little_memory() -> None:
    """With the margin of the test above and the interpreter, less than 500 MB."""
    people = choices(Task, "generators")["bios"].model_validate(PEOPLE | {"people": 500_000})
    assert 1.3 * people.world_bytes < 400e6  # pyrefly: ignore


def test_every_kind_with_a_world_is_measured() -> None:
    without = {"mixture", "retry"} | {
        k for k, c in choices(Task, "generators").items() if not c().world_bytes
    }  # pyrefly: ignore
    assert set(WORLDS) | without == set(choices(Task, "generators"))


GRID = """
baseline:
  task: {{kind: bios, pools: full, people: {people}}}
  model: {{width: 32, heads: 1}}
  training: {{batch: 64, phases: [{{until_step: 5}}]}}
"""


@pytest.mark.parametrize("people", [100_000_000, 36_000_000])
def test_plan_and_run_refuse_a_world_before_they_try(
    people: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Larger than the memory, and not larger, but with no room for the rest of the run."""
    monkeypatch.setenv("LOOPSCOPE_MEMORY", "8G")
    monkeypatch.setattr("generators.biographies.draw_world", None)
    path, out = tmp_path / "grid.yaml", tmp_path / "out"
    path.write_text(GRID.format(people=people))
    for refused in (
        lambda: plan(load_grid(path), out),
        lambda: run_grid(load_grid(path), out, progress=False),
    ):
        with pytest.raises(LoopscopeError, match=r"needs .* GB of .* are 8 GB.* smaller world"):
            refused()
    assert not out.exists() or not list(out.glob("*/config.json"))
    monkeypatch.setenv("LOOPSCOPE_MEMORY", "80G")
    (config,) = load_grid(path).runs.values()
    assert run_memory(config) > config.task.world_bytes + 4e8


@pytest.mark.parametrize(
    "task",
    [Copying(length=9, shortest=3, symbols=30), MQAR(pairs=4, length=32, keys=30, values=30)],
    ids=lambda task: task.kind,
)
def test_symbols_in_parts_are_the_same_symbols(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task.bind(2)
    whole = task.sample(generator(2, Stream.TRAIN), 100)
    monkeypatch.setattr(distinct, "DRAWN_AT_ONCE", 7 * 30)
    assert np.array_equal(task.sample(generator(2, Stream.TRAIN), 100).tokens, whole.tokens)


def test_floors_of_few_sequences_of_many_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """More entities than can be looked at for every sequence of relations: some stand for all."""
    task = MultiHop(entities=300, relations=6, hops=3, hold_out="questions").bind(0)
    full = task.floors()
    monkeypatch.setattr("generators.multihop.FLOOR_CELLS", 300 * 6 * 20)
    some = MultiHop(entities=300, relations=6, hops=3, hold_out="questions").bind(0).floors()
    for name, floor in full.items():
        assert some[name] == pytest.approx(floor, rel=0.1)
