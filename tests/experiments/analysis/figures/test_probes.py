"""Figures of sizes, training questions, exits, caches and the lens: the data behind each."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic_results import accuracies, bits, config, write_run

from experiments.analysis.drawing.style import style
from experiments.analysis.figures import draw, figure_of
from experiments.analysis.figures.cache_strategies import CacheStrategies
from experiments.analysis.figures.capacity_versus_parameters import CapacityVersusParameters
from experiments.analysis.figures.exit_distribution import ExitDistribution
from experiments.analysis.figures.extrapolation import Extrapolation
from experiments.analysis.figures.growth import Growth
from experiments.analysis.figures.heat_map import HeatMap
from experiments.analysis.figures.priors import EXITS, Priors
from experiments.analysis.figures.q_exit_curve import QExitCurve
from experiments.analysis.figures.sample_efficiency import SampleEfficiency
from experiments.errors import LoopscopeError
from experiments.results.long_table import load_curves, read_results
from experiments.runs.output import prepare_output
from generators.multihop import MultiHop

KINDS = (
    "cache_strategies",
    "capacity_versus_parameters",
    "exit_distribution",
    "extrapolation",
    "growth",
    "heat_map",
    "priors",
    "q_exit_curve",
    "sample_efficiency",
)
LOOPS = 3


def row(metric: str, value: float, item: str = "", loop: int = LOOPS, **fields: Any) -> dict:
    place = {"split": "test", "item": item, "difficulty": 2, "loop": loop, "n_items": 100}
    return {"metric": metric, "value": value, **place, **fields}


def probed(seed: int) -> list[dict[str, Any]]:
    """Rows as the probes accuracy, exits, decoding and lens give them."""
    rows = accuracies(LOOPS, {2: 0.9 + 0.01 * seed}, 0.1)
    for item, loops, accuracy in (
        ("all", 3.0, 0.9),
        ("static loop=1", 1.0, 0.2),
        ("static loop=2", 2.0, 0.6),
        ("quantile q=0.5", 1.5, 0.7),
    ):
        ends = {"low": accuracy - 0.05, "high": accuracy + 0.05, "floor": 0.1}
        rows += [row("exit_accuracy", accuracy, item, **ends), row("exit_loops", loops, item)]
    for cache, size, accuracy in (("full", 1536, 0.9), ("average", 512, 0.5)):
        item = f"exit all, cache {cache}, prefill full"
        ends = {"low": accuracy - 0.05, "high": accuracy + 0.05, "floor": 0.1}
        rows += [row("accuracy", accuracy, item, **ends), row("cache_bytes_per_token", size, item)]
    for loop in range(1, 4 * LOOPS + 1):
        over = 0.9 if loop <= LOOPS else 0.5
        rows.append(row("loops_accuracy", over, loop=loop, floor=0.1))
    for loop in range(1, LOOPS + 1):
        for place in ("", f"@core.0.loop.{loop}"):
            rows.append(row("lens_accuracy", 0.3 * loop, f"answer{place}", loop, floor=0.1))
            rows.append(row("lens_accuracy", 0.9 - 0.3 * loop, f"hop.1{place}", loop))
    return rows


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures") / "runs"
    prepare_output(folder)
    for seed in range(2):
        lines = [
            {"step": step, "loss": 1.0, "exit.1": p, "exit.2": 1 - p, "mean_exit": 2 - p}
            for step, p in ((50, 0.5), (100, 0.75 + 0.05 * seed))
        ]
        grown = {"step": 51, "from": "1⊗4", "loss_before": 1.0, "loss_after": 1.5 + 0.5 * seed}
        lines.insert(1, {"step": 51, "growth": grown | {"last_loop_before": 0.5}})
        for held_out in (0.2, 0.6):
            run = config("multihop", LOOPS, seed)
            run["task"] |= {"entities": 8, "relations": 6, "hops": 2, "held_out": held_out}
            name = f"asked-{held_out}-{seed}"
            write_run(folder, name, run, probed(seed), metrics=lines)
        for exposures in (100, 200):
            run = config("bios", LOOPS, seed, phases=[{"until_exposure": exposures}])
            rows = bits(LOOPS, 1.5)
            stored = {**rows[-1], "metric": "bits", "value": 15_000.0, "ceiling": 30_000.0}
            name = f"stored-{exposures}-{seed}"
            write_run(folder, name, run, [*rows, stored], exposures=exposures)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_renders_its_three_files(kind: str, out: Path, tmp_path: Path) -> None:
    png, svg, csv = draw(kind, out, None, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG") and png.stat().st_size > 10_000
    assert "<svg" in svg.read_text() and len(pd.read_csv(csv)) > 0


def test_capacity_versus_parameters_draws_bits_and_their_lines(out: Path) -> None:
    figure = CapacityVersusParameters()
    data = figure.data(read_results(out))
    assert set(data["value"]) == {15_000.0} and set(data["parameters"]) == {10_000}
    assert set(data["hue"]) == {"1⊗3"}
    assert set(data["series"]) == {"100 exposures", "200 exposures"}
    with style():
        (axes,) = figure.plot(data).axes
    lines = [(line.get_xdata(), line.get_ydata()) for line in axes.lines]
    slopes = {round(y[0] / x[0], 3) for x, y in lines if len(x) == 2 and y[0] / x[0] == y[1] / x[1]}
    assert {2.0, 1.0, 0.5} <= slopes
    bars = [s for c in axes.collections if hasattr(c, "get_segments") for s in c.get_segments()]
    assert any(set(bar[:, 1]) == {30_000.0} for bar in bars if len(bar)), "R_max in bits"


def test_training_questions_are_those_of_the_task(out: Path) -> None:
    data = SampleEfficiency().data(read_results(out))
    for row_ in data.itertuples():
        _, held_out, seed = row_.run_id.split("-")
        task = MultiHop(entities=8, relations=6, hops=2, held_out=float(held_out))
        task = task.with_fields(hold_out="questions").bind(int(seed))
        assert row_.questions == (task.split_of(2, pd.Series(range(8 * 36)).to_numpy()) == 0).sum()
    assert data["mean_questions"].nunique() == 2, "seeds of one arm stand together"
    assert set(data["difficulty"]) == {2} and set(data["loop"]) == {LOOPS}


def test_exit_distribution_is_of_every_loop_and_step(out: Path) -> None:
    data = ExitDistribution().data(read_results(out))
    by = data[data["run_id"] == "asked-0.2-1"].set_index(["step", "hue"])["value"]
    assert by.to_dict() == {
        (50, "loop 1"): 0.5,
        (50, "loop 2"): 0.5,
        (100, "loop 1"): 0.8,
        (100, "loop 2"): pytest.approx(0.2),
    }


def test_growth_has_the_curve_and_both_sides_of_its_moment(out: Path) -> None:
    data = Growth().data(read_results(out))
    moments = data[data["metric"] == "growth_loss"]
    assert set(zip(moments["seed"], moments["item"], moments["value"], strict=True)) == {
        (0, "before", 1.0),
        (0, "after", 1.5),
        (1, "before", 1.0),
        (1, "after", 2.0),
    }
    assert set(moments["step"]) == {51}
    assert set(data[data["metric"] == "loss"]["step"]) == {50, 100}
    curves = load_curves(out)
    assert set(curves[curves["metric"] == "growth_last_loop"]["value"]) == {0.5}
    with style():
        axes = Growth().plot(data).axes[0]
    assert [text.get_text() for text in axes.texts] == ["1 → 1.75"], "means over seeds"
    assert axes.get_yscale() == "log"
    with pytest.raises(LoopscopeError, match="no results with .*metric growth_loss; measured"):
        Growth(where={"task": "bios"}).data(read_results(out))


def test_priors_take_the_last_exits_and_every_loops_accuracy(out: Path) -> None:
    data = Priors().data(read_results(out))
    exits = data[data["panel"] == EXITS]
    assert set(exits["step"]) == {100}
    accuracy = data[data["panel"] == "accuracy, 2 hops"]
    assert set(accuracy["loop"]) == {1, 2, 3} and accuracy["value"].max() == pytest.approx(0.91)


def test_q_exit_curve_pairs_accuracy_with_loops(out: Path) -> None:
    data = QExitCurve().data(read_results(out))
    pairs = set(zip(data["item"], data["mean_loops"], data["value"], strict=True))
    assert pairs == {
        ("all", 3.0, 0.9),
        ("static loop=1", 1.0, 0.2),
        ("static loop=2", 2.0, 0.6),
        ("quantile q=0.5", 1.5, 0.7),
    }
    assert set(data["rule"]) == {"all", "static", "quantile"}


def test_extrapolation_goes_beyond_the_loops_trained(out: Path) -> None:
    figure = Extrapolation()
    data = figure.data(read_results(out))
    assert set(data["loop"]) == set(range(1, 13)) and set(data["hue"]) == {"1⊗3"}
    assert set(data[data["loop"] > LOOPS]["value"]) == {0.5}
    with style():
        (axes,) = figure.plot(data).axes
    upright = [x for line in axes.lines if len(set(x := list(line.get_xdata()))) == 1]
    assert [LOOPS, LOOPS] in upright, "a line where training stopped"


def test_cache_strategies_say_what_they_keep(out: Path) -> None:
    data = CacheStrategies().data(read_results(out))
    assert set(zip(data["setting"], data["value"], strict=True)) == {
        ("cache full: 1.54 kB/token", 0.9),
        ("cache average: 512 B/token", 0.5),
    }


def test_heat_map_has_a_cell_per_loop_and_layer(out: Path) -> None:
    figure = HeatMap(target="hop.1", where={"run_id": ["asked-0.2-0", "asked-0.2-1"]})
    data = figure.data(read_results(out))
    assert set(data["layer"]) == {"core.0", "end"} and set(data["n"]) == {2}
    by_loop = data[data["layer"] == "end"].set_index("loop")["mean"]
    assert by_loop.to_dict() == {n: pytest.approx(0.9 - 0.3 * n) for n in (1, 2, 3)}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture whose two components are probed: `far` has half the values of `near`."""
    folder = tmp_path_factory.mktemp("mixed") / "runs"
    prepare_output(folder)
    lines = [{"step": 50, "loss": 1.0, "exit.1": 0.5, "exit.2": 0.5, "mean_exit": 1.5}]
    near = {"kind": "multihop", "entities": 8, "relations": 6, "hops": 2}
    parts = {"near": {"task": near}, "far": {"task": {**near, "entities": 16}}}
    run = config("mixture", LOOPS, 0)
    run["task"] |= {"components": parts}
    rows = [
        {**found, "component": name, "value": share * found["value"]}
        for name, share in (("near", 1.0), ("far", 0.5))
        for found in probed(0)
    ]
    write_run(folder, "a", run, rows, metrics=lines)
    return folder


