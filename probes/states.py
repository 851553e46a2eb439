"""States of a trained model at chosen tokens, by hook.

Legend: B documents, D width.
"""

from typing import Any

import numpy as np
from pydantic import BaseModel

from generators.task import Batch
from models.config import LoopedConfig
from probes.probe import Subject
from probes.questions import chunks


def hooks_of(config: BaseModel, loops: int) -> dict[str, tuple[str, int]]:
    """Hook name -> (layer, loop) in the order of computation, such as (`core.0`, 2).

    `embed` and the prelude are in loop 0; `state` is what a loop ends with, after the norm, and
    all that a model from elsewhere shows.
    """
    if not isinstance(config, LoopedConfig):
        return {f"state.loop.{t}": ("state", t) for t in range(1, loops + 1)}
    found = {"embed": ("embed", 0)}
    last = 0
    for call in config.schedule(loops):
        if last and call.loop > last:
            found[f"state.loop.{last}"] = ("state", last)
        last = call.loop
        found[call.name] = (call.name.replace(f".loop.{call.loop}", ""), call.loop)
    found[f"state.loop.{last}"] = ("state", last)
    return found


def states_at(
    subject: Subject,
    batch: Batch,
    columns: np.ndarray,
    hooks: tuple[str, ...],
    loops: int | None = None,
) -> dict[str, np.ndarray]:
    """Hook -> float32[B, D], the state of each document at its own column of int[B]."""
    import torch

    found: dict[str, list[np.ndarray]] = {hook: [] for hook in hooks}
    blocks = tuple(hook for hook in hooks if not hook.startswith("state."))
    options: dict[str, Any] = {"capture": blocks} if blocks else {}
    start = 0
    for part in chunks(batch):
        at = torch.from_numpy(columns[start : start + len(part)].astype(np.int64))
        start += len(part)
        index = (torch.arange(len(part), device=subject.device), at.to(subject.device))
        tokens = torch.from_numpy(part.tokens[:, : int(at.max()) + 1]).long().to(subject.device)
        with torch.no_grad():
            outputs = subject.model(tokens, n_loops=loops, **options)
        states = {f"state.loop.{t}": outputs.state(t) for t in range(1, outputs.n_loops + 1)}
        for hook, parts in found.items():
            state = {**states, **outputs.captured}[hook]
            parts.append(state[index].float().cpu().numpy())
    return {hook: np.concatenate(parts) for hook, parts in found.items()}
