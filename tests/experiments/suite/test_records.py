"""Records: what is listed, what may be added, and one run trained again against its record."""

import json
import zipfile
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import typer
from rich.console import Console
from toy_suite import shrink_suite

from experiments.cli.score import score
from experiments.errors import LoopscopeError
from experiments.results.long_table import read_results
from experiments.suite import entry as suite_entry
from experiments.suite import records as suite_records
from experiments.suite.axes import chosen
from experiments.suite.card import Card, make_card
from experiments.suite.comparison import write_comparison
from experiments.suite.entry import find_entry, shipped
from experiments.suite.grid import name_of, write_grid
from experiments.suite.records import add_record, cards_of, check_record, records_table, scored
from experiments.suite.references import REFERENCES
from models.objectives.prior import Prior


def test_every_record_has_its_row_and_says_what_is_not_scored() -> None:
    table = records_table()
    assert list(dict.fromkeys(row[0] for row in table.rows)) == list(shipped())
    assert len(shipped()) >= 12
    for name in shipped():
        sizes = [row[1] for row in table.rows if row[0] == name]
        every = {
            card.size: (len(card.axes), len(chosen(None, card.size))) for card in cards_of(name)
        }
        told = [s if n == of else f"{s}, {n} of {of} axes" for s, (n, of) in every.items()]
        assert sizes == (told or ["not scored yet"])
    printed = StringIO()
    table.within(80).draw(Console(file=printed, width=80))
    assert max(map(len, printed.getvalue().splitlines())) <= 80
    tiny = records_table("tiny")
    assert [row[0] for row in tiny.rows] == list(shipped()), "one row each"
    assert {row[1].partition(",")[0] for row in tiny.rows} <= {"tiny", "not scored yet"}
    assert {row[1] for row in records_table("gpu").rows} == {"not scored yet"}
    with pytest.raises(LoopscopeError, match="did you mean 'ouro'"):
        cards_of("uoro")
    with pytest.raises(LoopscopeError, match="--size tin: .*did you mean 'tiny'"):
        records_table("tin")
    with pytest.raises(LoopscopeError, match="no record is scored at size gpu yet"):
        scored("gpu")


#: every card; of a record with several sizes the smaller ones only in the slow tier
CARDS = [
    pytest.param(name, card.size, marks=[] if card is cards[-1] else pytest.mark.slow)
    for name in shipped()
    for cards in [cards_of(name)]
    for card in cards
]


@pytest.mark.parametrize(("name", "size"), CARDS)
def test_a_card_is_what_its_runs_and_the_grids_of_the_suite_say(
    name: str, size: str, tmp_path: Path
) -> None:
    entry, (card,) = find_entry(name), [card for card in cards_of(name) if card.size == size]
    assert card.unfinished == 0 and card.settings == entry.settings
    other = find_entry(card.references) if card.references else None
    wanted = chosen(list(card.axes), card.size)
    grid = write_grid(entry, wanted, card.size, tmp_path, other)
    assert {point.run_id for point in grid.grid.points} == set(card.run_ids)
    runs = read_results(shipped()[name].parent / size / "runs.zip", name_of(name))
    # references of another record are looked at once, there
    mine = replace(grid, missing=dict.fromkeys(REFERENCES, "elsewhere")) if other else grid
    again = make_card(entry, mine, wanted, card.size, runs, other)
    assert [c.scores for c in again.columns] == [
        c.scores for c in (card.columns[:1] if other else card.columns)
    ]
    if other:
        (theirs,) = [card for card in cards_of(other.name) if card.size == size]
        assert [c.scores for c in card.columns[1:]] == [c.scores for c in theirs.columns[1:]]
    done = runs.runs["run_id"][runs.runs["status"] == "done"]
    of_model = {p.run_id for p in grid.grid.points if p.labels["arm"] == "model"}
    assert set(done) == (of_model if other else set(card.run_ids))


def test_the_prior_of_pondernet_is_geometric() -> None:
    """What a title names and a default decides otherwise; every card tells its defaults."""
    assert find_entry("ponder").loss == Prior(beta=0.01, prior="geometric", rho=0.2)
    assert find_entry("uniform_prior").loss == Prior(beta=0.1, prior="uniform")


def test_the_page_of_records_has_those_that_are_scored(tmp_path: Path) -> None:
    path = write_comparison(scored(), tmp_path / "records.html")
    html = path.read_text()
    assert len(scored()) >= 2 and html.count("<figure>") == len(scored())
    assert all(f"<strong>{card.name}</strong>" in html for card in scored())


