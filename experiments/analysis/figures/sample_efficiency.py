"""Held-out accuracy against the number of distinct training questions, by loops."""

import json
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from experiments.analysis.drawing import panels
from experiments.analysis.drawing.versus import Against, Versus
from experiments.analysis.figures.figure import Need, OfQuestions
from experiments.errors import LoopscopeError
from experiments.results import selection

if TYPE_CHECKING:
    import pandas as pd

    from experiments.config.run import RunConfig
    from experiments.results.long_table import Results


class SampleEfficiency(OfQuestions, Versus):
    """One panel per part and difficulty, colours by arm.

    The questions of that difficulty that training draws from are counted on the task itself, so
    any field that changes them may be varied: `held_out`, `phi`, `budget`.
    """

    kind: Literal["sample_efficiency"] = "sample_efficiency"
    against: ClassVar[Against] = Against(
        "mean_questions",
        "distinct training questions",
        panels.numbers_axis,
        y="held-out accuracy",
        bounded=True,
        aside=False,
    )

    def needs(self) -> tuple[Need, ...]:
        told = "has a task that counts its training questions by difficulty"
        return (*super().needs(), Need(told, _counts, self.part))

    def data(self, results: "Results") -> "pd.DataFrame":
        rows = self.accuracies(selection.last_loop(results.runs))
        place = [*selection.PLACE, "difficulty"]
        rows = rows[rows["difficulty"].notna()].drop_duplicates(["run_id", *place])
        counts = _Questions(results)
        asked = zip(rows["run_id"], rows["component"], rows["difficulty"], strict=True)
        found = [counts(run_id, component, int(d)) for run_id, component, d in asked]
        rows = rows.assign(questions=[float("nan") if n is None else float(n) for n in found])
        if rows["questions"].isna().all():
            raise LoopscopeError(
                f"figure {self.kind}: these tasks do not count their training questions"
            )
        rows = rows[rows["questions"].notna()]
        panel = selection.joined(selection.panels_of(rows), selection.difficulties_of(rows))
        told = selection.series(rows, [*place, "arm", "questions"], [])
        # the split is drawn by seed, so that seeds of one arm differ by a few questions
        mean = rows.groupby(["cell", *place])["questions"].transform("mean")
        return rows.assign(panel=panel, hue=rows["arm"], series=told, mean_questions=mean)


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
