"""The benchmark of the generators: what it prints; speeds are not tested."""

import pytest
from typer.testing import CliRunner

from experiments.bench.generators import measure
from experiments.cli.main import app
from generators.multihop import MultiHop


def test_command() -> None:
    arguments = ["bench", "generators", "multihop", "layered", "--batch", "64", "--seconds", "0.01"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "batches of 64" in lines[0]
    assert [line.split()[0] for line in lines[2:]] == ["multihop", "layered"]
    assert all(len(line.split()) == 4 for line in lines[2:])


def test_unknown_task() -> None:
    result = CliRunner().invoke(app, ["bench", "generators", "multihopp"])
    assert "did you mean 'multihop'?" in str(result.exception) and result.exit_code == 1


@pytest.mark.parametrize("batch", [1, 7])
def test_any_batch(batch: int) -> None:
    length, by_process, by_wall = measure(MultiHop().bind(0), batch=batch, seconds=0.01)
    assert 4 <= length <= 6 and by_process > 0 and by_wall > 0
