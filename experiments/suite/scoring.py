"""What a command scores models on: the suite at a size, the axes chosen, and the references."""

from dataclasses import dataclass
from pathlib import Path

from experiments.results.long_table import Results
from experiments.suite.axes import Axis
from experiments.suite.card import Card, make_card
from experiments.suite.comparison import CARDS
from experiments.suite.entry import Entry
from experiments.suite.grid import CardGrid, write_grid


@dataclass(frozen=True)
class Suite:
    """What the cards in a folder share.

    Attributes:
        out: folder of the runs, each trained once, whoever needs it.
        references: the model whose references all are compared with; None: each with its own.
    """

    out: Path
    size: str
    axes: tuple[Axis, ...]
    references: Entry | None = None

    def folder(self, entry: Entry) -> Path:
        """Where a model's grid and card are."""
        return self.out / CARDS / entry.name

    def write_grid(self, entry: Entry) -> CardGrid:
        """The grid of a model, written.

        Raises:
            ConfigError: the model does not fit the grids of the suite.
        """
        return write_grid(entry, self.axes, self.size, self.folder(entry), self.references)

    def card(self, entry: Entry, grid: CardGrid, results: Results) -> Card:
        """The card of what is done so far."""
        return make_card(entry, grid, self.axes, self.size, results, self.references)
