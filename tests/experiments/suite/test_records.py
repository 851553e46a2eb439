"""Records: what is listed, what may be added, and one run trained again against its record."""

import json
import zipfile
from pathlib import Path

import pytest
import typer
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
from experiments.suite.records import add_record, card_of, check_record, records_table, scored
from experiments.suite.references import REFERENCES


def test_every_record_has_its_row_and_says_what_is_not_scored() -> None:
    table = records_table()
    assert [row[0] for row in table.rows] == list(shipped()) and len(table.rows) >= 12
    every = len(chosen(None, "tiny"))
    for name, size, *_ in table.rows:
        card = card_of(name)
        if card is None:
            assert size == "not scored yet"
        else:
            few = f"tiny, {len(card.axes)} of {every} axes"
            assert size == ("tiny" if len(card.axes) == every else few)
    with pytest.raises(LoopscopeError, match="did you mean 'ouro'"):
        card_of("uoro")


@pytest.mark.parametrize("name", [card.name for card in scored()])
def test_a_card_is_what_its_runs_and_the_grids_of_the_suite_say(name: str, tmp_path: Path) -> None:
    card, entry = card_of(name), find_entry(name)
    assert card is not None and card.unfinished == 0
    other = find_entry(card.references) if card.references else None
    wanted = chosen(list(card.axes), card.size)
    grid = write_grid(entry, wanted, card.size, tmp_path, other)
    assert {point.run_id for point in grid.grid.points} == set(card.run_ids)
    runs = read_results(shipped()[name].parent / "runs.zip", name_of(name))
    again = make_card(entry, grid, wanted, card.size, runs, other)
    assert again.columns[0].scores == card.columns[0].scores
    done = runs.runs["run_id"][runs.runs["status"] == "done"]
    of_model = {p.run_id for p in grid.grid.points if p.labels["arm"] == "model"}
    assert set(done) == (of_model if other else set(card.run_ids))


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
        score(["loop"], out, "tiny", "in_context", None, 1, None, [], False, False)
    model = folder / "loop" / "model.yaml"
    text = model.read_text()
    model.write_text(text.replace("loops: 4", "loops: 3"))
    with pytest.raises(LoopscopeError, match="of other runs than .*model.yaml and the suite ask"):
        add_record("loop", out, folder)
    model.write_text(text)
    add_record("loop", out, folder)
    names = ["card.json", "model.yaml", "runs.zip", "score.yaml"]
    assert sorted(p.name for p in (folder / "loop").iterdir()) == names

    with zipfile.ZipFile(folder / "loop" / "runs.zip") as archive:
        record = json.loads(archive.read("grids/score-loop.json"))
    assert record["file"] == "loop/score.yaml", "it is not told where it was run"

    found = check_record("loop", tmp_path / "again", 0, folder)
    card = Card.model_validate_json((folder / "loop" / "card.json").read_text())
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
        options = ("tiny", "in_context", "loop", 1, None, [], False, False)
        score(["two_loops"], out, *options)
    (folder / "two_loops").mkdir()
    (folder / "two_loops" / "model.yaml").write_text(shipped()["two_loops"].read_text())
    add_record("two_loops", out, folder)
    kept = read_results(folder / "two_loops" / "runs.zip")
    assert kept.source.grids.keys() == {"score-two_loops"}
    assert set(kept.runs["arm"][kept.runs["status"] == "done"]) == {"model"}
    every = read_results(folder / "loop" / "runs.zip")
    assert set(every.runs["arm"][every.runs["status"] == "done"]) == set(("model", *REFERENCES))
    assert every.source.grids.keys() == {"score-loop"}
    assert check_record("two_loops", tmp_path / "again", 0, folder).outside == 0
    (folder / "two_loops" / "runs.zip").unlink()
    with pytest.raises(LoopscopeError, match="runs.zip is missing: .*check it in a clone"):
        check_record("two_loops", tmp_path / "again", 0, folder)

    # the control: a range that nothing lies in
    monkeypatch.setattr(suite_records, "BEYOND", -1.0)
    assert check_record("loop", tmp_path / "again", 0, folder).outside == 2

    # a card of fewer axes or of another size takes the place of none
    kept = folder / "loop" / "card.json"
    axes = {**card.axes, "speed": card.axes["in_context"]}
    for other, told in (({"axes": axes}, "without speed"), ({"size": "small"}, "at size small")):
        kept.write_text(card.model_copy(update=other).model_dump_json())
        with pytest.raises(LoopscopeError, match=f"{told}.*remove .*card.json first"):
            add_record("loop", out, folder)
    kept.unlink()
    assert add_record("loop", out, folder) == folder / "loop" and kept.is_file()
    assert add_record("loop", out, folder), "the same card again"

    made = out / "cards" / "loop" / "card.json"
    made.write_text(card.model_copy(update={"unfinished": 3}).model_dump_json())
    with pytest.raises(LoopscopeError, match="3 runs of .* are not done"):
        add_record("loop", out, folder)
    made.write_text(card.model_copy(update={"name": "ouro"}).model_dump_json())
    with pytest.raises(LoopscopeError, match="the card of ouro, not of loop"):
        add_record("loop", out, folder)
