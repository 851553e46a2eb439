"""Held-out accuracy against the number of distinct training questions, by loops."""

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.analysis.figures.figure import Figure, Need, measured
from experiments.errors import LoopscopeError
from experiments.results.selection import series

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

    from experiments.config.run import RunConfig
    from experiments.results.long_table import Results


class SampleEfficiency(Figure):
    """One panel per part and difficulty, colours by loops.

    The questions of that difficulty that training draws from are counted on the task itself, so
    any field that changes them may be varied: `held_out`, `phi`, `budget`.
    """

    kind: Literal["sample_efficiency"] = "sample_efficiency"
    split: str = Field("test", description="split of the questions")
    difficulty: int | tuple[int, ...] | None = Field(None, description="None: all")

    def needs(self) -> tuple[Need, ...]:
        asked = measured("accuracy", split=self.split, difficulty=self.difficulty, part=self.part)
        told = "has a task that counts its training questions by difficulty"
        return (asked, Need(told, _counts, self.part))

    def data(self, results: "Results") -> "pd.DataFrame":
        from experiments.results.selection import difficulties_of, joined, last_loop, panels_of

        rows = self.select(
            last_loop(results.runs),
            metric="accuracy",
            item="",
            split=self.split,
            difficulty=self.difficulty,
        )
        place = ["part", "component", "difficulty"]
        rows = rows[rows["difficulty"].notna()].drop_duplicates(["run_id", *place])
        counts = _Questions(results)
        asked = zip(rows["run_id"], rows["component"], rows["difficulty"], strict=True)
        found = [counts(run_id, component, int(d)) for run_id, component, d in asked]
        rows = rows.assign(questions=[float("nan") if n is None else float(n) for n in found])
        if rows["questions"].isna().all():
            raise LoopscopeError(
                f"figure {self.kind}: these tasks do not count their training questions"
            )
        rows = rows[rows["questions"].notna()].sort_values("difficulty", kind="stable")
        panel = joined(panels_of(rows), difficulties_of(rows))
        loops = [f"{n} loop{'s' if n > 1 else ''}" for n in rows["n_loops"]]
        told = series(rows, [*place, "n_loops", "questions"], ["k"])
        # the split is drawn by seed, so that seeds of one arm differ by a few questions
        mean = rows.groupby(["cell", *place])["questions"].transform("mean")
        return rows.assign(panel=panel, hue=loops, series=told, mean_questions=mean)

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from experiments.analysis.drawing.style import numbers_axis
        from experiments.analysis.drawing.versus import plot_versus

        labels = ("distinct training questions", "held-out accuracy")
        return plot_versus(
            data,
            "mean_questions",
            labels,
            numbers_axis,
            title=self.title,
            bounded=True,
            aside=False,
        )


def _counts(config: "RunConfig") -> bool:
    parts = config.task.sketch().parts.values()
    return any(p.count("train", d) is not None for p in parts for d in p.difficulties_of("train"))


class _Questions:
    """(run, component, difficulty) -> distinct training questions; runs share their worlds."""

    def __init__(self, results: "Results") -> None:
        self._results = results
        self._tasks: dict[str, Any] = {}
        self._key_of: dict[str, str] = {}

    def __call__(self, run_id: str, component: str, difficulty: int) -> int | None:
        if run_id not in self._key_of:
            config = self._results.config(run_id)
            key = json.dumps([config.task.model_dump(mode="json"), config.seed], default=str)
            self._key_of[run_id] = key
            if key not in self._tasks:
                self._tasks[key] = config.bound_task()
        return self._tasks[self._key_of[run_id]].parts[component].count("train", difficulty)
