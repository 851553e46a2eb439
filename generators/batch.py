"""Documents of a task as arrays.

Legend: B documents in a batch, T tokens.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Batch:
    """B documents, one per row, right-padded with id 0; nothing attends across rows.

    Attributes:
        tokens: int32[B, T].
        loss_mask: bool[B, T]; True where this token is to be predicted from those before it.
        spans: name -> int32[B, 2], half-open, first occurrence, -1 where absent. `answer` is
            among them for every task that asks a question.
        latents: name -> int[B], what a probe looks for and the text does not say.
        difficulty: int32[B], 0 where the task has none.
    """

    tokens: np.ndarray
    loss_mask: np.ndarray
    spans: dict[str, np.ndarray] = field(default_factory=dict)
    latents: dict[str, np.ndarray] = field(default_factory=dict)
    difficulty: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    def __post_init__(self) -> None:
        if len(self.difficulty) == 0:  # left out
            object.__setattr__(self, "difficulty", np.zeros(len(self.tokens), np.int32))

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, index: np.ndarray) -> "Batch":
        """The documents at `index` (int[n] or bool[B])."""
        return Batch(
            self.tokens[index],
            self.loss_mask[index],
            {k: v[index] for k, v in self.spans.items()},
            {k: v[index] for k, v in self.latents.items()},
            self.difficulty[index],
        )


def stacked(batches: Iterable[Batch]) -> Batch:
    """Batches below each other, as wide as the widest; spans and latents they lack are -1."""
    parts = list(batches)
    if len(parts) == 1:
        return parts[0]
    lengths = [len(part) for part in parts]
    width = max(part.tokens.shape[1] for part in parts)
    spans = dict.fromkeys(name for part in parts for name in part.spans)
    latents = dict.fromkeys(name for part in parts for name in part.latents)
    return Batch(
        _below([part.tokens for part in parts], lengths, width, 0),
        _below([part.loss_mask for part in parts], lengths, width, 0),
        {s: _below([p.spans.get(s) for p in parts], lengths, 2, -1) for s in spans},
        {s: _below([p.latents.get(s) for p in parts], lengths, None, -1) for s in latents},
        np.concatenate([part.difficulty for part in parts]),
    )


def _below(
    parts: list[np.ndarray | None], lengths: list[int], width: int | None, missing: int
) -> np.ndarray:
    """The parts below each other: [n, width], or [n] where there is none; `missing` elsewhere."""
    there = [part for part in parts if part is not None]
    if len(there) == len(parts) and all(width in (None, *part.shape[1:]) for part in there):
        return np.concatenate(there)
    kinds = {part.dtype for part in there}
    if len(there) < len(parts):
        kinds.add(np.dtype(np.int32))
    kind = kinds.pop() if len(kinds) == 1 else np.result_type(*kinds)
    shape = (sum(lengths),) if width is None else (sum(lengths), width)
    found = np.full(shape, missing, kind)
    start = 0
    for part, length in zip(parts, lengths, strict=True):
        if part is not None:
            rows = found[start : start + length]
            (rows if width is None else rows[:, : part.shape[1]])[...] = part
        start += length
    return found
