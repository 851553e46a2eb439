"""The memorisation tasks as runs: trained, counted in exposures and measured by default."""

from pathlib import Path
from typing import Any

import pytest

from experiments.config.costs import cost
from experiments.config.run import RunConfig
from experiments.runs.folder import RunFolder
from experiments.training.train import train


@pytest.mark.parametrize(
    "task, probe, documents",
    [
        ({"kind": "biod", "people": 20, "attributes": 2}, "capacity_biod", 40),
        ({"kind": "random_sequences", "sequences": 20, "length": 5}, "capacity_sequences", 40),
        ({"kind": "extraction", "biographies": {"people": 12}, "qa_ratio": 0.75}, "accuracy", 96),
    ],
    ids=["biod", "random_sequences", "extraction"],
)
def test_two_exposures_of_everything(
    tmp_path: Path, task: dict[str, Any], probe: str, documents: int
) -> None:
    run = RunConfig.model_validate(
        {
            "task": task,
            "model": {"kind": "looped", "width": 16, "loops": 2},
            "training": {"batch": 7, "phases": [{"until_exposure": 2}]},
        }
    )
    folder = RunFolder(tmp_path / run.run_id)
    assert train(run, folder)
    result = folder.result()
    assert result is not None
    assert result["exposures"] == 2 and result["documents"] == documents == cost(run).documents
    assert probe in {row["probe"].rpartition("-")[0] for row in result["measurements"]}
    if probe.startswith("capacity"):
        total = [r for r in result["measurements"] if r["metric"] == "bits_per_parameter"]
        bits = run.bound_task().information_bits()
        ceilings = {row["item"]: row["ceiling"] for row in total}
        (counted,) = (r for r in result["measurements"] if r["metric"] == "counted_parameters")
        assert counted["value"] <= counted["ceiling"] == result["parameters"]["total"]
        assert ceilings["total"] * counted["value"] == pytest.approx(bits)
