"""What models store and answer at once: the crowding curve, and the plane of single models."""

from pathlib import Path

import pytest
from synthetic_results import accuracies, bits, config, write_run, write_toy

from experiments.analysis.drawing.style import style
from experiments.analysis.figures.plane import Crowding, Plane
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.results.long_table import read_results
from experiments.runs.output import prepare_output, record_grid

#: (batch, which tells the loads apart; loops) -> bits per parameter and accuracy of two seeds
MEASURED = {
    (128, 1): ((-5.0, 0.2), (-3.0, 0.3)),
    (128, 2): ((-2.0, 1.0), (-1.0, 0.9)),
    (256, 1): ((1.0, 0.15), (1.2, 0.1)),
    (256, 2): ((1.5, 0.8), (1.7, 0.7)),
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    prepare_output(tmp_path)
    for (batch, loops), seeds in MEASURED.items():
        for seed, (stored, right) in enumerate(seeds):
            rows = [*bits(loops, stored), *accuracies(loops, {2: right}, 0.1)]
            run = config("multihop", loops, seed, batch=batch)
            write_run(tmp_path, f"b{batch}-{loops}-{seed}", run, rows)
    return tmp_path


def test_a_load_stands_at_the_mean_of_what_its_seeds_store(out: Path) -> None:
    """A run that stores nothing, and is surer of what is wrong than a guess, stands at 0."""
    figure = Crowding()
    data = figure.data(read_results(out))
    points = {
        (f"1⊗{loops}", max(0.0, sum(s for s, _ in seeds) / 2), right)
        for (_, loops), seeds in MEASURED.items()
        for _, right in seeds
    }
    rows = zip(data["hue"], data["stored"].round(9), data["value"], strict=True)
    assert set(rows) == {(arm, round(stored, 9), right) for arm, stored, right in points}
    with style():
        (axes,) = figure.plot(data).axes
    assert axes.get_title().endswith("2 hops") and axes.get_xlim()[0] < 0 < axes.get_xlim()[1] < 2


def test_crowding_needs_both_in_one_run(tmp_path: Path) -> None:
    with pytest.raises(LoopscopeError, match="no run has both bits per parameter and accuracy"):
        Crowding().data(read_results(write_toy(tmp_path / "runs", seeds=1), "toy"))
    run = config("biod", 1, 0)
    run["observe"] = {"probes": [{"kind": "capacity_biod"}]}
    alone = RunConfig.model_validate(run)
    run["task"] = {
        "kind": "mixture",
        "components": {"store": {"task": run["task"]}, "questions": {"task": {"kind": "multihop"}}},
    }
    run["observe"]["probes"].append({"kind": "accuracy"})
    both = RunConfig.model_validate(run)
    assert [list(Crowding().missing([("", one)])) != [] for one in (alone, both)] == [True, False]


def test_in_the_plane_a_run_that_has_both_is_a_point_of_its_own(out: Path) -> None:
    """Architecture and seed would match each load with the other as well."""
    data = Plane().data(read_results(out))
    rows = zip(
        data["n_loops"], data["seed"], data["bits_per_parameter"], data["accuracy"], strict=True
    )
    assert set(rows) == {
        (loops, seed, max(stored, 0.0), right)
        for (_, loops), seeds in MEASURED.items()
        for seed, (stored, right) in enumerate(seeds)
    }
    assert len(data) == 8 and data["panel"].nunique() == 1
    with style():
        picture = Plane().plot(data)
    assert "in the same runs" in picture.get_supxlabel()


def test_where_nothing_is_stored_all_stand_at_zero(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    rows = [*bits(1, -1.0), *accuracies(1, {2: 0.5}, 0.1)]
    write_run(tmp_path, "r", config("multihop", 1, 0), rows)
    figure = Crowding()
    with style():
        (axes,) = figure.plot(figure.data(read_results(tmp_path))).axes
    assert axes.get_xlim() == pytest.approx((-0.06, 1.06))


def test_a_run_in_two_parts_stores_its_bits_once(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    rows = [*bits(1, 1.5), *accuracies(1, {2: 0.5}, 0.1)]
    write_run(tmp_path, "r", config("multihop", 1, 0), rows)
    points = [{"run_id": "r", "part": part, "labels": {}} for part in ("one", "two")]
    record_grid(tmp_path, "g", title="", figures=[], points=points)
    data = Crowding().data(read_results(tmp_path, "g"))
    assert data["stored"].tolist() == [1.5, 1.5] and data["panel"].nunique() == 2
