"""Tasks that never run out of documents: each is drawn afresh, a hash says to which split it goes.

Legend: B documents, T tokens.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from pydantic import Field

from generators.hashing import unit_hash
from generators.support.question_layout import RESULT, result_is_right
from generators.task import Batch, Task


class OnlineTask(Task):
    """What online tasks share: splits by fingerprint, and a bound on length.

    A fingerprint is a number that equal problems share (problems that share one by accident
    merely share a split). Shares of `held_out` / 2 of the fingerprints are the test and the
    validation split; training never shows them.
    """

    held_out: float = Field(0.1, ge=0.02, le=0.5, description="share that training never shows")
    context: int = Field(1024, ge=8, description="most tokens that a document may have")

    @cached_property
    def _salt(self) -> int:
        """The salt of the split hash, which makes the held-out problems part of the world."""
        return int(self.world_generator().bit_generator.random_raw())

    def in_split(self, split: str, fingerprint: np.ndarray) -> np.ndarray:
        """bool[n]: whether problems with fingerprints uint64[n] belong to the split."""
        u = unit_hash(fingerprint, self._salt)
        low, high = {
            "test": (0.0, self.held_out / 2),
            "validation": (self.held_out / 2, self.held_out),
            "train": (self.held_out, 1.0),
        }[split]
        return (low <= u) & (u < high)

    def settle(
        self,
        split: str,
        rows: np.ndarray,
        fingerprint: Callable[[np.ndarray], np.ndarray],
        redraw: Callable[[np.ndarray], None],
    ) -> None:
        """Redraws in place, among documents int[n], those of another split until none is left."""
        while len(rows := rows[~self.in_split(split, fingerprint(rows))]):
            redraw(rows)

    def check_context(self, way_out: str) -> None:
        """Raises ValueError if the longest document has more than `context` tokens."""
        if self.context_length > self.context:
            raise ValueError(
                f"the longest document has {self.context_length} tokens, more than the context "
                f"of {self.context}; {way_out}, or raise context to {self.context_length}"
            )

    def is_correct(self, batch: Batch, generated: np.ndarray) -> np.ndarray:
        """bool[B]: whether the result is right, whatever chain of thought is before it."""
        if RESULT in batch.spans:
            return result_is_right(batch, generated)
        return super().is_correct(batch, generated)
