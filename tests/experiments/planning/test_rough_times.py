"""What `plan` says of times before anything is known of a device, against what runs took."""

from pathlib import Path

import pytest

from experiments.grid.grid import load_grid
from experiments.planning.plan import plan
from experiments.results.long_table import load_runs


@pytest.mark.parametrize("name", ["quick", "headline", "capacity_law", "mano", "saturation"])
def test_a_rough_estimate_is_within_a_factor_of_three(name: str, tmp_path: Path) -> None:
    """Of the processor time that reference results took, on two machines, alone and stacked."""
    runs = load_runs(f"reference:{name}", name).drop_duplicates("run_id").set_index("run_id")
    took = runs["cpu_seconds"].dropna()
    rough = {point.run_id: point.rough for point in plan(load_grid(name), tmp_path)}
    measured = [(rough[run_id], seconds) for run_id, seconds in took.items() if run_id in rough]
    assert len(measured) >= 6
    estimate, seconds = map(sum, zip(*measured, strict=True))
    assert 1 / 3 < estimate / seconds < 3
