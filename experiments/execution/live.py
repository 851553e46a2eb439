"""The display of a running grid in a notebook: counts, a table and curves, updated in the cell.

Nothing of it needs the kernel once it is shown. The cell is stopped as any is, with ■ or I, I:
runs write their checkpoints and the cell ends; run again it goes on.
"""

import io
import sys
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.text import Text

from experiments.execution.arm_curves import ArmCurve, ArmCurves
from experiments.execution.progress import FAILURES, Progress
from experiments.execution.time_left import TimeLeft
from experiments.palette import ON_ANY_BACKGROUND as COLOURS
from experiments.runs.folder import RunFolder

#: seconds between two updates
EVERY = 1.0
#: runs that are worked on, and lines, which are shown
ROWS, LINES = 12, 5


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class LiveProgress(Progress):
    """What `Progress` shows on a terminal, as the output of a cell."""

    def __init__(
        self,
        out: Path,
        title: str,
        total: int,
        done: int,
        failed: int,
        left: TimeLeft | None = None,
    ) -> None:
        super().__init__(title, total, done, failed, Console(file=io.StringIO()), left)
        self.curves, self.lines = ArmCurves(out), list[str]()
        self.running: list[RunFolder] = []
        self.handle: Any = None
        self.updated = 0.0

    def __enter__(self) -> Self:
        self._show()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.running = []
        self._show()

    def say(self, line: Text) -> None:
        self.lines = [*self.lines, line.plain][-LINES:]
        self._show()

    def refresh(self, running: list[RunFolder]) -> None:
        self.running = running
        if self.left:
            self.left.look(running)
        if time.monotonic() - self.updated >= EVERY:
            self._show()

    def _show(self) -> None:
        from IPython.display import HTML, display

        self.updated = time.monotonic()
        shown = HTML(self.markup(self.running))
        if self.handle is None:
            self.handle = display(shown, display_id=True)
        else:
            self.handle.update(shown)

    def markup(self, running: Sequence[RunFolder]) -> str:
        """Counts, the runs that are worked on, a curve of each arm, and the last lines."""
        begun = [folder for folder in running if folder.lock_path.exists()]
        rows = [(folder.run_id, *self._row(folder)) for folder in begun[:ROWS]]
        head = "".join(f"<th>{name}</th>" for name in ("run", "step", "loss", "tokens/s", "left"))
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        lines = [*self.lines, *(text.plain for text in self.failures[-FAILURES:])]
        said = escape("\n".join(dict.fromkeys(lines)))
        return (
            f'<div class="loopscope-live"><p>{escape(self._head(len(begun)).plain)}</p>'
            f"{table if rows else ''}{drawing(self.curves.curves())}<pre>{said}</pre></div>"
        )


def drawing(curves: Sequence[ArmCurve]) -> str:
    """The curves of arms as SVG, those of one metric in one box; empty without any."""
    boxes = []
    for metric in dict.fromkeys(curve.metric for curve in curves):
        chosen = [curve for curve in curves if curve.metric == metric]
        last = max(curve.last_step for curve in chosen)
        top = 1.0 if metric == "accuracy" else max(v for c in chosen for _, v in c.curve)
        lines, names = [], []
        for i, curve in enumerate(chosen):
            colour = COLOURS[i % len(COLOURS)]
            places = " ".join(
                f"{40 + 330 * step / last:.1f},{150 - 130 * value / (top or 1):.1f}"
                for step, value in curve.curve
            )
            style = f'fill="none" stroke="{colour}" stroke-width="1.8"'
            lines.append(f'<polyline points="{places}" {style}/>')
            text = escape(f"{curve.name} {curve.curve[-1][1]:.3f}")
            names.append(f'<text x="380" y="{28 + 16 * i}" fill="{colour}">{text}</text>')
        height = max(180, 40 + 16 * len(chosen))
        axes = '<path d="M40,20V150H370" fill="none" stroke="currentColor"/>'
        said = "".join(
            f'<text x="{x}" y="{y}" text-anchor="end" fill="currentColor">{text}</text>'
            for x, y, text in ((36, 24, f"{top:.3g}"), (36, 154, "0"), (370, 168, f"step {last}"))
        )
        title = f'<text x="44" y="14" fill="currentColor">{metric}</text>'
        boxes.append(
            f'<svg viewBox="0 0 620 {height}" width="620" role="img" aria-label="{metric}" '
            f'font-size="12" style="max-width: 100%">{axes}{said}{title}{"".join(lines + names)}'
            "</svg>"
        )
    return "".join(boxes)
