"""A table of text, for a terminal or in Markdown."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


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
        from rich import box
        from rich.markup import escape
        from rich.table import Table as RichTable

        table = RichTable(
            title=self.title,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        for i, column in enumerate(self.columns):
            # only text may wrap: a broken number cannot be read
            wraps = i == 0 or column == "reason"
            justify = "right" if i and column != "reason" else "left"
            table.add_column(column, justify=justify, no_wrap=not wraps, overflow="fold")
        for row in self.rows:
            table.add_row(*map(escape, row))  # a reason may say [Errno 28]
        console.print(table)
        if self.notes:  # not the caption, which would wrap at the width of the table
            console.print(" ".join(self.notes), style="italic dim", end="\n\n")


def _one_line(text: str) -> str:
    """As it may stand in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