@pytest.mark.usefixtures("work_here")
def test_a_score_becomes_a_record_and_a_run_of_it_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_suite(tmp_path / "suite", monkeypatch)
    out, folder = tmp_path / "out", tmp_path / "records"
    with pytest.raises(LoopscopeError, match="has no model.yaml"):
        add_record("loop", out, folder)
    (folder / "loop").mkdir(parents=True)
    (folder / "loop" / "model.yaml").write_text(shipped()["loop"].read_text())
    with pytest.raises(LoopscopeError, match="has no card.json"):
        add_record("loop", out, folder)
    with pytest.raises(LoopscopeError, match="loop is not scored yet"):
        check_record("loop", tmp_path / "again", 0, folder)

    with pytest.raises(typer.Exit):
        score(["loop"], out, "tiny", "in_context", None, False, 1, None, [], False, False)
    model = folder / "loop" / "model.yaml"
    text = model.read_text()
    model.write_text(text.replace("loops: 4", "loops: 3"))
    with pytest.raises(LoopscopeError, match="of other runs than .*model.yaml and the suite ask"):
        add_record("loop", out, folder)
    model.write_text(text)
    add_record("loop", out, folder)
    names = ["card.json", "model.yaml", "runs.zip", "score.yaml"]
    assert sorted(p.name for p in (folder / "loop").rglob("*.*")) == names

    with zipfile.ZipFile(folder / "loop" / "tiny" / "runs.zip") as archive:
        record = json.loads(archive.read("grids/score-loop.json"))
    assert record["file"] == "loop/tiny/score.yaml", "it is not told where it was run"

    found = check_record("loop", tmp_path / "again", 0, folder)
    card = Card.model_validate_json((folder / "loop" / "tiny" / "card.json").read_text())
    with pytest.raises(LoopscopeError, match="not scored at size small, only at tiny"):
        check_record("loop", tmp_path / "again", 0, folder, "small")
    assert found.run_id in card.run_ids and found.outside == 0
    differences = [row[3].value for row in found.table.rows]  # type: ignore[attr-defined]
    assert differences == [0.0] * 2, "two numbers of pairs; the same code repeats exactly"
    monkeypatch.setattr(suite_entry, "RECORDS", folder)
    ((name, size, *_),) = records_table().rows
    assert (name, size) == ("loop", f"tiny, 1 of {len(chosen(None, 'tiny'))} axes")
    monkeypatch.undo()
    shrink_suite(tmp_path / "again-suite", monkeypatch)
    # another model beside it in the folder: its record has its own runs, and no reference
    with pytest.raises(typer.Exit):
        options = ("tiny", "in_context", "loop", True, 1, None, [], False, False)
        score(["two_loops"], out, *options)
    (folder / "two_loops").mkdir()
    (folder / "two_loops" / "model.yaml").write_text(shipped()["two_loops"].read_text())
    add_record("two_loops", out, folder)
    kept = read_results(folder / "two_loops" / "tiny" / "runs.zip")
    assert kept.source.grids.keys() == {"score-two_loops"}
    assert set(kept.runs["arm"][kept.runs["status"] == "done"]) == {"model"}
    every = read_results(folder / "loop" / "tiny" / "runs.zip")
    assert set(every.runs["arm"][every.runs["status"] == "done"]) == set(("model", *REFERENCES))
    assert every.source.grids.keys() == {"score-loop"}
    assert check_record("two_loops", tmp_path / "again", 0, folder).outside == 0
    (folder / "two_loops" / "tiny" / "runs.zip").unlink()
    with pytest.raises(LoopscopeError, match="runs.zip is missing: .*check it in a clone"):
        check_record("two_loops", tmp_path / "again", 0, folder)

    # the control: a range that nothing lies in
    monkeypatch.setattr(suite_records, "BEYOND", -1.0)
    assert check_record("loop", tmp_path / "again", 0, folder).outside == 2

    # a card of fewer axes takes the place of none
    kept = folder / "loop" / "tiny" / "card.json"
    axes = {**card.axes, "speed": card.axes["in_context"]}
    kept.write_text(card.model_copy(update={"axes": axes}).model_dump_json())
    with pytest.raises(LoopscopeError, match="without speed; remove .*card.json first"):
        add_record("loop", out, folder)
    kept.unlink()
    assert add_record("loop", out, folder) == kept.parent and kept.is_file()
    assert add_record("loop", out, folder), "the same card again"

    made = out / "cards" / "loop" / "card.json"
    made.write_text(card.model_copy(update={"unfinished": 3}).model_dump_json())
    with pytest.raises(LoopscopeError, match="3 runs of .* are not done"):
        add_record("loop", out, folder)
    made.write_text(card.model_copy(update={"name": "ouro"}).model_dump_json())
    with pytest.raises(LoopscopeError, match="the card of ouro, not of loop"):
        add_record("loop", out, folder)
