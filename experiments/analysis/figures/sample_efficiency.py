"""Held-out accuracy against the number of distinct training questions, by loops."""

import json
from typing import TYPE_CHECKING, Any, Literal

from experiments.analysis.drawing.panels import numbers_axis
from experiments.analysis.drawing.versus import Against, Versus
from experiments.analysis.figures.figure import Need, OfQuestions, Results, Rows
from experiments.errors import LoopscopeError
from experiments.results import selection

if TYPE_CHECKING:
    from experiments.config.run import RunConfig


class SampleEfficiency(OfQuestions, Versus):
    """One panel per part and difficulty, colours by arm.

    The questions of that difficulty that training draws from are counted on the task itself, so
    any field that changes them may be varied: `held_out`, `phi`, `budget`.
    """

    kind: Literal["sample_efficiency"] = "sample_efficiency"
    against = Against(
        "held-out accuracy",
        "mean_questions",
        "distinct training questions",
        numbers_axis,
        bounded=True,
        aside=False,
    )

    def needs(self) -> tuple[Need, ...]:
        told = "has a task that counts its training questions by difficulty"
        return (*super().needs(), Need(told, _counts, self.part))

    def data(self, results: Results) -> Rows:
        rows = self.accuracies(selection.last_loop(results.runs))
        place = [*selection.PLACE, "difficulty"]
        rows = rows[rows["difficulty"].notna()].drop_duplicates(["run_id", *place])
        rows = rows.assign(questions=_questions(results, rows))
        rows = rows[rows["questions"].notna()]
        if rows.empty:
            raise LoopscopeError(
                f"figure {self.kind}: these tasks do not count their training questions"
            )
        panel = selection.joined(selection.panels_of(rows), selection.difficulties_of(rows))
        told = selection.series(rows, [*place, "arm", "questions"], [])
        # the split is drawn by seed, so that seeds of one arm differ by a few questions
        mean = rows.groupby(["cell", *place])["questions"].transform("mean")
        return rows.assign(panel=panel, hue=rows["arm"], series=told, mean_questions=mean)


def _counts(config: "RunConfig") -> bool:
    parts = config.task.sketch().parts.values()
    return any(p.count("train", d) is not None for p in parts for d in p.difficulties_of("train"))


def _questions(results: Results, rows: Rows) -> list[float]:
    """Distinct training questions of every row; runs of one world share its task."""
    configs = {run_id: results.config(run_id) for run_id in rows["run_id"].unique()}
    world = {
        run_id: json.dumps([config.task.model_dump(mode="json"), config.seed], default=str)
        for run_id, config in configs.items()
    }
    firsts = {key: run_id for run_id, key in world.items()}
    tasks: dict[str, Any] = {key: configs[run_id].bound_task() for key, run_id in firsts.items()}
    asked = zip(rows["run_id"], rows["component"], rows["difficulty"], strict=True)
    found = [tasks[world[run]].parts[part].count("train", int(d)) for run, part, d in asked]
    return [float("nan") if n is None else float(n) for n in found]
