"""The batch of the next optimiser step is made while the device computes this one."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """One thread that makes the batch of the next step from when that of this step is taken.

    It is done before this step is: what happens between two steps, such as an evaluation, uses
    the same task, which may build what it keeps when it is first asked for it.

    Args:
        on: without it a batch is made when it is taken. On a CPU the thread would only take the
            core from the step.
    """

    def __init__(self, on: bool) -> None:
        self.on = on
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")  # ends with its owner
        self._next: tuple[int, Future[T]] | None = None

    def forget(self) -> None:
        """Makes the next batch anew when it is taken: the documents that follow are others."""
        self._next = None

    @contextmanager
    def taken(self, make: Callable[[int], T], step: int, last: int) -> Iterator[T]:
        """The batch of a step, in whose block the step is taken.

        Args:
            make: gives the batch of a step, the same whenever it is called.
            last: this step and those after it are not taken.

        Raises:
            Exception: whatever `make` raised for this step; for the next step, not before that.
        """
        begun, self._next = self._next, None
        batch = begun[1].result() if begun is not None and begun[0] == step else make(step)
        if self.on and step + 1 < last:
            self._next = step + 1, self._pool.submit(make, step + 1)
        try:
            yield batch
        finally:
            if self._next is not None:
                wait([self._next[1]])
