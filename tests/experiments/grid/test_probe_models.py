"""What a probe asks of a model that will not be there is refused before anything is trained."""

import re
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from experiments.config.run import RunConfig
from experiments.grid.run_checks import problems
from experiments.measuring.measure import measure, subject_of
from probes.exits import Exits

QUANTILE = {"kind": "decoding", "cache": {}, "exit": {"kind": "quantile", "q": 0.5}}


def config(probe: dict[str, Any], objective: str = "last_loop", **model: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "task": {"kind": "multihop", "entities": 8, "relations": 4, "hops": 2},
            "model": {"width": 8, "heads": 1, "loops": 2, **model},
            "objective": {"kind": objective},
            "training": {"batch": 8, "phases": [{"until_step": 3}]},
            "observe": {"probes": [probe]},
        }
    )


@pytest.mark.parametrize(
    ("probe", "objective", "model", "says"),
    [
        (QUANTILE, "last_loop", {}, "exit quantile .* objective last_loop trains none"),
        (QUANTILE, "act", {}, "exit quantile .* objective act trains none"),
        (QUANTILE, "entropy", {"loops": 1}, "objective last_loop trains none"),
        (
            {"kind": "decoding", "cache": {}, "exit": {"kind": "static", "loop": 5}},
            "last_loop",
            {},
            "static leaves after loop 5, but loops is 2",
        ),
        ({"kind": "exits", "static": [1, 3]}, "entropy", {}, "after loop 3, but loops is 2"),
    ],
)
def test_what_is_not_there_is_named(
    probe: dict[str, Any], objective: str, model: dict[str, Any], says: str
) -> None:
    ((at, message),) = problems(config(probe, objective, **model))
    assert at[:3] == ("observe", "probes", "0")
    assert re.search(says, message), message


@pytest.mark.parametrize("objective", ["entropy", "prior"])
def test_what_is_there_is_no_problem(objective: str) -> None:
    assert not list(problems(config(QUANTILE, objective)))
    assert not list(problems(config({"kind": "exits", "static": [1, 2]}, objective)))
    assert not list(problems(config({**QUANTILE, "loops": 5}, objective)))


def test_a_prefill_cannot_share_later_loops() -> None:
    cache = {"sharing": "last-loop", "prefill": "shared"}
    with pytest.raises(ValidationError, match="sharing last-loop cannot go with prefill shared"):
        config({"kind": "decoding", "cache": cache})


def test_exits_of_a_halting_model_are_those_that_its_gate_does_not_decide() -> None:
    run = config({"kind": "exits"}, "act", loops=3)
    task = run.bound_task()
    model = run.build_model(task).eval()
    rows = measure(subject_of(run, model, task, torch.device("cpu")), (Exits(items=8),))
    rules = {row.item.partition(" ")[0] for row in rows if row.metric == "exit_accuracy"}
    assert rules == {"all", "static", "difference", "entropy"}
    assert not any(row.item == "gate" for row in rows)
