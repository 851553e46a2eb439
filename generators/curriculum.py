"""Weights of the numbers of hops in training, for the whole run or for each of its phases."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from generators.batch import Batch
from generators.task import Task


class Curriculum(Task):
    """A task whose difficulties, numbers of hops, come with weights in training.

    With `weights` in the phases of a run the easier questions can come first: `{1: 1}`, then
    `{1: 1, 2: 1}` (after Yao et al., 2505.17923). Held-out questions do not depend on weights.
    """

    hop_weights: tuple[float, ...] | None = Field(
        None, description="of the hop counts in training, fewest first; None: equal parts"
    )

    def training_batch(self, rng: np.random.Generator, n: int, index: int) -> Batch:
        """n documents of training; `draw_hops` knows the weights of their phase."""
        return self.sample(rng, n, index=index)

    def draw_hops(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        split: str,
        difficulty: int | None,
        index: int | None,
    ) -> np.ndarray:
        """Hops of the n documents of a sample, int[n]; a batch belongs to one phase."""
        if difficulty is not None:
            return np.full(n, difficulty)
        shares = None
        known = self.difficulties_of(split)
        if split == "train":
            weights = None if index is None else self.weights_at(index)
            given = None if weights is None else [weights.get(str(k), 0.0) for k in known]
            shares = hop_shares(given or self.hop_weights, known)
        return rng.choice(known, n, p=shares)


def hop_shares(weights: Sequence[float] | None, hops: Sequence[int]) -> np.ndarray | None:
    """The share of each number of hops, float64[len(hops)]; None (equal shares) without weights.

    Raises:
        ValueError: not one weight for each number of hops, a negative one, or nothing but 0.
    """
    if weights is None:
        return None
    if len(weights) != len(hops) or min(weights) < 0 or sum(weights) == 0:
        raise ValueError(
            f"hop_weights {list(weights)} needs one number for each of {list(hops)} hops, "
            "0 or more and not all 0"
        )
    return np.array(weights) / sum(weights)
