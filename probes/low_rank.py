"""A linear head on a frozen model whose embedding may change by a low-rank update.

P- and Q-probing (Physics of Language Models 3.1, 2309.14316): the update lets the probe tell the
model what the tokens at hand are for, with too few parameters to store the answers.

Legend: B documents, S read columns of each, D width, C classes, V vocabulary, r rank.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.probe import Subject

if TYPE_CHECKING:
    from torch import Tensor, nn

#: int[n] people -> tokens int[n, T] and columns int[n, S] at which the state is read
Documents = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Fit:
    """The training of a probe: AdamW (eps 1e-6), learning rate falling linearly to 0.

    Attributes:
        rank: of the embedding's update; 0: none.
        norm: before the head, over the width (`layer`) or over the batch (`batch`).
    """

    rank: int
    norm: str
    steps: int
    batch: int
    lr: float
    weight_decay: float
    loop: int


@contextmanager
def frozen(model: "nn.Module") -> Iterator[None]:
    """A context in which no parameter of the model requires a gradient."""
    asked = [(p, p.requires_grad) for p in model.parameters()]
    try:
        for p, _ in asked:
            p.requires_grad_(False)
        yield
    finally:
        for p, before in asked:
            p.requires_grad_(before)


def fitted_predictions(
    subject: Subject,
    documents: Documents,
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    fit: Fit,
    rng: np.random.Generator,
) -> np.ndarray:
    """Predicted classes int64[len(test), S], by a head and an update fitted to `train`.

    Every read column has its own head, all of them one update. The model is not changed.

    Args:
        labels: int[people], classes from 0.
        train, test: int[n], numbers of people.
    """
    import torch
    from torch.nn.functional import cross_entropy

    classes, columns = int(labels.max()) + 1, documents(train[:1])[1].shape[1]
    with torch.enable_grad(), frozen(subject.model):
        probe = _probe(subject, columns, classes, fit, rng)
        optimiser = torch.optim.AdamW(
            probe.parameters(), lr=fit.lr, eps=1e-6, weight_decay=fit.weight_decay
        )
        for step in range(fit.steps):
            for group in optimiser.param_groups:
                group["lr"] = fit.lr * (1 - step / fit.steps)
            who = rng.choice(train, fit.batch, replace=fit.batch > len(train))
            target = torch.from_numpy(labels[who]).long().to(subject.device)
            logits = probe(_read(subject, probe, documents(who), fit.loop))  # [B, S, C]
            loss = cross_entropy(logits.flatten(0, 1), target.repeat_interleave(columns))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        probe.eval()
        found = []
        with torch.no_grad():
            for first in range(0, len(test), 512):
                who = test[first : first + 512]
                states = _read(subject, probe, documents(who), fit.loop)
                found.append(probe(states).argmax(-1).cpu().numpy())
    return np.concatenate(found)


def _read(
    subject: Subject, probe: Any, documents: tuple[np.ndarray, np.ndarray], loop: int
) -> "Tensor":
    """States [B, S, D] after the loop, of the model with the probe's embedding."""
    import torch

    tokens = torch.from_numpy(documents[0]).long().to(subject.device)
    columns = torch.from_numpy(documents[1].astype(np.int64)).to(subject.device)
    change = ("embed", lambda x: x + probe.down[tokens] @ probe.up)
    state = subject.looped(tokens, n_loops=loop, interventions=[change]).state(loop)
    return state.gather(1, columns[..., None].expand(-1, -1, state.shape[-1]))


def _probe(
    subject: Subject, columns: int, classes: int, fit: Fit, rng: np.random.Generator
) -> "nn.Module":
    import torch
    from torch import nn

    D, V = subject.model.config.width, subject.looped.vocabulary_size
    drawn = torch.from_numpy(rng.standard_normal((columns, D, classes))).float() / D**0.5
    up = torch.from_numpy(rng.standard_normal((max(fit.rank, 1), D))).float() / D**0.5

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Parameter(torch.zeros(V, fit.rank))  # begins without an effect
            self.up = nn.Parameter(up[: fit.rank])
            size = D if fit.norm == "layer" else columns * D
            self.norm = nn.LayerNorm(D) if fit.norm == "layer" else nn.BatchNorm1d(size)
            self.weight = nn.Parameter(drawn)
            self.bias = nn.Parameter(torch.zeros(columns, classes))

        def forward(self, states: "Tensor") -> "Tensor":
            if fit.norm == "layer":
                x = self.norm(states)
            else:
                x = self.norm(states.flatten(1)).view_as(states)
            return torch.einsum("bsd,sdc->bsc", x, self.weight) + self.bias

    return Head().to(subject.device)
