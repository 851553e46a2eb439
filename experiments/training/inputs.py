"""What a model reads and predicts of a batch, in one piece or in several.

Legend: B documents, T tokens of the longest one, M predicted positions.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from generators.task import Batch
from models.fast.sparse_queries import to_device_async
from models.objectives.objective import Loss
from models.outputs import Positions


def model_inputs(batch: Batch, device: torch.device) -> tuple[Tensor, Positions, Tensor]:
    """Inputs of the model and the targets that it is to predict.

    Returns:
        inputs int64[B, T-1], positions that predict (two int64[M], on the host), targets
        int64[M].

    Raises:
        ValueError: not a mask of these tokens.
    """
    if batch.tokens.shape != batch.loss_mask.shape:
        shapes = f"{batch.tokens.shape} and {batch.loss_mask.shape}"
        raise ValueError(f"tokens and loss_mask of a batch need one shape, got {shapes}")
    if batch.tokens.dtype.kind not in "iu" or batch.loss_mask.dtype.kind not in "biu":
        kinds = f"{batch.tokens.dtype} and {batch.loss_mask.dtype}"
        raise ValueError(f"tokens of a batch need to be int32 and its loss_mask bool, got {kinds}")
    longest = int((batch.tokens != 0).any(axis=0).nonzero()[0].max()) + 1
    tokens = torch.from_numpy(batch.tokens[:, :longest].astype("int64"))
    predicted = torch.from_numpy(batch.loss_mask[:, 1:longest].astype("bool"))
    row, column = predicted.nonzero(as_tuple=True)
    targets = tokens[row, column + 1]
    return to_device_async(tokens[:, :-1], device), (row, column), to_device_async(targets, device)


def parts_of(batch: Batch, parts: int) -> list[tuple[Batch, float]]:
    """The batch in so many parts of as many documents, or one more, and their shares of its loss.

    A share is that of the predicted positions; the whole batch is one part with all of them.
    """
    predicted = batch.loss_mask[:, 1:].astype(bool).sum(1) if parts > 1 else np.zeros(1)
    if not predicted.any():
        return [(batch, 1.0)]
    found = []
    for rows in np.array_split(np.arange(len(batch)), min(parts, len(batch))):
        part = Batch(batch.tokens[rows], batch.loss_mask[rows])
        found.append((part, float(predicted[rows].sum() / predicted.sum())))
    return found


def parts_by_loops(batch: Batch, loops: np.ndarray, parts: int) -> list[tuple[Batch, float, int]]:
    """Parts of documents that run as many loops, their shares of the loss, and these loops.

    Args:
        loops: of every document, int[B].
        parts: that a batch in which all run as many is cut into; none here has more documents.
    """
    if (loops == loops[0]).all():
        return [(part, share, int(loops[0])) for part, share in parts_of(batch, parts)]
    predicted = batch.loss_mask[:, 1:].astype(bool).sum(1)
    most, found = -(-len(batch) // parts), []
    for n in np.unique(loops).tolist():
        rows = np.flatnonzero(loops == n)
        some = Batch(batch.tokens[rows], batch.loss_mask[rows])
        of_all = float(predicted[rows].sum() / max(predicted.sum(), 1))
        cut = parts_of(some, -(-len(rows) // most))
        found += [(part, share * of_all, n) for part, share in cut]
    return found


def joined(losses: Sequence[Loss], shares: Sequence[float]) -> Loss:
    """The loss of a step from those of its parts, which have these shares of its positions.

    What only some parts tell of, such as a loop that others do not run, is the mean over these.
    """

    def mean(values: Sequence[Tensor | None]) -> Tensor:
        told = [(v.detach(), s) for v, s in zip(values, shares, strict=True) if v is not None]
        total = torch.stack([v * s for v, s in told]).sum(0)
        return total if len(told) == len(values) else total / sum(s for _, s in told)

    if len(losses) == 1:
        return losses[0]
    names = dict.fromkeys(name for loss in losses for name in loss.logged)
    logged = {name: mean([loss.logged.get(name) for loss in losses]) for name in names}
    return Loss(mean([loss.total for loss in losses]), logged)
