"""Whose a card is: no other model takes the place of one, whatever its name."""

import shutil
from pathlib import Path

import pytest
import yaml

import experiments
from experiments.errors import LoopscopeError
from experiments.suite.axes import chosen
from experiments.suite.entry import find_entries, find_entry
from experiments.suite.grid import CardGrid
from experiments.suite.scoring import Suite

GATED = Path(experiments.__file__).parent / "examples" / "gated_loop.py"
MODEL = "model: {core: 1, loops: 2, tied: true, injection: add}"
PHASE = "phase: {backprop_loops: 1}"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def written(out: Path, *named: str, size: str = "tiny", changes: tuple[str, ...] = ()) -> CardGrid:
    suite = Suite(out, size, tuple(chosen(("in_context",), size)))
    return suite.write_grids(find_entries(named, changes))[-1]


def a_file(path: Path, text: str = MODEL) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return str(path)


def contents(out: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_what_was_scored_stands_beside_its_card_and_can_be_scored(
    tmp_path: Path, out: Path
) -> None:
    text = f"title: Mine\n{MODEL}\nobjective: {{kind: entropy}}\n{PHASE}"
    grid = written(out, a_file(tmp_path / "mine.yaml", text))
    kept = out / "cards" / "mine" / "model.yaml"
    assert yaml.safe_load(kept.read_text()) == yaml.safe_load(text)
    again = written(tmp_path / "other", str(kept))
    assert again.grid.runs.keys() == grid.grid.runs.keys() and again.grid.name == "score-mine"
    assert again.grid.title == "Score card of Mine, size tiny"


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (MODEL.replace("2", "3"), "model.loops 2 there, 3 here"),
        (MODEL.replace(", injection: add", ""), "model.injection add there, – here"),
        (f"{MODEL}\nobjective: {{kind: entropy}}", "objective.kind – there, entropy here"),
        (f"{MODEL}\n{PHASE}", "phase.backprop_loops – there, 1 here"),
    ],
)
def test_another_model_of_the_same_name_is_refused(
    tmp_path: Path, out: Path, second: str, told: str
) -> None:
    written(out, a_file(tmp_path / "a" / "mine.yaml"))
    before = contents(out)
    other = a_file(tmp_path / "b" / "mine.yaml", second)
    with pytest.raises(LoopscopeError, match="belongs to another model") as refused:
        written(out, "loop", other)
    message = str(refused.value)
    assert told in message and f"{out / 'cards' / 'mine'} belongs" in message
    assert "another --out" in message and "remove that folder" in message
    assert contents(out) == before, "not the grid of the loop either"
    # what the message says to do works
    written(tmp_path / "elsewhere", other)
    shutil.rmtree(out / "cards" / "mine")
    assert written(out, other).grid.points


def test_the_same_model_goes_on_whatever_else_is_asked_of_it(tmp_path: Path, out: Path) -> None:
    mine = a_file(tmp_path / "a" / "mine.yaml")
    first = written(out, mine)
    assert written(out, mine).grid.runs.keys() == first.grid.runs.keys()
    titled = a_file(tmp_path / "b" / "mine.yaml", f"title: Of a new title\n{MODEL}")
    assert written(out, titled, size="small").grid.runs.keys() != first.grid.runs.keys()
    with pytest.raises(LoopscopeError, match="model.loops 2 there, 6 here"):
        written(out, mine, changes=("model.loops=6",))


def test_classes_of_one_name_in_two_files_are_two_models(tmp_path: Path, out: Path) -> None:
    copy = shutil.copyfile(GATED, tmp_path / "copy.py")
    written(out, f"{GATED}:GatedLoop")
    written(out, f"{GATED}:GatedLoop")
    with pytest.raises(LoopscopeError, match=f"model.kind {GATED}:GatedLoop there, {copy}:Gated"):
        written(out, f"{copy}:GatedLoop")


def test_names_that_differ_in_capitals_share_a_folder_on_some_systems(
    tmp_path: Path, out: Path
) -> None:
    small, large = a_file(tmp_path / "mine.yaml"), a_file(tmp_path / "b" / "Mine.yaml")
    with pytest.raises(LoopscopeError, match="two models are called mine and would share a card"):
        find_entries([small, large])
    written(out, small)
    with pytest.raises(LoopscopeError, match="it is called mine there, Mine here"):
        written(out, large)
    written(out, a_file(tmp_path / "b" / "mine2.yaml"))  # the control: a longer name is another


def test_a_card_of_before_there_was_a_file_of_its_model_still_tells_it(
    tmp_path: Path, out: Path
) -> None:
    mine = a_file(tmp_path / "mine.yaml")
    written(out, mine)
    kept = out / "cards" / "mine" / "model.yaml"
    card = kept.with_name("card.json")
    card.write_text(
        '{"model": {"core": 1, "loops": 4, "tied": true, "injection": "add"}, "objective": {}}'
    )
    kept.unlink()
    with pytest.raises(LoopscopeError, match="mine belongs to another model: model.loops 4 there"):
        written(out, mine)
    card.write_text("{ what is cut off is written again")
    assert written(out, mine).grid.points and kept.is_file()


def test_a_file_of_the_model_that_says_something_else_is_told(tmp_path: Path, out: Path) -> None:
    mine = a_file(tmp_path / "mine.yaml")
    written(out, mine)
    kept = out / "cards" / "mine" / "model.yaml"
    for text, told in (
        ("", "model: model.core – there"),
        ("- 1", "model: model.core – there"),
        ("model: 3", "model 3 there"),
    ):
        kept.write_text(text)
        with pytest.raises(LoopscopeError, match=told):
            written(out, mine)
    kept.write_text("model: {core: 1")
    with pytest.raises(LoopscopeError, match=r"model.yaml:\d"):
        written(out, mine)
    assert find_entry(mine).trained["model"]["core"] == 1
