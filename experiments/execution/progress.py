"""The display of a running grid: a live table, or plain lines where there is no terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from experiments.execution.job import JobOutcome
from experiments.execution.time_left import TimeLeft
from experiments.runs.folder import RunFolder
from experiments.text import duration

#: failures that stay in sight
FAILURES = 3
MARKS = {"done": "green", "failed": "red", "stopped": "yellow", "busy": "yellow"}


class Progress:
    """Counts of a grid and the state of its running runs, read from their status files."""

    def __init__(
        self,
        title: str,
        total: int,
        done: int,
        failed: int,
        console: Console | None = None,
        left: TimeLeft | None = None,
    ) -> None:
        self.title, self.total, self.left = title, total, left
        self.counts = {"done": done, "failed": failed, "stopped": 0, "busy": 0}
        self.failures: list[Text] = []
        self.console = console or Console(stderr=True)
        self.live = (
            Live(console=self.console, refresh_per_second=4, transient=True)
            if self.console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self.live:
            self.live.stop()

    def finished(self, outcome: JobOutcome) -> None:
        """One line for a run that ended."""
        self.counts[outcome.ended] += 1
        for note in outcome.notes:
            self.notify(note)
        line = Text(f"{self.counts['done'] + self.counts['failed']}/{self.total} ")
        line.append(outcome.ended, style=MARKS[outcome.ended])
        line.append(f" {outcome.run_id}")
        if outcome.reason:
            line.append(f": {outcome.reason}")
        if self.left and outcome.ended in ("done", "failed"):
            self.left.ended(outcome.run_id, done=outcome.ended == "done")
            to_go = self.counts["done"] + self.counts["failed"] < self.total
            if to_go and outcome.ended == "done" and self.left.seconds() is not None:
                line.append(f", {self.left.text()}")
        if outcome.ended == "failed":
            short = f"failed {outcome.run_id}: {outcome.reason}".splitlines()[0]
            self.failures.append(Text(short, style="red", no_wrap=True, overflow="ellipsis"))
        self.say(line)

    def notify(self, message: str) -> None:
        """One line that a person should know of."""
        self.say(Text(message, style="yellow"))

    def say(self, line: Text) -> None:
        """Prints a line, which stays."""
        self.console.print(line, soft_wrap=True)

    def refresh(self, running: list[RunFolder]) -> None:
        """Redraws the table."""
        if self.left:
            self.left.look(running)
        if self.live:
            self.live.update(self.drawn(running))

    def drawn(self, running: list[RunFolder]) -> Group:
        """The counts, one row for each run that is worked on, and the last failures."""
        begun = [folder for folder in running if folder.lock_path.exists()]
        room = max(self.console.height - 3 - FAILURES, 4)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("run", no_wrap=True, overflow="ellipsis", ratio=1)
        for name in ("step", "loss", "tokens/s", "left"):
            table.add_column(name, justify="right", no_wrap=True)
        for folder in begun[:room]:
            table.add_row(folder.run_id, *self._row(folder))
        lines: list[Text] = []
        if len(begun) > room:
            lines.append(Text(f"and {len(begun) - room} more", style="dim"))
        lines += self.failures[-FAILURES:]
        return Group(self._head(len(begun)), *([table] if begun else []), *lines)

    def _head(self, begun: int) -> Text:
        counts = self.counts
        left = self.total - counts["done"] - counts["failed"] - begun
        head = Text(f"{self.title}: ", style="bold")
        head.append(f"{counts['done']}/{self.total} done", style="green")
        if counts["failed"]:
            head.append(f", {counts['failed']} failed", style="red")
        head.append(f", {begun} running, {max(left, 0)} to go", style="default")
        return head.append(f"; {self.left.text()}" if self.left else "", style="default")

    @staticmethod
    def _row(folder: RunFolder) -> tuple[str, str, str, str]:
        status = folder.status()
        if status is None or status.state != "running":
            return "starting", "", "", ""
        loss = "" if status.loss is None else f"{status.loss:.4f}"
        if status.doing == "measuring":
            return "measuring", loss, "", ""
        rate, left = status.tokens_per_second, status.seconds_left
        return (
            f"{status.step}/{status.last_step}",
            loss,
            "" if rate is None else f"{rate:,.0f}",
            "" if left is None else duration(left),
        )
