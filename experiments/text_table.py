"""A table of text, for a terminal or in Markdown."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: width that a column of text is left at least, however narrow the terminal
LEAST = 30


@dataclass(frozen=True)
class Table:
    """Text, ready to be drawn. `notes` stand below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        head = [self.columns, ("---",) + ("---:",) * (len(self.columns) - 1)]
        lines = [f"| {' | '.join(map(_one_line, row))} |" for row in [*head, *self.rows]]
        notes = [" ".join(self.notes)] if self.notes else []
        return "\n\n".join([f"**{self.title}**", "\n".join(lines), *notes])

    def draw(self, console: "Console") -> None:
        """Whole, whatever the width of the console: lines that are too long run over."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table as RichTable

        table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for i, column in enumerate(self.columns):
            # only text may wrap: a broken number cannot be read
            wraps = i == 0 or column == "reason"
            table.add_column(
                column,
                justify="right" if i and column != "reason" else "left",
                no_wrap=not wraps,
                overflow="fold",
                min_width=min(self._width(i), LEAST) if wraps else self._width(i),
            )
        for row in self.rows:
            table.add_row(*map(escape, row))  # a reason may say [Errno 28]
        needed = console.measure(table, options=console.options.update(width=_ENDLESS)).minimum
        if needed > console.width:  # rich would leave out columns and ends of numbers
            table.width = needed
        # neither title nor notes belong to the table, at whose width they would wrap
        console.print(self.title, style="bold", markup=False, highlight=False)
        console.print(table, crop=False)
        if self.notes:
            console.print(" ".join(self.notes), style="italic dim", end="\n\n")

    def _width(self, i: int) -> int:
        """Cells of a terminal that the longest line of column `i` takes."""
        from rich.cells import cell_len

        texts = (self.columns[i], *(row[i] for row in self.rows))
        return max((cell_len(line) for text in texts for line in text.splitlines()), default=0)


#: wider than any table
_ENDLESS = 100_000


def _one_line(text: str) -> str:
    """As it may stand in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
