"""Runs that start from another point of their grid: which one, when, and what can go wrong."""

from pathlib import Path

import pytest

from experiments.errors import LoopscopeError
from experiments.execution.order import unique_runs
from experiments.execution.runner import run_grid
from experiments.grid.grid import Grid, load_grid
from experiments.grid.located_yaml import ConfigError
from experiments.runs.folder import RunFolder
from experiments.training.train import train

BASE = """\
name: g
baseline:
  task: {kind: multihop, entities: 8, relations: 4, hops: 1}
  model: {width: 8, heads: 1, loops: 2}
  objective: {kind: entropy}
  training: {batch: 8, phases: [{until_step: 2}]}
  observe: {probes: []}
"""
ARMS = """
axes:
  arm:
    - {name: second, start: {arm: first}, objective: {kind: gate}}
    - {name: first}
  seed: [0, 1]
"""

#: a part whose runs start from some of another
PARTS = """
axes: {seed: [0, 1]}
parts:
  after: {baseline: {start: {part: before, model.loops: 2}, objective: {kind: gate}}}
  before: {axes: {model.loops: [1, 2]}}
"""


def load(tmp_path: Path, extra: str, *changes: str) -> Grid:
    path = tmp_path / "g.yaml"
    path.write_text(BASE + extra, encoding="utf-8")
    return load_grid(path, changes)


def wrong(tmp_path: Path, extra: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, extra)
    return str(caught.value).splitlines()


def starts(grid: Grid) -> dict[str, str | None]:
    """Name of a point -> name of the one it starts from."""
    names = {p.run_id: " ".join([p.part, *p.labels.values()]).strip() for p in grid.points}
    return {names[p.run_id]: names.get(p.config.start or "") for p in grid.points}


def test_a_start_agrees_on_every_other_axis(tmp_path: Path) -> None:
    assert starts(load(tmp_path, ARMS)) == {
        "second 0": "first 0",
        "second 1": "first 1",
        "first 0": None,
        "first 1": None,
    }


@pytest.mark.parametrize("change", ["model.width=16", "seed=7", "training.lr=1e-2"])
def test_what_is_set_for_every_run_is_set_for_the_start(tmp_path: Path, change: str) -> None:
    grid = load(tmp_path, ARMS, change)
    seconds = [p for p in grid.points if p.labels["arm"] == "second"]
    firsts = {p.labels["seed"]: p.run_id for p in grid.points if p.labels["arm"] == "first"}
    assert seconds and all(p.config.start == firsts[p.labels["seed"]] for p in seconds)


def test_the_runs_of_a_part_are_its_own_and_those_that_they_start_from(tmp_path: Path) -> None:
    grid = load(tmp_path, PARTS)
    of = {p.run_id: (p.part, p.config.model.loops, p.config.seed) for p in grid.points}
    before = [("before", n, seed) for seed in (0, 1) for n in (1, 2)]
    after = [("after", 2, seed) for seed in (0, 1)]
    assert [of[run_id] for run_id in grid.runs_of("before")] == before
    assert [of[run_id] for run_id in grid.runs_of("after")] == [*after, *before[1::2]]
    assert grid.runs_of(None) == grid.runs
    with pytest.raises(LoopscopeError, match="no part 'sweep'; it has after, before"):
        grid.runs_of("sweep")


def test_a_start_in_another_part_agrees_on_the_axes_of_both(tmp_path: Path) -> None:
    found = starts(load(tmp_path, PARTS))
    assert {k: v for k, v in found.items() if v} == {
        "after 0": "before 0 2",
        "after 1": "before 1 2",
    }


def test_starts_may_follow_each_other(tmp_path: Path) -> None:
    text = """
axes:
  arm:
    - {name: c, start: {arm: b}}
    - {name: b, start: {arm: a}}
    - {name: a}
"""
    assert starts(load(tmp_path, text)) == {"c": "b", "b": "a", "a": None}


