"""Tasks that show N stored things again and again, each exactly once per epoch.

Legend: N items, n documents.
"""

from abc import abstractmethod

import numpy as np
from pydantic import PrivateAttr

from generators.streams import Stream, generator
from generators.task import Task


class Exposures(Task):
    """A task whose document i shows item `permutation[i // N][i % N]`."""

    #: None, so that two configurations can be compared; an array could not
    _last_epoch: tuple[int, np.ndarray] | None = PrivateAttr(default=None)

    @property
    @abstractmethod
    def items_per_exposure(self) -> int:
        """N, the number of items."""

    def items(self, rng: np.random.Generator, n: int, index: int | None) -> np.ndarray:
        """Items of n documents, int64[n]; they are drawn uniformly where there is no index."""
        if index is None:
            return rng.integers(0, self.items_per_exposure, n)
        return self.shown(index, n)

    def shown(self, index: int, n: int) -> np.ndarray:
        """Items of documents index … index+n-1, int64[n]; each epoch shows every item once."""
        N = self.items_per_exposure
        first, last = index // N, (index + n - 1) // N
        order = [self._permutation(epoch) for epoch in range(first, last + 1)]
        start = index - first * N
        return np.concatenate(order)[start : start + n]

    def _permutation(self, epoch: int) -> np.ndarray:
        if self._last_epoch is None or self._last_epoch[0] != epoch:
            rng = generator(self.seed, Stream.ORDER, epoch, component=self.component)
            self._last_epoch = (epoch, rng.permutation(self.items_per_exposure))
        return self._last_epoch[1]
