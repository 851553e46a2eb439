"""Models whose answers are known: given by their logits, or trained until they remember."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from generators.streams import Stream, generator
from generators.task import Task
from models.config import LoopedConfig
from models.outputs import LoopOutputs, Positions
from probes.probe import Measurement, Subject

P = 12_345  # parameters that a subject is said to have


class Given(nn.Module):
    """Logits [B, T, V] as a function of tokens int64[B, T], in every loop; keeps what it was fed"""

    def __init__(self, logits_of: Callable[[Tensor], Tensor], loops: int = 1) -> None:
        super().__init__()
        self.config = LoopedConfig(width=4, heads=1, loops=loops)
        self.weight = nn.Parameter(torch.zeros(1))  # tells probes the device
        self.logits_of, self.fed = logits_of, list[Tensor]()

    def forward(self, tokens: Tensor, n_loops: int | None = None, **_: Any) -> LoopOutputs:
        self.fed.append(tokens)

        def read(state: Tensor, loop: int, at: Positions | None = None) -> Tensor:
            return state if at is None else state[at]

        return LoopOutputs([self.logits_of(tokens)] * (n_loops or self.config.loops), read)


def scripted(vocabulary_size: int, next_token: Callable[[list[int]], int]) -> Given:
    """A model that predicts `next_token(tokens so far)` with certainty."""

    def logits(tokens: Tensor) -> Tensor:
        best = [[next_token(row[: i + 1]) for i in range(len(row))] for row in tokens.tolist()]
        return one_hot(torch.tensor(best), vocabulary_size).float()

    return Given(logits, loops=2)


def memorised(task: Task, width: int, steps: int) -> nn.Module:
    """A model that has seen everything in a tiny world very often, 32 documents a step."""
    model = LoopedConfig(width=width).build(len(task.vocabulary), gate=False, seed=0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(steps):
        batch = task.sample(generator(0, Stream.TRAIN, step), 32, index=32 * step)
        tokens, mask = torch.from_numpy(batch.tokens).long(), torch.from_numpy(batch.loss_mask)
        logits = model(tokens[:, :-1]).logits()
        loss = cross_entropy(logits[mask[:, 1:]], tokens[:, 1:][mask[:, 1:]])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def subject(model: Any, task: Task, seed: int = 0) -> Subject:
    """A model, in eval mode, with its bound task on the CPU."""
    if model is not None:
        model.eval()
    return Subject(model, task, {"total": P}, seed, torch.device("cpu"))


def by_item(rows: Iterable[Measurement], metric: str) -> dict[str, Measurement]:
    return {row.item: row for row in rows if row.metric == metric}


def table(rows: Iterable[Measurement]) -> dict[tuple, Measurement]:
    return {(row.metric, row.item, row.difficulty, row.loop): row for row in rows}
