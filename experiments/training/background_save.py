"""Checkpoints written while training goes on.

The state is copied between two steps; turning the copy into a file, waiting for the disk and
reading it again happens in a thread, of which there is one at a time. A crash in between finds
the checkpoint before, as it always does. Needed beside the archive is memory for one copy of
weights and moments. Small states are written at once: that takes no longer than a few steps.
"""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from experiments.runs.checkpoint import save_checkpoint
from experiments.runs.folder import RunFolder

#: bytes of a state from which on it is written beside training; those below take a tenth of a
#: second on a slow disk
LARGE = 8_000_000


def own_copy(state: Any) -> Any:
    """A copy of a state, in which tensors that shared memory still do.

    A tensor that is a part of a larger one, as the weights of stacked runs are, is copied alone.
    """
    return _copy(state, {})


def _copy(value: Any, seen: dict[tuple[Any, ...], Tensor]) -> Any:
    if isinstance(value, Tensor):
        key = (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
        if key not in seen:
            seen[key] = value.detach().to("cpu", copy=True).contiguous()
        return seen[key]
    if isinstance(value, dict):
        return {k: _copy(v, seen) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copy(v, seen) for v in value)
    return value


def size_of(state: Any) -> int:
    """Bytes of the tensors in a state."""
    if isinstance(state, Tensor):
        return state.nbytes
    values = state.values() if isinstance(state, dict) else state
    return sum(map(size_of, values)) if isinstance(state, dict | list | tuple) else 0


class Saver:
    """Writes the checkpoints of a run.

    Attributes:
        landed: told of the step of every checkpoint once it is on the disk, between two steps.
    """

    def __init__(self, folder: RunFolder, landed: Callable[[int], None]) -> None:
        self.folder, self.landed = folder, landed
        self._thread: threading.Thread | None = None
        self._step = 0
        self._error: BaseException | None = None

    def save(self, state: dict[str, Any], *, wait: bool) -> None:
        """Writes a state, or begins to.

        Args:
            wait: until it is on the disk.

        Raises:
            OSError: this one or the one before could not be written.
        """
        self.join()
        copied, self._step = own_copy(state), state["step"]
        if wait or size_of(copied) < LARGE:
            save_checkpoint(self.folder, copied)
            self.landed(self._step)
            return
        self._thread = threading.Thread(target=self._write, args=(copied,), daemon=True)
        self._thread.start()

    def poll(self) -> None:
        """Reports what has been written meanwhile; raises what `save` raises."""
        if self._thread is not None and not self._thread.is_alive():
            self.join()

    def join(self) -> None:
        """Waits for what is being written; raises what `save` raises."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        self.landed(self._step)

    def settle(self) -> None:
        """Waits until nothing is being written, whatever comes of it."""
        if self._thread is not None:
            self._thread.join()

    def _write(self, state: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        try:
            save_checkpoint(self.folder, state)
        except BaseException as error:
            self._error = error
