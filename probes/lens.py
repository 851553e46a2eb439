"""What every loop would answer: its state read through the head (the logit lens over loops).

A loop's state is what the head was trained on, or is trained on in the last loop, so that loops
need no translation; states within a loop are read through the final norm and the head as they
are (nostalgebraist 2020). Bridge entities are the results on the way to the answer.

Legend: B documents, V vocabulary.
"""

from collections.abc import Iterator
from math import log
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast

import numpy as np
from pydantic import Field

from generators.streams import Stream, generator
from generators.task import Batch, Task
from models.config import LoopedConfig
from probes.probe import Measurement, Subject
from probes.questions import (
    QuestionProbe,
    before,
    chunks,
    final_span,
    floor_of,
    having,
    lacks,
    named,
    refused,
)
from probes.statistics import summarise, wilson_interval

if TYPE_CHECKING:
    from torch import Tensor

    from models.looped import LoopedTransformer
    from models.model import ModelConfig
    from models.objectives.objective import Objective

#: documents from which the names of latent values are learned
NAMING = 20_000


class Place(NamedTuple):
    """The place at which a state is read: after a loop (`name` empty) or a block call in it."""

    loop: int
    name: str = ""

    def item(self, target: str) -> str:
        """The item of a target here: `answer`, or `answer@core.0.loop.2`."""
        return f"{target}@{self.name}" if self.name else target


