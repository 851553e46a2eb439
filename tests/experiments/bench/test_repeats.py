"""How far a run ends from itself: trained in three ways, and read from results there are."""

import json
from pathlib import Path

import pytest
import torch
from synthetic_results import accuracies, bits, config, write_run
from typer.testing import CliRunner

from experiments.analysis.verdicts.cells import Cell
from experiments.analysis.verdicts.claims import HYPOTHESES, REPEATS
from experiments.analysis.verdicts.text import report
from experiments.analysis.verdicts.verdicts import judge
from experiments.bench.repeats import WAYS, Spread, spreads, train_all_ways
from experiments.cli.main import app
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.runs.folder import RunFolder
from experiments.runs.output import prepare_output

REFERENCE = Path(__file__).parents[3] / "experiments" / "reference"


def tiny(seed: int, width: int = 16) -> RunConfig:
    return RunConfig.model_validate(
        {
            "task": {"kind": "multihop", "entities": 8, "relations": 4, "hops": 2},
            "model": {"width": width, "heads": 1, "loops": 2},
            "training": {"batch": 16, "phases": [{"until_step": 3}]},
            "seed": seed,
        }
    )


@pytest.mark.slow
def test_every_way_trains_the_same_runs(tmp_path: Path) -> None:
    pair, alone = [tiny(0), tiny(1)], tiny(0, width=8)
    lines = list(train_all_ways([*pair, alone], tmp_path))
    assert len(lines) == 3 + 3 + 1, "the two of one shape are stacked, and nothing stands beside 8"
    ids = [c.run_id for c in pair]
    for way in WAYS:
        wanted = ids if way == "stacked" else [*ids, alone.run_id]
        results = [RunFolder(tmp_path / way / name).result() for name in wanted]
        assert all(result is not None for result in results)
    environment = RunFolder(tmp_path / "stacked" / ids[0]).environment()
    assert environment is not None and environment["stacked_with"] == [ids[1]]
    assert torch.get_num_threads() == 1
    assert list(train_all_ways([*pair, alone], tmp_path)) == [], "there is nothing left to train"
    found = {s.quantity: s for s in spreads(tmp_path / way for way in WAYS)}
    two = found["multihop, 2 hops: accuracy"]
    assert (two.runs, two.ways) == (3, 3) and 0 <= two.median <= two.largest < 0.2


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    """Three repeats of two runs, bits .26 and .02 apart, accuracies .1 and 0; one run of one."""
    stored = {"a": (1.5, 1.76, 1.6), "b": (1.5, 1.51, 1.52), "c": (9.0,)}
    right = {"a": (0.4, 0.5, 0.45), "b": (1.0, 1.0, 1.0)}
    found = [tmp_path / name for name in ("here", "there", "stacked")]
    for i, place in enumerate(found):
        prepare_output(place)
        for name, values in stored.items():
            if i < len(values):
                write_run(place, name, config("bios", 2, 0), bits(2, values[i]))
        for name, values in right.items():
            rows = accuracies(2, {1: 0.1 * i, 2: values[i]}, 0.1)
            write_run(place, f"asked-{name}", config("multihop", 2, 0), rows)
    return found


def test_spread_is_the_largest_less_the_smallest(places: list[Path]) -> None:
    stored, two = spreads(places)
    assert stored[:3] == ("bios: bits per parameter", 2, 3)
    assert stored[3:] == pytest.approx(((0.26 + 0.02) / 2, 0.26))
    assert two[:3] == ("multihop, 2 hops: accuracy", 2, 3)
    assert two[3:] == pytest.approx((0.05, 0.1))
    with pytest.raises(LoopscopeError, match="no run is in two of these places"):
        spreads(places[:1])
    with pytest.raises(LoopscopeError, match="no run is in two of these places"):
        spreads([])


def test_the_command_prints_and_writes_it(places: list[Path], tmp_path: Path) -> None:
    asked = [word for place in places for word in ("--beside", str(place))]
    file = tmp_path / "repeats.json"
    said = CliRunner().invoke(app, ["bench", "repeats", *asked, "--json", str(file)])
    assert said.exit_code == 0 and "largest spread" in said.output and "0.2600" in said.output
    written = json.loads(file.read_text())["spreads"]
    assert [Spread(**spread) for spread in written] == spreads(places)
    nothing = CliRunner().invoke(app, ["bench", "repeats"])
    assert isinstance(nothing.exception, LoopscopeError)
    assert "needs a grid to train, such as repeats, or --beside" in str(nothing.exception)


def test_the_least_difference_that_compare_tells_is_the_one_measured() -> None:
    places = ("saturation.zip", "repeats.zip", "repeats_stacked.zip")
    places += ("headline", "precision.zip", "inside")
    written = json.loads((REFERENCE / "repeats.json").read_text())["spreads"]
    found = spreads(REFERENCE / place for place in places)
    assert [Spread(**spread) for spread in written] == [
        s._replace(median=pytest.approx(s.median), largest=pytest.approx(s.largest)) for s in found
    ]
    for ability, unit in (("capacity", "bits per parameter"), ("manipulation", "accuracy")):
        largest = max(s.largest for s in found if s.quantity.endswith(unit))
        assert REPEATS[ability] == round(largest, 2)


@pytest.mark.parametrize(("shift", "told"), [(0.1, True), (-0.1, True), (0.9, False)])
def test_small_differences_are_told_to_be_within_repeats(shift: float, told: bool) -> None:
    a = (1.0, 1.2, 1.1)
    b = tuple(v + shift + 0.01 * i for i, v in enumerate(a))
    claim = HYPOTHESES["capacity-different"]
    said = report("x", claim, judge([Cell("cell", "1⊗1", "1⊗4", (0, 1, 2), a, b)], claim))
    assert ("A single run trained again has ended up to 0.65 bits per parameter" in said) == told
