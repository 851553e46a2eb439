"""Weights of hops change where the phases of a run say."""

from typing import Any

import numpy as np
import pytest

from experiments.config.run import RunConfig
from generators.streams import Stream, generator


def run_of(task: Any, phases: list[dict]) -> RunConfig:
    training = {"batch": 8, "phases": phases}
    return RunConfig.model_validate({"task": task, "model": {"width": 16}, "training": training})


@pytest.mark.parametrize("name", ["multihop", "layered"])
def test_easier_hops_first(name: str) -> None:
    fewer = {"fewer_hops": True, "held_out": 50}
    task = {"kind": name, "hops": 3, **(fewer if name == "layered" else {})}
    plain = run_of(task, [{"until_step": 30}])
    hops = [str(d) for d in plain.task.difficulties]
    phases = [
        {"until_step": 10, "weights": {hops[0]: 1}},
        {"until_step": 20, "weights": {hops[0]: 1, hops[1]: 3}},
        {"until_step": 30},
    ]
    run = run_of(task, phases)
    bound = run.bound_task()
    seen = [
        bound.sample(generator(0, Stream.TRAIN, step), 2000, index=8 * step).difficulty
        for step in (9, 10, 20)
    ]
    assert set(seen[0]) == {int(hops[0])}
    assert np.mean(seen[1] == int(hops[1])) == pytest.approx(0.75, abs=0.05)
    assert set(seen[1]) == {int(h) for h in hops[:2]} and set(seen[2]) == {int(h) for h in hops}
    same = plain.bound_task().sample(generator(0, Stream.TRAIN, 25), 8, index=200)
    last = bound.sample(generator(0, Stream.TRAIN, 25), 8, index=200)
    assert np.array_equal(same.tokens, last.tokens)
    assert run.run_id != plain.run_id
