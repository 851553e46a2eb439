"""How the state moves from loop to loop, and whether it comes to rest.

Legend: B documents, D width, n loops, W loops of the window.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.task import Batch
from probes.extrapolation import limit_row, loop_limit
from probes.probe import Measurement, Subject
from probes.questions import QuestionProbe, before, chunks
from probes.statistics import summarise, wilson_interval

if TYPE_CHECKING:
    from torch import Tensor


def periods(states: "Tensor", window: int, most_period: int, tolerance: float) -> np.ndarray:
    """The period with which each document's states repeat in the last W loops, int64[B].

    Period p: the states p, 2p, … loops apart lie within tolerance · mean norm of the latest one
    of them, all through the window; of several p the smallest. 1 is a fixed point, 0 neither a
    fixed point nor a cycle of at most `most_period`. A drift over the whole window counts, so
    that small steps alone make no fixed point.

    Args:
        states: [n, B, D], n ≥ window ≥ 2 · most_period.
    """
    import torch

    last = states[-window:].double().flip(0)  # the latest first
    scale = last.norm(dim=-1).mean(0)
    found = torch.zeros(last.shape[1], dtype=torch.int64, device=last.device)
    for p in range(most_period, 0, -1):
        apart = [(last[r::p] - last[r]).norm(dim=-1).amax(0) for r in range(p)]
        found[torch.stack(apart).amax(0) <= tolerance * scale] = p
    found[~last.isfinite().all(-1).all(0)] = 0
    return found.cpu().numpy()


class Dynamics(QuestionProbe):
    """The normed state at the token before the answer, over more loops than were trained.

    Per loop t, means over documents: `state_norm` ‖h_t‖, `state_step` ‖h_t - h_{t-1}‖,
    `relative_change` ‖h_t - h_{t-1}‖ / ‖h_{t-1}‖, `state_cosine` of h_t and h_{t-1}, and
    `step_ratio` ‖h_t - h_{t-1}‖ / ‖h_{t-1} - h_{t-2}‖, of documents that were still moving: below
    1 where the loop contracts. A loop in which a state is no longer finite has no rows.

    `convergence_share`, `item` `fixed point`, `cycle of 2`, …, `neither`: shares of documents by
    the criterion of `periods`, in the last `window` loops; `loop` says how many were run.
    They are left out where fewer loops than the window can be run (`loop_limit`).
    """

    version: ClassVar[int] = 1

    kind: Literal["dynamics"] = "dynamics"
    loops: int | None = Field(None, ge=1, description="None: 4 times those trained, at least 32")
    window: int = Field(12, ge=2, description="loops at the end that have to repeat")
    most_period: int = Field(4, ge=1, description="longest cycle that is looked for")
    tolerance: float = Field(0.01, gt=0, description="distance in units of the mean norm")

    @model_validator(mode="after")
    def _seen_twice(self) -> Self:
        if self.window < 2 * self.most_period:
            raise ValueError(
                f"window {self.window} does not show a cycle of most_period {self.most_period} "
                f"twice; ask for {2 * self.most_period} loops or more"
            )
        return self

    @property
    def fewest_loops(self) -> tuple[str, int] | None:
        """None, since as many loops are run as the model allows."""
        return None

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """Measurements by difficulty, after `loop_limit` if the model has one.

        Raises:
            ValueError: a split or difficulty that the task lacks.
        """
        limit = loop_limit(subject.model)
        loops = self.loops or max(4 * subject.model.config.loops, 32)
        rows = [limit_row(limit, self.split)] if limit and limit < loops else []
        loops = min(loops, limit or loops)
        for difficulty, batch in self.batches(subject):
            where = {"split": self.split, "difficulty": difficulty}
            found = [*_motion(states := self._states(subject, batch, loops)), *self._rest(states)]
            rows += [Measurement(**row, **where) for row in found]
        return tuple(rows)

    def _states(self, subject: Subject, batch: Batch, loops: int) -> "Tensor":
        """States after each of n loops, float64[n, B, D]."""
        import torch

        found = []
        for part in chunks(batch):
            tokens, at, _ = before(part, "answer", subject.device)
            with torch.no_grad():
                outputs = subject.model(tokens, n_loops=loops)
                states = [outputs.state(t)[at].double() for t in range(1, outputs.n_loops + 1)]
            found.append(torch.stack(states))
        return torch.cat(found, 1)

    def _rest(self, states: "Tensor") -> Iterator[dict[str, Any]]:
        n, B = states.shape[:2]
        if n < self.window:
            return
        period = periods(states, self.window, self.most_period, self.tolerance)
        names = {1: "fixed point"} | {p: f"cycle of {p}" for p in range(2, self.most_period + 1)}
        for p, name in {**names, 0: "neither"}.items():
            hits = int((period == p).sum())
            low, high = wilson_interval(hits, B)
            where = {"metric": "convergence_share", "item": name, "loop": n, "n_items": B}
            yield where | {"value": hits / B, "low": low, "high": high, "ceiling": 1.0}


def _motion(states: "Tensor") -> Iterator[dict[str, Any]]:
    """Measurements of every loop from states [n, B, D]."""
    from torch.nn.functional import cosine_similarity

    norm = states.norm(dim=-1)
    step = (states[1:] - states[:-1]).norm(dim=-1)  # step[i] leads to loop i + 2
    for t in range(1, len(states) + 1):
        if not bool(states[:t].isfinite().all()):
            return
        found = {"state_norm": norm[t - 1]}
        if t > 1:
            found["state_step"] = step[t - 2]
            moving = norm[t - 2] > 0
            found["relative_change"] = (step[t - 2] / norm[t - 2])[moving]
            found["state_cosine"] = cosine_similarity(states[t - 1], states[t - 2], dim=-1)
        if t > 2:
            moving = step[t - 3] > 1e-12 * norm[t - 3]
            found["step_ratio"] = (step[t - 2] / step[t - 3])[moving]
        for metric, values in found.items():
            if len(values):
                mean, low, high, n = summarise(values.cpu().numpy())
                row = {"metric": metric, "value": mean, "n_items": n, "loop": t}
                yield row | {"low": low, "high": high}
