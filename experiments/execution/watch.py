"""How far the runs of a folder are, as text: once, or again and again from another shell."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.errors import LoopscopeError
from experiments.execution.arm_curves import ArmCurves
from experiments.results.records import Record, RecordState
from experiments.runs.folder import RunFolder
from experiments.runs.output import folders_with_results, no_folder
from experiments.runs.reference import place_of
from experiments.text import aligned, duration

if TYPE_CHECKING:
    from rich.console import Console

#: seconds between two readings of a log that is followed
POLL = 0.5
#: states that are shown while one watches
ACTIVE = ("running", "measuring", "failed", "damaged")
HEAD = ("run", "status", "step", "loss", "tokens/s", "left", "reason")


@dataclass
class Watched:
    """The runs of a folder. A run that is done is read once: watching 2,000 costs little."""

    out: Path
    done: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def snapshot(self) -> tuple[list[tuple[str, ...]], Counter[RecordState]]:
        """A row of text per run, and their number by state.

        Raises:
            LoopscopeError: there is no folder.
        """
        out = place_of(self.out)
        if not out.is_dir():
            raise LoopscopeError(no_folder(self.out))
        rows, states = [], Counter[RecordState]()
        for folder in folders_with_results(out):
            row = self.done.get(folder.run_id) or _row(folder)
            if row[1] == "done":
                self.done[folder.run_id] = row
            states[row[1]] += 1  # pyrefly: ignore
            rows.append(row)
        return rows, states


def _row(folder: RunFolder) -> tuple[str, ...]:
    record, known = Record.read(folder), folder.status()
    if record.state == "resumable":  # or its result was written between the looks at both
        record = Record.read(folder)
    state, reason = record.state, record.status.get("reason", "")
    if known is None:
        return folder.run_id, state, "", "", "", "", reason
    running = state == "running" and known.state == "running"
    rate, left = known.tokens_per_second, known.seconds_left
    measuring = running and known.doing == "measuring"
    return (
        folder.run_id,
        "measuring" if measuring else state,
        f"{known.step}/{known.last_step}",
        "" if known.loss is None else f"{known.loss:.4f}",
        f"{rate:,.0f}" if running and not measuring and rate is not None else "",
        duration(left) if running and not measuring and left is not None else "",
        reason if state in ("failed", "damaged") else "",
    )


def _counts(states: Counter[RecordState]) -> str:
    return ", ".join(f"{n} {state}" for state, n in sorted(states.items()))


def status_text(out: Path) -> str:
    """A line per run in `out` and their number by state.

    Raises:
        LoopscopeError: `out` is no folder.
    """
    rows, states = Watched(out).snapshot()
    return f"{aligned([HEAD, *rows])}\n\n{_counts(states)}" if rows else f"{out} has no runs yet"


def watch_status(out: Path, every: float, console: "Console | None" = None) -> None:
    """Shows the runs that are worked on, failed or damaged, and the counts, until nothing runs.

    On a terminal one table that is drawn again, and a curve of each arm; elsewhere a line
    whenever the counts change. Reads only. A folder without runs is waited for: this may be typed
    before the first run.

    Args:
        every: seconds between two readings.

    Raises:
        LoopscopeError: `out` is no folder.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = console or Console()
    watched, curves, before = Watched(out), ArmCurves(place_of(out)), ""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            rows, states = watched.snapshot()
            counts = _counts(states) or f"{out} has no runs yet"
            if console.is_terminal:
                active = [row for row in rows if row[1] in ACTIVE]
                arms = curves_text(curves, max(console.height // 2 - 4, 1))
                room = console.height - 4 - len(arms.splitlines())
                shown = aligned([HEAD, *active[-max(room, 1) :]])
                live.update(Text("\n".join(filter(None, (counts, shown, arms)))))
                live.refresh()
            elif counts != before:
                console.print(Text(counts), soft_wrap=True)
            before = counts
            if rows and not states["running"] + states["measuring"]:  # pyrefly: ignore
                break
            time.sleep(every)
    if console.is_terminal:
        arms = curves_text(curves)
        console.print(Text("\n\n".join(filter(None, (status_text(out), arms)))), soft_wrap=True)


def curves_text(curves: ArmCurves, most: int | None = None) -> str:
    """A line for each arm: held-out accuracy, or the loss, over training; empty without any.

    Args:
        most: lines, beyond which arms are counted.
    """
    found = [curve.columns() for curve in curves.curves()]
    lines = aligned(found[:most]).splitlines() if found else []
    more = len(found) - len(lines)
    return "\n".join([*lines, *([f"and {more} more arms"] if more > 0 else [])])


def log_lines(folder: RunFolder, *, follow: bool = False, last: int | None = None) -> Iterator[str]:
    """The lines of a run's log; with `follow` also what is added until the run is not worked on.

    Args:
        last: only the last so many of those that are there.

    Raises:
        LoopscopeError: there is no log yet, and it is not followed.
    """
    path = folder.path / "log.txt"
    if not path.exists() and not follow:
        raise LoopscopeError(f"{folder.run_id} has no log yet: it was never started")
    text = path.read_bytes() if path.exists() else b""
    if follow:  # a line that is being written is given once it is whole
        text = text[: text.rfind(b"\n") + 1]
    offset, lines = len(text), text.decode(errors="replace").splitlines()
    yield from lines if last is None else lines[-last:]
    torn = b""
    while follow:
        ended = folder.state() != "running"
        if path.exists():
            with path.open("rb") as file:
                file.seek(offset)
                added = file.read()
            offset += len(added)
            *whole, torn = (torn + added).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
        if ended:
            break
        time.sleep(POLL)
    if torn:
        yield torn.decode(errors="replace")
