"""Linear probes: which intermediate result can be read off which state, by layer and loop.

A regularised logistic regression (scikit-learn) is fitted to the states after every block call
and every loop. What it finds is in the states, not necessarily used by the model. Accuracy by
cross-validation stands beside that of the same fit to shuffled labels; the difference is its
selectivity (after Hewitt & Liang, 1909.03368, whose control labels every word type anew).

Legend: B documents, D width, C classes.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from generators.streams import Stream, generator
from generators.task import Batch, Task
from probes.probe import Measurement, Subject
from probes.questions import QuestionProbe, final_span, lacks, named, refused
from probes.states import hooks_of, states_at
from probes.statistics import summarise, wilson_interval

#: target: the first token of the result
ANSWER = "answer"


def held_out_predictions(
    x: np.ndarray, y: np.ndarray, folds: np.ndarray, penalty: float
) -> np.ndarray:
    """The class of every row of x, float[B, D], by a fit to the other folds.

    Args:
        y: int[B], classes.
        folds: int[B], fold of each row.
        penalty: inverse of scikit-learn's C, on standardised features.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    predicted = np.empty_like(y)
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        if len(np.unique(y[train])) == 1:  # nothing to tell apart
            predicted[test] = y[train][0]
            continue
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=1000, tol=1e-3)
        )
        predicted[test] = model.fit(x[train], y[train]).predict(x[test])
    return predicted


def decodability(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, folds: int, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each row's label is found, bool[B], and its shuffled label, bool[B].

    The control is another draw of labels of the same frequencies that have nothing to do with
    x: above the majority only by what the fit makes of noise.
    """
    fold = rng.permutation(np.arange(len(y)) % folds)
    shuffled = rng.permutation(y)
    right = held_out_predictions(x, y, fold, penalty) == y
    control = held_out_predictions(x, shuffled, fold, penalty) == shuffled
    return right, control


def measurements(
    right: np.ndarray, control: np.ndarray, majority: float, **where: str | int | None
) -> list[Measurement]:
    """`probe_accuracy`, `probe_control` (shuffled labels) and `probe_selectivity`.

    Args:
        right, control: bool[B], of the same documents.
        majority: share of the commonest class.
    """
    rows: list[tuple[str, float, dict[str, float | None]]] = []
    for metric, hits in (("probe_accuracy", right), ("probe_control", control)):
        low, high = wilson_interval(int(hits.sum()), len(hits))
        bounds: dict[str, float | None] = {"floor": majority, "ceiling": 1.0}
        rows.append((metric, float(hits.mean()), {**bounds, "low": low, "high": high}))
    difference = summarise(right.astype(float) - control)  # paired over documents
    bounds = {
        "floor": 0.0,
        "ceiling": 1.0 - float(control.mean()),
        "low": difference.low,
        "high": difference.high,
    }
    rows.append(("probe_selectivity", difference.mean, bounds))
    return [
        Measurement(metric=metric, value=value, n_items=len(right), **bounds, **where)  # pyrefly: ignore
        for metric, value, bounds in rows
    ]


class Linear(QuestionProbe):
    """Which latents of a task (bridge entities, partial results) are decodable after which layer.

    Rows by difficulty, target, place and hook; `item` is `<target>@<layer>`, such as
    `hop.1@core.0`, `loop` the loop, so that a target's rows are a map of layer and loop. Before
    the answer by more than 0 tokens, ` -1` and so on is added. The floor of `probe_accuracy` and
    `probe_control` is the commonest class; documents without the latent are left out, and a
    latent with a single value is not looked for.
    """

    version: ClassVar[int] = 1

    kind: Literal["linear"] = "linear"
    items: int = Field(1024, ge=20, description="most documents per difficulty")
    targets: tuple[str, ...] | None = Field(
        None, description="latents, or `answer`: its first token; None: all of them"
    )
    back: tuple[int, ...] = Field(
        (0,), description="tokens before the one that predicts the answer, where states are read"
    )
    loops: int | None = Field(None, ge=1, description="None: those of the model")
    folds: int = Field(5, ge=2, description="of the cross-validation")
    penalty: float = Field(1.0, gt=0, description="L2, on standardised states: 1/C")

    def misfits(self, task: Task) -> Iterator[tuple[str, str]]:
        yield from super().misfits(task)
        if min(self.back, default=0) < 0:
            yield "back", f"counts tokens before the answer, 0 or more, got {list(self.back)}"
        if self.targets is None or refused(task, self.split):
            return
        known = [*named(task, self.split).latents, ANSWER]
        for target in self.targets:
            if target not in known:
                yield "targets", lacks(task, "latent", target, known)

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """Measurements by difficulty, target, place and hook.

        Raises:
            ValueError: a split, difficulty or latent that the task lacks.
        """
        rows: list[Measurement] = []
        config = subject.model.config
        hooks = hooks_of(config, self.loops or config.loops)
        for difficulty, batch in self.batches(subject):
            start = batch.spans["answer"][:, 0]
            labels = self._labels(batch)
            for back in self.back:
                there = start - 1 - back >= 0
                states = states_at(
                    subject, batch, np.maximum(start - 1 - back, 0), tuple(hooks), self.loops
                )
                for target, y in labels.items():
                    use = there & (y >= 0)
                    if len(np.unique(y[use])) < 2 or use.sum() < self.folds:
                        continue
                    for hook, (layer, loop) in hooks.items():
                        rng = generator(subject.seed, Stream.PROBE, 1)  # one split for all
                        hits = decodability(
                            states[hook][use], y[use], rng, self.folds, self.penalty
                        )
                        rows += measurements(
                            *hits,
                            majority=float(np.bincount(y[use]).max() / use.sum()),
                            split=self.split,
                            item=f"{target}@{layer}" + (f" -{back}" if back else ""),
                            difficulty=difficulty,
                            loop=loop,
                        )
        return tuple(rows)

    def _labels(self, batch: Batch) -> dict[str, np.ndarray]:
        """target -> int64[B], -1 where there is none."""
        start = batch.spans[final_span(batch)][:, 0]
        answer = batch.tokens[np.arange(len(batch)), start]
        every = {**batch.latents, ANSWER: answer}
        wanted = every if self.targets is None else self.targets
        return {name: every[name].astype(np.int64) for name in wanted if name in every}
