"""A card of rows written by hand: what stands in it, its files, and its page."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import experiments
from experiments.cli.plan import schema as cli_schema
from experiments.errors import LoopscopeError
from experiments.grid.grid import load_grid
from experiments.results.long_table import Results
from experiments.suite import axes as suite_axes
from experiments.suite.axes import chosen
from experiments.suite.card import Card, Interval, cache_bytes, make_card
from experiments.suite.comparison import (
    axes_of,
    behind,
    cards_in,
    comparison_table,
    scores_table,
    standing_cells,
    write_comparison,
)
from experiments.suite.entry import Entry, find_entry
from experiments.suite.grid import CardGrid, write_grid
from experiments.suite.page import card_table, curves_table, markdown, settings_table, write_card
from experiments.suite.radar import radar_data

EXAMPLES = Path(experiments.__file__).parent / "examples"
NAMES = ("ceiling", "rounded", "composition", "in_context", "interchange")
ARMS = ("model", "unlooped", "unlooped-deep", "unlooped-long")


def rows_of(arm: str, n: int) -> list[dict[str, Any]]:
    """Runs of one architecture, the better the higher `n`."""
    loops = 4 if arm == "model" else 1
    found = []
    for seed in (0, 1):

        def row(part: str, metric: str, value: float, **more: Any) -> dict[str, Any]:
            shared = {
                "run_id": f"{part}-{arm}-{seed}",  # noqa: B023 called at once
                "part": part,
                "arm": arm,
                "seed": seed,  # noqa: B023
                "status": "done",
                "reason": "",
                "n_loops": loops,
                "loop": loops,
                "lr": 0.004,
                "parameters": 100,
                "train_flops": 1e9,
                "cpu_seconds": 5.0,
                "item": "",
                "split": "test",
            }
            return {**shared, "metric": metric, "value": value, "ceiling": 1.0, **more}

        bits = {"item": "total", "split": "train", "floor": 0.0, "ceiling": 2.0}
        found += [
            row("ceiling", "bits_per_parameter", 0.5 + 0.1 * n, **bits),
            row("ceiling", "bits_per_parameter_int8", 0.4 + 0.1 * n, **bits),
            row("ceiling", "bits_per_parameter_int4", 0.2, **bits),
            row("composition", "accuracy", 1.0 if n > 2 else 0.5, difficulty=2, floor=0.125),
            row("composition", "accuracy", 0.3, difficulty=3, floor=0.125),
            row("in_context", "accuracy", 0.6 + 0.1 * n, difficulty=4, floor=0.5),
        ]
    return found


def results(*arms: str) -> Results:
    rows = [row for arm in arms for row in rows_of(arm, len(ARMS) - ARMS.index(arm) - 1)]
    frame = pd.DataFrame(rows)

    def no_config(run_id: str) -> Any:
        raise AssertionError

    return Results(frame, lambda: frame, no_config)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, CardGrid]:
    folder = tmp_path_factory.mktemp("card")
    (folder / "mine.yaml").write_text("title: Mine <b>&\nmodel: {loops: 4, injection: add}\n")
    entry = find_entry(str(folder / "mine.yaml"))
    return entry, write_grid(entry, chosen(NAMES, "tiny"), "tiny", folder)


@pytest.fixture(scope="module")
def card(made: tuple[Entry, CardGrid]) -> Card:
    return make_card(*made, chosen(NAMES, "tiny"), "tiny", results(*ARMS))


def test_every_cell_is_that_of_its_own_architecture(card: Card) -> None:
    assert [c.label for c in card.columns] == list(ARMS) and card.label == "1⊗4"
    ceilings = [c.scores["ceiling"].value for c in card.columns]
    assert ceilings == pytest.approx([0.8, 0.7, 0.6, 0.5])
    assert [c.scores["composition"].value for c in card.columns] == [0.5, 0.0, 0.0, 0.0]
    assert card.columns[0].scores["interchange"].reason.startswith("no states were exchanged")
    cost = card.columns[1].costs["in_context"]
    assert (cost.runs, cost.parameters, cost.train_flops, cost.cpu_seconds) == (2, 100, 1e9, 5.0)


def test_costs_say_what_answering_takes(card: Card) -> None:
    """Width 8 or 32, one layer four times or once: keys and values, four bytes each."""
    costs = {column.label: column.costs for column in card.columns}
    assert costs["model"]["ceiling"].cache_bytes == 2 * 8 * 4 * 4
    assert costs["model"]["composition"].cache_bytes == 2 * 32 * 4 * 4
    assert costs["unlooped"]["composition"].cache_bytes == 2 * 32 * 4
    assert costs["unlooped-deep"]["composition"].cache_bytes == 2 * 32 * 4 * 4
    of = {label: c["in_context"].forward_flops for label, c in costs.items()}
    assert of["model"] == of["unlooped-deep"] and of["unlooped"] == of["unlooped-long"]
    config = load_grid(suite_axes.HERE / "in_context" / "tiny.yaml").points[0].config
    columns = config.task.bind(0).sample(np.random.default_rng(0), 8).tokens.shape[1]
    sizes: dict[str, int] = {"documents": 1, "context": columns - 1, "predicted": 0, "losses": 0}
    one, two = (config.model.forward_flops(69, n_loops=n, **sizes) for n in (1, 2))
    assert of["model"] - of["unlooped"] == 3 * (two - one) > 0, "the last token is not read"


def test_a_model_from_elsewhere_has_flops_and_no_cache() -> None:
    entry = find_entry(f"{EXAMPLES / 'gated_loop.py'}:GatedLoop")
    assert cache_bytes(entry.config) is None
    coda = find_entry("huginn").config
    assert cache_bytes(coda) == 2 * 4 * 32 * (1 + 4 + 1), "prelude, four loops, coda"


def test_what_is_behind_the_scores_is_on_the_page(card: Card, tmp_path: Path) -> None:
    table = curves_table(card)
    assert table is not None
    solved = ("2: 1 · 3: 0", *3 * ("2: 0 · 3: 0",))
    assert ("composition (hops, share of seeds)", *solved) in table.rows
    write_card(card, tmp_path, tmp_path)
    assert "2: 1 · 3: 0" in (tmp_path / "card.html").read_text()
    text = (tmp_path / "card.md").read_text()
    assert "2: 1 · 3: 0" in text
    assert "| interquartile mean, 4 of 5 axes |" in text and ", 4 axes |" in text
    older = card.model_dump(exclude={"references": True})
    for column in older["columns"]:
        for score in column["scores"].values():
            del score["along"], score["curve"], score["common"]
        for cost in column["costs"].values():
            del cost["forward_flops"], cost["cache_bytes"]
    read = Card.model_validate(older)
    assert curves_table(read) is None and "| – | – |" in markdown(read)
    write_card(read, tmp_path, tmp_path)
    assert "Behind the scores" not in (tmp_path / "card.html").read_text()


def test_a_card_tells_what_its_file_leaves_to_defaults(card: Card, tmp_path: Path) -> None:
    """A prior of which nothing is said is uniform, whatever the title promises."""
    (tmp_path / "ponder.yaml").write_text(
        "title: A geometric prior\nmodel: {loops: 4}\nobjective: {kind: prior}\n"
        "phase: {draw: {kind: uniform, least: 1, most: 8}}\n"
    )
    entry = find_entry(str(tmp_path / "ponder.yaml"))
    grid = write_grid(entry, chosen(NAMES, "tiny"), "tiny", tmp_path / "grid")
    made = make_card(entry, grid, chosen(NAMES, "tiny"), "tiny", results(*ARMS))
    table = settings_table(made)
    assert table is not None
    cells = dict(table.rows)
    assert cells["objective"] == "kind prior · beta 0.1 · prior uniform · rho 0.5"
    assert "norm sandwich · " in cells["model"] and "tied false" in cells["model"]
    assert "width" not in cells["model"]
    assert cells["phase"] == 'draw {"kind": "uniform", "least": 1, "most": 8}'
    write_card(made, tmp_path, tmp_path)
    for name in ("card.html", "card.md"):
        assert cells["objective"] in (tmp_path / name).read_text()
    older = card.model_copy(update={"settings": {}})
    assert settings_table(older) is None and "What is scored" not in markdown(older)


def test_several_cards_stand_on_one_page(card: Card, tmp_path: Path) -> None:
    other = card.model_copy(update={"name": "other", "title": "Other <i>", "references": "mine"})
    few = {n: a for n, a in card.axes.items() if n in ("ceiling", "rounded")}
    third = card.model_copy(update={"name": "third", "axes": few})
    table = comparison_table([card, other, third])
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert list(rows) == ["mine", "other", "third"]
    assert rows["mine"]["P(> unlooped-long)"].startswith(".75")
    table = scores_table([card, other, third])
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert cells["ceiling"] == ".8" and cells["interchange"] == "–"
    path = write_comparison([card, other, third], tmp_path / "cards.html")
    html = path.read_text()
    radars = '<figure>\n<img src="data:image/svg+xml;base64,'
    assert html.count(radars) == 2, "two axes make no radar"
    assert "Other &lt;i&gt;" in html and "references of mine" in html
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert path.read_bytes() == write_comparison([card, other, third], path).read_bytes()
    assert "No card has three axes" in write_comparison([third], path).read_text()


def test_radars_that_stand_beside_each_other_have_the_same_axes(card: Card) -> None:
    """Whatever a model cannot do, every axis has the same place, and its number its order."""
    from experiments.suite.radar import radar

    numbered = list(axes_of([card]).values())
    assert len(numbered) == len(NAMES) > radar_data(card)["axis"].nunique(), "one has no value"
    (axes,) = radar(radar_data(card), numbered).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "3", "4", "5"]
    drawn = axes.lines[0].get_ydata()
    expected = {"ceiling": 0.8 / 3.83, "in context": 0.8}
    for name, value in expected.items():
        assert drawn[numbered.index(name)] == pytest.approx(value)
    assert np.isnan(drawn[numbered.index("interchange")]), "a gap"
    assert not radar(radar_data(card), numbered).legends and radar(radar_data(card)).legends


def improved(card: Card, *intervals: tuple[float, float | None, float | None]) -> Card:
    columns = [card.columns[0]]
    for column, (value, low, high) in zip(card.columns[1:], intervals, strict=True):
        better = Interval(value=value, low=low, high=high)
        columns.append(column.model_copy(update={"improvement": better}))
    return card.model_copy(update={"columns": columns, "unfinished": 0})


def test_a_card_is_ahead_or_behind_where_its_interval_leaves_out_a_half(
    card: Card, tmp_path: Path
) -> None:
    found = improved(card, (0.7, 0.51, 0.9), (0.3, 0.1, 0.49), (0.6, 0.4, 0.8))
    sides = {"unlooped": "ahead", "unlooped-deep": "behind", "unlooped-long": "open"}
    assert found.standing == sides
    assert standing_cells(found)[-1] == "ahead of unlooped; behind unlooped-deep"
    going_on = found.model_copy(update={"unfinished": 1})
    assert going_on.standing == {} and standing_cells(going_on)[-1] == "–"
    one_seed = improved(card, (1.0, None, None), (0.0, None, None), (0.7, 0.7, 0.7))
    assert set(one_seed.standing.values()) == {"open"} and standing_cells(one_seed)[-1] == "open"
    assert [labels for _, labels in behind([found, one_seed])] == [["unlooped-deep"]]
    html = write_comparison([found, one_seed], tmp_path / "cards.html").read_text()
    assert "<strong>mine</strong>: unlooped-deep" in html
    html = write_comparison([one_seed], tmp_path / "cards.html").read_text()
    assert "None is shown to be." in html


def test_cards_that_cannot_be_read_are_named(card: Card, tmp_path: Path) -> None:
    assert cards_in(tmp_path) == []
    for name in ("a", "b"):
        (tmp_path / "cards" / name).mkdir(parents=True)
        write_card(card.model_copy(update={"name": name}), tmp_path / "cards" / name, tmp_path)
    assert [c.name for c in cards_in(tmp_path)] == ["a", "b"]
    (tmp_path / "cards" / "b" / "card.json").write_text("{}")
    with pytest.raises(LoopscopeError, match=r"b.card.json is no card of this version"):
        cards_in(tmp_path)


def test_aggregates_are_over_normalised_seeds_of_shared_axes(card: Card) -> None:
    assert card.shared == ["ceiling", "rounded", "composition", "in_context"]
    model = card.columns[0]
    # normalised: .8/3.83; (.7 + .2)/2/.8; .5; (.9 - .5)/.5, each twice; the middle half of eight
    values = sorted([0.8 / 3.83, 0.5625, 0.5, 0.8] * 2)
    assert model.interquartile_mean is not None
    assert model.interquartile_mean.value == pytest.approx(sum(values[2:6]) / 4)
    assert model.improvement is None
    last = card.columns[-1].improvement
    # the model is better on ceiling, composition and in_context; rounded: .5625 against .6
    assert last is not None and last.value == pytest.approx(3 / 4)


def test_a_refused_probe_gives_its_reason_where_it_refuses_alone(
    made: tuple[Entry, CardGrid],
) -> None:
    entry, grid = made
    reasons = {"model": {"accuracy": "no logits"}, "unlooped": {"interchange": "no hooks"}}
    refused = CardGrid(grid.grid, {"unlooped-deep": "no layers"}, reasons)
    found = make_card(entry, refused, chosen(NAMES, "tiny"), "tiny", results(*ARMS))
    model, unlooped, _ = found.columns
    assert model.scores["composition"].reason == "no logits"
    assert model.scores["interchange"].reason.startswith("no states were exchanged")
    assert unlooped.scores["interchange"].reason == "no hooks"
    assert unlooped.scores["composition"].value == 0.0, "what refuses the model measures others"
    assert [c.label for c in found.columns] == ["model", "unlooped", "unlooped-long"]
    assert "No unlooped-deep: no layers." in card_table(found).notes


def test_what_is_not_done_is_told(made: tuple[Entry, CardGrid]) -> None:
    found = make_card(*made, chosen(NAMES, "tiny"), "tiny", results("model"))
    assert found.columns[1].scores["ceiling"].reason == "no run is done"
    assert found.shared == [] and found.columns[0].interquartile_mean is None
    assert found.unfinished == len(made[1].grid.runs) - 6
    assert f"{found.unfinished} runs are not done." in markdown(found)


def test_a_cell_shows_value_interval_bounds_and_seeds(card: Card) -> None:
    cell = dict(zip([r[0] for r in card_table(card).rows], card_table(card).rows, strict=True))
    told = "two seeds that agree leave room for one unlike them"
    assert re.fullmatch(r"\.8 \(\.\d+–1\.\d+\) \[0–2\] 2 seeds", cell["ceiling"][1]), told
    assert re.fullmatch(r"\.9 \(\.\d+–\.\d+\) \[\.5–1\] 2 seeds", cell["in context"][1])
    assert cell["interchange"][1].startswith("– no states")


def test_the_radar_leaves_out_what_the_model_cannot_do(card: Card) -> None:
    data = radar_data(card)
    assert set(data["axis"]) == {"ceiling", "rounded", "composition", "in context"}
    mine = data[data["architecture"] == "model"].set_index("axis")["normalised"]
    assert mine["ceiling"] == pytest.approx(0.8 / 3.83) and mine["in context"] == pytest.approx(0.8)
    assert data["normalised"].between(0, 1).all()


def test_files_are_the_same_for_the_same_card_and_json_is_the_card(
    card: Card, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_card(card, tmp_path, tmp_path)
    names = ["card.json", "card.md", "card.html", "radar.svg"]
    assert [path.name for path in paths] == names
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_card(card, tmp_path, tmp_path)] == before
    assert Card.model_validate_json((tmp_path / "card.json").read_text()) == card
    cli_schema("card")
    schema = json.loads(capsys.readouterr().out)
    assert {"columns", "axes", "size"} <= set(schema["required"])
    assert set(json.loads(before[0])) == set(schema["properties"])
    with pytest.raises(ValueError, match="extra"):
        Card.model_validate({**card.model_dump(), "more": 1})


def test_the_page_escapes_holds_its_picture_and_asks_for_nothing(
    card: Card, tmp_path: Path
) -> None:
    write_card(card, tmp_path, tmp_path)
    html = (tmp_path / "card.html").read_text()
    assert "Mine &lt;b&gt;&amp;" in html and "<b>" not in html
    assert html.count('<img src="data:image/svg+xml;base64,') == 1
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert "loopscope run" in html and "score.yaml" in html


def test_no_name_of_an_axis_is_cut_off(card: Card) -> None:
    from experiments.suite.page import radar_svg
    from experiments.suite.radar import radar

    picture = radar(radar_data(card))
    needed = picture.get_tightbbox().width
    found = re.search(r'viewBox="0 0 ([\d.]+) ', radar_svg(card))
    assert found and float(found[1]) / 72 >= needed


def test_two_axes_make_no_radar(made: tuple[Entry, CardGrid], tmp_path: Path) -> None:
    card = make_card(*made, chosen(("ceiling", "rounded"), "tiny"), "tiny", results(*ARMS))
    assert [path.name for path in write_card(card, tmp_path, tmp_path)][-1] == "card.html"
    assert "No radar" in (tmp_path / "card.html").read_text()
