"""What a command scores models on: the suite at a size, the axes chosen, and the references."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import LoopscopeError
from experiments.grid.grid import Grid, GridPoint
from experiments.grid.located_yaml import load_yaml
from experiments.results.diff import differing
from experiments.results.long_table import Results, read_results
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import read_json
from experiments.suite.axes import Axis, chosen
from experiments.suite.card import Card, make_card
from experiments.suite.comparison import CARD, CARDS
from experiments.suite.entry import WIDTH, Entry
from experiments.suite.grid import CardGrid, sizes_of, write_grid, write_yaml
from experiments.suite.recorded import recorded_points, with_recorded, without
from models.config import LoopedConfig
from models.contract import Finding, check_contract

#: beside a card: what was scored
MODEL_FILE = "model.yaml"
#: sizes of the suite at which a model is checked where none is chosen
CHECKED = ("tiny", "small")


def check_entry(
    entry: Entry, *sizes: str, axes: Sequence[Axis] | None = None, width: int = WIDTH
) -> list[Finding]:
    """Whether a model keeps the contract, and can be built for the grids of the suite.

    Args:
        sizes: of the suite.
        axes: whose grids; None: all that there are.
        width: at which the whole contract is checked.
    """
    wanted = {s: chosen(None, s) if axes is None else axes for s in sizes}
    built_at = sorted({found for s, of in wanted.items() for found in sizes_of(of, s)})
    config = entry.config.model_copy(update={"width": width})
    return check_contract(config, needs_gate=entry.loss.uses_gate, sizes=built_at)


def refuse_broken(entries: Iterable[Entry], axes: Sequence[Axis], size: str) -> None:
    """Before anything is trained: a model from elsewhere that breaks the contract.

    Raises:
        LoopscopeError: with everything that is wrong.
    """
    for entry in entries:
        if isinstance(entry.config, LoopedConfig):
            continue
        found = check_entry(entry, size, axes=axes)
        if wrong := [f"{one.what}: {one.message}" for one in found if one.outcome == "wrong"]:
            raise LoopscopeError(
                f"{entry.name} cannot be scored:\n  " + "\n  ".join(wrong) + "\n`loopscope check` "
                "tells it too; the contract: models/contract.py"
            )


@dataclass(frozen=True)
class Suite:
    """What the cards in a folder share.

    Attributes:
        out: folder of the runs, each trained once, whoever needs it.
        references: the model whose references all are compared with; None: each with its own.
        recorded: the runs of the record of that model, whose references are not trained again.
    """

    out: Path
    size: str
    axes: tuple[Axis, ...]
    references: Entry | None = None
    recorded: Results | None = None

    def folder(self, entry: Entry) -> Path:
        """Where a model's grid and card are."""
        return self.out / CARDS / entry.name

    def write_grids(self, entries: Sequence[Entry]) -> list[CardGrid]:
        """The grids of models, written, each beside its model as a file that can be scored.

        Raises:
            ConfigError: a model does not fit the grids of the suite.
            LoopscopeError: a card of another model is in the place of one.
        """
        for entry in entries:
            self._refuse_other(entry)
        return [self._write_grid(entry) for entry in entries]

    def _write_grid(self, entry: Entry) -> CardGrid:
        folder = self.folder(entry)
        grid = write_grid(entry, self.axes, self.size, folder, self.references)
        about = {"title": entry.title, "source": entry.source, **entry.trained}
        write_yaml({name: value for name, value in about.items() if value}, folder / MODEL_FILE)
        return grid

    def _refuse_other(self, entry: Entry) -> None:
        """Names that differ in capitals alone are one folder on some systems, so on all here."""
        for there in sorted((self.out / CARDS).glob("*")):
            if there.name.casefold() != entry.name.casefold():
                continue
            differ = [
                f"{field} {old} there, {new} here" for field, old, new in _differing(there, entry)
            ]
            if there.name != entry.name:
                differ.insert(0, f"it is called {there.name} there, {entry.name} here")
            if differ:
                raise LoopscopeError(
                    f"{there} belongs to another model: {'; '.join(differ)}. Score this one with "
                    "another --out or from a file or class of another name; or remove that folder, "
                    "and its card is replaced (runs stay)"
                )

    def from_record(self, grid: Grid) -> list[GridPoint]:
        """The places whose runs are read from the record: those that are not done here."""
        there = [] if self.recorded is None else recorded_points(grid, self.recorded)
        return [p for p in there if RunFolder(self.out / p.run_id).state() != "done"]

    def left_to_train(self, grid: CardGrid) -> Grid:
        """The grid of a card without what is read from the record."""
        return without(grid.grid, self.from_record(grid.grid))

    def results(self, grid: CardGrid) -> Results:
        """What is done of the grid of a card, here and in the record.

        Raises:
            LoopscopeError: nothing was trained here yet.
        """
        own, there = read_results(self.out, grid.grid.name), self.from_record(grid.grid)
        return with_recorded(own, self.recorded, there) if self.recorded and there else own

    def card(self, entry: Entry, grid: CardGrid, results: Results) -> Card:
        """The card of what is done so far."""
        card = make_card(entry, grid, self.axes, self.size, results, self.references)
        recorded = len({point.run_id for point in self.from_record(grid.grid)})
        return card.model_copy(update={"recorded": recorded})


def _differing(folder: Path, entry: Entry) -> list[tuple[str, str, str]]:
    """(field, there, here) of what the model of a card's folder is other than an entry."""
    if (folder / MODEL_FILE).is_file():
        there, _ = load_yaml(folder / MODEL_FILE)
    else:  # made before there was that file: a card tells the model and its objective
        there = {**entry.trained, **(read_json(folder / CARD) or {})}
    told = there if isinstance(there, dict) else {}
    before, now = ({k: of[k] for k in entry.trained if of.get(k)} for of in (told, entry.trained))
    return differing(before, now)
