"""Numbers, durations and tables as text, for a terminal or in Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

#: width that a column of text is left at least, however narrow the terminal
LEAST = 30


class NumberText(str):
    """A number as a table prints it, with the value that it sorts by; NaN where there is none."""

    value: float

    def __new__(cls, text: str, value: float) -> "NumberText":
        made = super().__new__(cls, text)
        made.value = float(value)
        return made


@dataclass(frozen=True)
class TextTable:
    """Text, ready to be drawn.

    Attributes:
        notes: stand below.
        spare: columns that a narrow terminal can do without, the first to go first.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()

    def within(self, width: int) -> "TextTable":
        """Without as many of the spare columns as leave it so wide, with a note of their names."""
        needed = [max(self._width(i), 1) + 2 for i in range(len(self.columns))]
        needed[0] = min(needed[0], LEAST + 2)
        sizes = dict(zip(self.columns, needed, strict=True))
        gone = left_out(sizes, [c for c in self.spare if c in self.columns], width - 1)
        if not gone:
            return self
        kept = [i for i, column in enumerate(self.columns) if column not in gone]
        rows = tuple(tuple(row[i] for i in kept) for row in self.rows)
        columns = tuple(self.columns[i] for i in kept)
        return replace(self, columns=columns, rows=rows, notes=(*self.notes, more_columns(gone)))

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
        for i, column in enumerate(map(self._heading, range(len(self.columns)))):
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
            notes = " ".join(self.notes)  # [low, high] is no markup
            console.print(notes, style="italic dim", markup=False, highlight=False, end="\n\n")

    def _width(self, i: int) -> int:
        """Cells of a terminal that the longest line of column `i` takes."""
        from rich.cells import cell_len

        texts = (self._heading(i), *(row[i] for row in self.rows))
        return max((cell_len(line) for text in texts for line in text.splitlines()), default=0)

    def _heading(self, i: int) -> str:
        """The name of column `i`, in several lines where it is longer than what stands below."""
        column = self.columns[i]
        longest = max((len(row[i]) for row in self.rows), default=0)
        return column.replace(", ", ",\n") if len(column) > longest else column


def left_out(sizes: dict[str, int], spare: Sequence[str], width: int) -> list[str]:
    """The first of the `spare` columns, as many as have to go so that the others fit."""
    gone: list[str] = []
    for name in spare:
        if sum(sizes.values()) - sum(sizes[g] for g in gone) <= width:
            break
        gone.append(name)
    return gone


def more_columns(gone: Sequence[str]) -> str:
    return f"More columns with --wide: {', '.join(gone)}."


#: wider than any table
_ENDLESS = 100_000


def _one_line(text: str) -> str:
    """The text as a cell of a Markdown table may hold it."""
    return " ".join(text.split()).replace("|", "\\|")


def number(value: Any) -> str:
    """1234567 -> 1.23M, 55872 -> 55.9k, 0.004 -> 0.004, a `NumberText`; text stays."""
    if not isinstance(value, int | float) and not hasattr(value, "dtype"):
        return str(value)
    size = float(value)
    for unit, name in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if float(f"{abs(size):.3g}") >= unit:
            return NumberText(f"{float(f'{size:.3g}') / unit:g}{name}", size)
    return NumberText(f"{size:.4g}", size)


def aligned(lines: Sequence[tuple[str, ...]]) -> str:
    """Columns of text side by side; empty ones are left out."""
    columns = [c for c in zip(*lines, strict=True) if any(c[1:])] if len(lines) > 1 else []
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    return "\n".join(
        "  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def duration(seconds: float) -> str:
    """
    >>> duration(7.4), duration(75), duration(7322)
    ('7 s', '1 min 15 s', '2 h 02 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def bytes_text(size: float) -> str:
    """
    >>> bytes_text(1536), bytes_text(24e9), bytes_text(3e18)
    ('1.54 kB', '24 GB', '3e+06 TB')
    """
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= 0.9995 * unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.0f} B"
