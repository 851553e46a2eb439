"""Work of any size that the growth of commands is measured on; times are not tested."""

import resource
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.bench import growth
from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.grid import load_grid
from experiments.results.long_table import read_results


def test_copies_are_finished_runs_as_good_as_trained_ones(tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text(growth.MANY.format(lines=3, loops=[1, 2], seeds=[0, 1]))
    grid = load_grid(tmp_path / "many.yaml")
    growth.fill(grid, tmp_path / "runs")
    results = read_results(tmp_path / "runs", "many")
    runs = results.runs.drop_duplicates("run_id")
    assert sorted(runs["run_id"]) == sorted(grid.runs)
    assert set(runs["status"]) == {"done"} and results.problems == []
    assert sorted(zip(runs["n_loops"], runs["seed"], strict=True)) == [
        (1, 0), (1, 1), (2, 0), (2, 1)
    ]  # fmt: skip
    losses = results.curves[results.curves["metric"] == "loss"]
    assert losses.groupby("run_id").size().tolist() == [3] * 4, "no line is refused"


def test_every_command_is_run_on_as_much_as_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = list[str]()

    def run(command: list[str]) -> tuple[float, int]:
        result = CliRunner().invoke(app, list(command))
        assert result.exit_code == 0, result.output
        printed.append(result.stdout)
        return 1.25, 3_000_000

    monkeypatch.setattr(growth, "measured", run)
    result = CliRunner().invoke(
        app, ["bench", "growth", "--runs", "9", "--people", "300000", "--lines", "2"]
    )
    assert result.exit_code == 0, result.output
    head, *rows = result.stdout.splitlines()[1:]
    assert head.split("  ")[0] == "work" and len(rows) == len(printed) == 8
    assert all(row.endswith("1.2 s           3 MB") for row in rows)
    assert "10 runs (10 missing)" in printed[0] and "10 runs (10 done)" in printed[1]
    assert "300000 people" in rows[6] and "5 runs (5 missing)" in printed[7]
    assert rows[3].startswith("tabled, with 20 lines of metrics  ")


def test_time_and_memory_are_those_of_the_process_that_ran() -> None:
    seconds, memory = growth.measured(["list", "probes"])
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * growth.RSS
    assert 0.05 < seconds < 60 and 2e7 < memory < own - 5e7, "this process has torch, that has not"
    with pytest.raises(LoopscopeError, match="plan nowhere failed: .*nowhere"):
        growth.measured(["plan", "nowhere"])
