"""Results that one can touch: in a notebook, or as one HTML page that needs no network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from experiments.analysis.explorer.page import Traces, explorer_page
from experiments.analysis.report.grids import Shipped
from experiments.errors import LoopscopeError
from experiments.measuring.stepping import MOST_RUNS, traces_of, with_weights
from experiments.results.long_table import Data, Results, read_results

#: pixels of the page's height in a notebook
HEIGHT = 900


@dataclass(frozen=True)
class Explorer:
    """The page, which a notebook shows in a frame of its own."""

    page: str = field(repr=False)
    runs: int

    def __repr__(self) -> str:
        return (
            f"<an explorer of {self.runs} runs; JupyterLab shows it where the notebook is trusted>"
        )

    def _repr_html_(self) -> str:
        frame = f'width="100%" height="{HEIGHT}" style="border: 0" title="explorer of results"'
        return f'<iframe srcdoc="{escape(self.page)}" {frame}></iframe>'


def explore(
    runs: Data,
    grid: str | None = None,
    *,
    questions: int = 0,
    of: Sequence[str] = (),
    shipped: Callable[[str], Shipped | None] = lambda name: None,
) -> Explorer:
    """Results as a page of points whose axes, colours and filters are chosen there.

    A click on a point shows its curves, its accuracy by loop, its exits, its config and what
    repeats it, two runs side by side. The page is saved with the notebook: choose rows of
    `load_runs` where it is to be small.

    Args:
        runs: a folder or an archive of runs, or rows of `load_runs` that you chose.
        questions: of every difficulty, that are put to some runs and stepped through loop by loop.
        of: their ids, or starts of ids; none: of each kind of run the first with weights, but
            `MOST_RUNS` at most.
        shipped: the grid of a name that comes with loopscope.

    Raises:
        LoopscopeError: there are no runs, or those to be asked have no weights or no questions.
    """
    results = read_results(runs, grid)
    traces = traces_in(results, questions, of)
    page = explorer_page(results, traces, shipped)
    return Explorer(page, int(results.runs["run_id"].nunique()))


def traces_in(results: Results, questions: int, of: Sequence[str] = ()) -> Traces:
    """The questions put to runs of these results; none where `questions` is 0.

    Raises:
        LoopscopeError: as `explore`.
    """
    if questions < 0:
        raise LoopscopeError(f"questions needs 0 or more, got {questions}")
    if of and not questions:
        raise LoopscopeError("runs are named, but no questions to put to them: ask for some")
    if not questions:
        return {}
    if results.source is None:
        raise LoopscopeError("questions need a folder of runs with their weights, not a table")
    out = results.source.path
    if of:
        return traces_of(out, of, questions)
    found: Traces = {}
    firsts = results.runs.drop_duplicates("run_id")
    asking = firsts["run_id"].isin(results.runs.loc[results.runs["metric"] == "accuracy", "run_id"])
    known = set(with_weights(out, firsts.loc[asking, "run_id"]))
    chosen = firsts[firsts["run_id"].isin(known)].drop_duplicates("cell")["run_id"]
    found = traces_of(out, chosen.head(MOST_RUNS), questions)
    if not found:
        raise LoopscopeError(f"{out} has no run with weights and questions to step through")
    return found
