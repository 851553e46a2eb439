"""What measuring costs, against what trained runs say that their probes read."""

from pathlib import Path
from typing import Any

import pytest

from experiments.config.costs import Work, cost_and_work
from experiments.config.run import RunConfig
from experiments.planning.probe_costs import documents_read, measuring_work
from experiments.runs.folder import RunFolder
from experiments.training.train import train


def config(task: dict[str, Any], **observe: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "task": task,
            "model": {"kind": "looped", "width": 16, "heads": 2},
            "training": {"batch": 16, "phases": [{"until_step": 4}]},
            "observe": observe,
        }
    )


HOPS = {"kind": "multihop", "entities": 8, "relations": 4, "hops": 2}
FEW = {"kind": "accuracy", "items": 40, "splits": ["test", "train"]}
TWO = {"kind": "accuracy", "items": 40, "difficulties": [2]}


@pytest.mark.parametrize(
    "run",
    [
        config(HOPS),
        config(HOPS, evaluate_every=2),
        config(HOPS, probes=[FEW], evaluate_every=3, evaluate_with=[TWO]),
        config({"kind": "mano", "length": 3}, probes=[FEW]),
    ],
    ids=["default", "rhythm", "named", "mano"],
)
def test_as_many_documents_as_a_run_reads(run: RunConfig, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / run.run_id)
    assert train(run, folder)
    result = folder.result()
    assert result is not None
    looked = [line["measurements"] for line in folder.metrics() if "measurements" in line]
    at_end, each = documents_read(run)
    assert at_end == sum(row["n_items"] for row in result["measurements"])
    assert {each} == {sum(r["n_items"] for r in rows) for rows in looked} or not looked
    needed, work = cost_and_work(run)
    found = measuring_work(run, needed, work)
    read = at_end + len(looked) * each
    assert found.flops == pytest.approx(work.flops / 3 / needed.documents * read)


def test_nothing_to_read_is_no_work_and_people_are_read_once() -> None:
    run = config(HOPS, probes=[])
    assert measuring_work(run, *cost_and_work(run)) == Work()
    bios = config({"kind": "bios", "people": 70, "pools": "small"}, probes=[{"kind": "capacity"}])
    assert documents_read(bios) == (70, 0)