@pytest.mark.parametrize(
    "kind", [k for k in KINDS if not k.startswith(("capacity", "exit_distribution", "growth"))]
)
def test_components_of_a_mixture_have_panels_of_their_own(kind: str, mixed: Path) -> None:
    data = figure_of(kind).data(read_results(mixed))
    value = "mean" if "mean" in data else "value"
    two = {
        name: data[data["panel"].str.contains(name)].reset_index(drop=True)
        for name in ("near", "far")
    }
    assert len(two["near"]) == len(two["far"]) > 0
    assert (two["near"][value] == 2 * two["far"][value]).all()
    assert not set(two["near"]["panel"]) & set(two["far"]["panel"])


def test_training_questions_of_a_mixture_are_those_of_its_component(mixed: Path) -> None:
    data = SampleEfficiency().data(read_results(mixed)).set_index("component")
    for name, entities in (("near", 8), ("far", 16)):
        task = MultiHop(entities=entities, relations=6, hops=2, hold_out="questions").bind(0)
        assert data.loc[name, "questions"] == task.count("train", 2)


def test_heat_map_sets_tokens_further_left_further_left(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    rows = []
    for before in ("", " -1"):
        rows.append(row("probe_selectivity", -0.01, f"hop.1@embed{before}", 0))
        for loop in (1, 2):
            value = 0.4 * loop + (0.1 if before else 0.0)
            rows.append(row("probe_selectivity", value, f"hop.1@core.0{before}", loop))
            rows.append(row("probe_selectivity", value, f"hop.1@state{before}", loop))
    write_run(tmp_path, "a", config("multihop", 2, 0), rows)
    figure = HeatMap(metric="probe_selectivity")
    data = figure.data(read_results(tmp_path))
    assert set(data[data["loop"] == 0]["layer"]) == {"end"}, "the embedding comes before loop 1"
    with style():
        axes, bar = figure.plot(data).axes
    assert bar.get_ylabel() == "probe selectivity"
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks == ["core layer 1 −1", "end −1", "core layer 1", "end"]
    cells = [text.get_text() for text in axes.texts]
    assert cells == ["-0.01", "-0.01", *["0.50"] * 2, *["0.40"] * 2, *["0.90"] * 2, *["0.80"] * 2]
    assert axes.collections[0].get_clim() == (-0.01, 1.0)


def test_heat_map_of_swapped_states_has_a_column_per_token(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    items = {"each@state -1": (1.0, 0.0), "each@state": (0.25, 0.75)}
    rows = [row("follows_donor", v[i], item, i) for item, v in items.items() for i in (0, 1)]
    write_run(tmp_path, "a", config("multihop", 1, 0), [*rows, row("follows_donor", 0.5, "all", 0)])
    figure = HeatMap(metric="follows_donor", target="each")
    with style():
        axes, _ = figure.plot(figure.data(read_results(tmp_path))).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["−1", "0"]
    assert [text.get_text() for text in axes.texts] == ["1.00", "0.25", "0.00", "0.75"]
    assert axes.get_xlabel() == "token, 0: the one before the answer"
    assert "each" not in axes.get_title()


def test_q_exit_curve_leaves_out_what_has_one_loop(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    for loops in (1, 3):
        rows = [row("exit_accuracy", 0.5, "static loop=1"), row("exit_loops", 1, "static loop=1")]
        write_run(tmp_path, f"a{loops}", config("multihop", loops, 0), rows)
    figure = QExitCurve()
    data = figure.data(read_results(tmp_path))
    assert set(data["n_loops"]) == {3}
    with style():
        (axes,) = figure.plot(data).axes
    assert axes.get_xticks().tolist() == [1, 2, 3]