def latent_names(task: Task, seed: int) -> dict[int, int]:
    """value of the latents `hop.k` -> the token that says it, learned from training documents.

    The last hop is the answer. Only values that have been an answer have a name: no other token
    can be expected of a head. Empty where the task has no hops, or one value has several names.
    """
    names: dict[int, int] = {}
    for difficulty in task.difficulties_of("train"):
        rng = generator(seed, Stream.PROBE, difficulty)
        batch = task.sample(rng, NAMING // len(task.difficulties), difficulty=difficulty)
        value = batch.latents.get(f"hop.{difficulty}")
        if value is None:
            return {}
        token = batch.tokens[np.arange(len(batch)), batch.spans[final_span(batch)][:, 0]]
        for one, name in np.unique(np.stack([value, token], 1), axis=0).tolist():
            if names.setdefault(one, name) != name:
                return {}
    return names


def targets_of(
    batch: Batch, span: str, difficulty: int | None, names: dict[int, int]
) -> dict[str, np.ndarray]:
    """What is looked for -> its token, int64[B], -1 where it has none: the answer and bridges.

    Args:
        span: what the model answers.
        names: of latent values, from `latent_names`.
    """
    start = batch.spans[span][:, 0]
    targets = {"answer": batch.tokens[np.arange(len(batch)), start].astype(np.int64)}
    for k in range(difficulty or 0) if names else ():
        values = batch.latents.get(f"hop.{k}", np.empty(0, np.int64))
        token = np.array([names.get(int(v), -1) for v in values], np.int64)
        if (token >= 0).any():
            targets[f"hop.{k}"] = token
    return targets


class Lens(QuestionProbe):
    """The distribution over tokens before the answer, read after every loop, by difficulty.

    Rows per loop, `item` naming what is looked for: `answer`, or the bridge entity `hop.1`, ….
    `lens_accuracy`: share of documents in which it is the likeliest token; floor: the task's,
    or for bridges the share of the commonest. `lens_probability`: its mean probability.
    `lens_rank`: mean rank, 1 for the likeliest, ties in the middle; floor (V + 1) / 2, of equal
    logits. With `item` `prediction`: `lens_agreement`, share of documents whose likeliest token
    is that of the last loop, and `lens_entropy`, mean entropy in nats (its largest is log V).

    `blocks` adds every block call, its name behind the item: `hop.1@core.0.loop.2`; loop 0 is
    the prelude. A coda, which belongs to the head, is left out there. The first token of the
    answer is read; where several answers are right, it is that of the document.
    """

    version: ClassVar[int] = 1

    kind: Literal["lens"] = "lens"
    span: str = Field("answer", description="what follows where the states are read")
    blocks: bool = Field(False, description="read every block call as well")
    loops: int | None = Field(None, ge=1, description="None: those of the model")

    def misfits(self, task: Task) -> Iterator[tuple[str, str]]:
        yield from super().misfits(task)
        if refused(task, self.split):
            return
        known = list(named(task, self.split).spans)
        if self.span not in known:
            yield "span", lacks(task, "span", self.span, known)

    def check_model(self, model: "ModelConfig", task: Task, objective: "Objective") -> None:
        super().check_model(model, task, objective)
        if self.blocks and not isinstance(model, LoopedConfig):
            raise ValueError(
                f"probe lens with blocks reads block calls, which {model.kind} does not show; "
                "set blocks to false"
            )

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """Measurements by difficulty.

        Raises:
            ValueError: a split, difficulty or span that the task lacks, or blocks of a model
                that shows none.
        """
        if self.blocks and not hasattr(subject.model, "final_norm"):
            raise ValueError(
                "blocks reads block calls, which this model from elsewhere does not show; "
                "set it to false"
            )
        names = latent_names(subject.task, subject.seed)
        rows = []
        for difficulty, batch in self.batches(subject):
            batch = having(batch, self.span)
            if not len(batch):
                continue
            targets = targets_of(batch, self.span, difficulty, names)
            floors: dict[str, float | None] = {
                target: _share_of_commonest(token) for target, token in targets.items()
            }
            start, stop = batch.spans[self.span].T
            whole = self.span == final_span(batch) and bool((stop - start == 1).all())
            floors["answer"] = floor_of(subject.task, difficulty, self.split) if whole else None
            read = self._read(subject, batch, targets)
            where = {"split": self.split, "difficulty": difficulty}
            found = _rows(read, floors, len(subject.task.vocabulary))
            rows += [Measurement(**row, **where) for row in found]
        return tuple(rows)

    def _read(
        self, subject: Subject, batch: Batch, targets: dict[str, np.ndarray]
    ) -> dict[Place, dict[str, np.ndarray]]:
        """place -> quantity -> one number per document."""
        import torch

        parts: dict[Place, list[dict[str, np.ndarray]]] = {}
        start = 0
        for part in chunks(batch):
            wanted = {
                target: torch.from_numpy(token[start : start + len(part)]).to(subject.device)
                for target, token in targets.items()
            }
            start += len(part)
            with torch.no_grad():
                places = list(self._logits(subject, part))
            last = [logits for place, logits in places if not place.name][-1].argmax(-1)
            for place, logits in places:
                parts.setdefault(place, []).append(_numbers(logits, wanted, last))
        return {
            place: {name: np.concatenate([f[name] for f in found]) for name in found[0]}
            for place, found in parts.items()
        }

    def _logits(self, subject: Subject, batch: Batch) -> Iterator[tuple[Place, "Tensor"]]:
        """Places in order with logits [B, V] where the span's first token is predicted."""
        model = cast("LoopedTransformer", subject.model)
        tokens, at, _ = before(batch, self.span, subject.device)
        if not self.blocks:
            outputs = model(tokens, n_loops=self.loops)
        else:
            schedule = model.config.schedule(self.loops)
            names = {call.name: call.loop for call in schedule}
            outputs = model(tokens, n_loops=self.loops, capture=tuple(names))
            for name, loop in names.items():
                state = model.final_norm(outputs.captured[name][at])
                yield Place(loop, name), model.head(state)
        for loop in range(1, outputs.n_loops + 1):
            yield Place(loop), outputs.logits(loop, at)


def _numbers(
    logits: "Tensor", targets: dict[str, "Tensor"], last: "Tensor"
) -> dict[str, np.ndarray]:
    """The quantities of every document, float64[B], NaN where a target has no token."""
    import torch

    logits = logits.double()
    p, best = logits.softmax(-1), logits.argmax(-1)
    found = {"agreement": best == last, "entropy": -torch.special.xlogy(p, p).sum(-1)}
    for target, token in targets.items():
        column = token.clamp(min=0)[:, None]
        own = logits.gather(-1, column)
        above, equal = (logits > own).sum(-1), (logits == own).sum(-1)
        numbers = {
            "accuracy": best == token,
            "probability": p.gather(-1, column)[:, 0],
            "rank": above + (equal + 1) / 2,
        }
        for name, number in numbers.items():
            found[f"{name} {target}"] = torch.where(token >= 0, number.double(), torch.nan)
    return {name: value.double().cpu().numpy() for name, value in found.items()}


def _rows(
    read: dict[Place, dict[str, np.ndarray]], floors: dict[str, float | None], vocabulary_size: int
) -> Iterator[dict[str, Any]]:
    for place, numbers in read.items():
        for key, values in numbers.items():
            name, _, target = key.partition(" ")
            values = values[~np.isnan(values)]
            n = len(values)
            if name in ("accuracy", "agreement"):
                low, high = wilson_interval(int(values.sum()), n)
            else:
                _, low, high, _ = summarise(values)
            bounds = {
                "accuracy": (floors.get(target), 1.0),
                "agreement": (None, 1.0),
                "entropy": (0.0, log(vocabulary_size)),
                "probability": (None, 1.0),
                "rank": ((vocabulary_size + 1) / 2, None),
            }
            floor, ceiling = bounds[name]
            yield {
                "metric": f"lens_{name}",
                "value": float(values.mean()),
                "n_items": n,
                "item": place.item(target or "prediction"),
                "loop": place.loop,
                "floor": floor,
                "ceiling": ceiling,
                "low": low,
                "high": high,
            }


def _share_of_commonest(token: np.ndarray) -> float:
    """Share of the commonest of the tokens int64[B], without those that are missing (-1)."""
    counts = np.bincount(token[token >= 0])
    return float(counts.max() / counts.sum())