def test_an_id_still_names_a_run_of_another_grid(tmp_path: Path) -> None:
    text = "  start: multihop-1x2-0123456789ab\n"
    (point,) = load(tmp_path, text).points
    assert point.config.start == "multihop-1x2-0123456789ab"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "axes: {arm: [{name: a}, {name: b, start: {arm: aa}}]}",
            "8:42: start: axis arm has no 'aa' (did you mean 'a'?); it has a, b",
        ),
        (
            "axes: {arm: [{name: a}, {name: b, start: {ram: a}}]}",
            "the grid has no axis 'ram' (did you mean 'arm'?)",
        ),
        ("parts: {a: {}, b: {baseline: {start: {part: c}}}}", "there is no part 'c'"),
        ("axes: {arm: [{name: a}, {name: b, start: {}}]}", "names no point"),
        ("axes: {arm: [{name: a}, {name: b, start: a}]}", "named by its labels, such as {arm: a}"),
        (
            "axes: {arm: [{name: a, start: {arm: b}}, {name: b, start: {arm: a}}]}",
            "goes round in a circle: a -> b -> a",
        ),
        ("axes: {arm: [{name: a, start: {arm: a}}]}", "goes round in a circle: a -> a"),
        (
            "parts: {a: {axes: {seed: [0, 1]}}, b: {baseline: {start: {part: a}}}}",
            "2 points of part a have these labels; say which: seed",
        ),
        (
            "parts: {a: {axes: {seed: [0]}}, b: {axes: {seed: [1]}, baseline: {start: {part: a}}}}",
            "no point of part a has seed 1",
        ),
    ],
)
def test_a_start_that_names_no_single_point(tmp_path: Path, text: str, says: str) -> None:
    found = wrong(tmp_path, text)
    assert any(says in line for line in found), found


def test_what_else_is_wrong_with_both_is_said_at_once(tmp_path: Path) -> None:
    text = """
axes:
  arm:
    - {name: a, training.lr: -1}
    - {name: b, start: {arm: a}, training.batch: 0}
"""
    found = wrong(tmp_path, text)
    assert len(found) == 2 and "training.lr" in found[0] and "training.batch" in found[1]


def test_a_run_is_in_the_shard_of_its_start(tmp_path: Path) -> None:
    grid = load(tmp_path, ARMS)
    shares = [unique_runs(grid, tmp_path, (i, 2))[0] for i in (1, 2)]
    assert sorted(f.run_id for share in shares for f in share) == sorted(grid.runs)
    for share in shares:
        ids = {folder.run_id for folder in share}
        assert len(ids) == 2 and all(grid.runs[i].start in {None, *ids} for i in ids)


def test_a_run_is_done_after_its_start(tmp_path: Path) -> None:
    grid = load(tmp_path, ARMS, "seed=0")
    out = tmp_path / "runs"
    outcome = run_grid(grid, out, workers=2, progress=False)
    assert set(outcome.done) == set(grid.runs) and not outcome.failed
    second, first = grid.points
    assert (
        f"takes over the weights of {first.run_id}" in (out / second.run_id / "log.txt").read_text()
    )


def test_where_the_start_failed_the_reason_says_so(tmp_path: Path) -> None:
    second, first = load(tmp_path, ARMS, "seed=0").points
    out = tmp_path / "runs"
    folder = RunFolder(out / second.run_id)
    with pytest.raises(LoopscopeError, match=f"start {first.run_id} has no result in"):
        train(second.config, folder)
    before = RunFolder(out / first.run_id)
    before.freeze(first.config)
    before.fail("the machine was on fire")
    with pytest.raises(
        LoopscopeError, match=r"failed \(the machine was on fire\) and has no result"
    ):
        train(second.config, folder)
    assert train(first.config, before) and train(second.config, folder)
    for path in (folder.checkpoint_path, folder.path / "result.json"):
        path.unlink()
    whole = before.checkpoint_path.read_bytes()
    before.checkpoint_path.write_bytes(whole[:-100])
    with pytest.raises(LoopscopeError, match=f"{before.checkpoint_path} is damaged .*; to make it"):
        train(second.config, folder)
    assert before.checkpoint_path.read_bytes() == whole[:-100], "it is another run's"
    before.checkpoint_path.unlink()
    with pytest.raises(LoopscopeError, match=f"{before.path} came without its weights"):
        train(second.config, folder)
