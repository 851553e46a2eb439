"""Answers under a rule of early exits, and the work that was executed for them.

Legend: B documents, A tokens of the longest answer, n loops.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from generators.task import Batch
from models.decoding.cache import CacheSettings
from models.decoding.early_exit import Watch
from models.decoding.exit_rules import ExitRule
from probes.decoding import decode
from probes.probe import Subject
from probes.questions import before

if TYPE_CHECKING:
    from torch import nn

    from models.interface import LoopedModel
    from models.looped import LoopedTransformer


@dataclass(frozen=True)
class Followed:
    """The outcome of an exit rule on a batch.

    Attributes:
        right: bool[B].
        exit_loop: int64[B, A], the loop after which each token was read; 0 in the padding.
        blocks, prompt_blocks: block applications to single tokens that were really executed, in
            all and for the prompts alone, which run all loops; None where nothing is decoded.
    """

    right: np.ndarray
    exit_loop: np.ndarray
    blocks: int | None = None
    prompt_blocks: int | None = None

    @property
    def mean_loops(self) -> np.ndarray:
        """Mean exit loop of each document's tokens, float64[B]."""
        return self.exit_loop.sum(1) / (self.exit_loop > 0).sum(1)


def decodes(model: "LoopedModel") -> bool:
    """Whether a model can be stepped loop by loop, as decoding does."""
    return hasattr(model, "begin")


def states_of(model: "LoopedModel", loops: int | None) -> int:
    """The number of states of a pass of so many loops (None: the model's own number)."""
    loops = model.config.loops if loops is None else loops
    return cast("LoopedTransformer", model).config.states(loops) if decodes(model) else loops


@contextmanager
def counted_blocks(model: "nn.Module") -> Iterator[Counter[str]]:
    """Counts, under `blocks`, block applications × tokens while it lasts."""
    from models.layers.block import Block

    counter: Counter[str] = Counter()

    def count(block: "nn.Module", inputs: tuple, output: object) -> None:
        counter["blocks"] += inputs[0].shape[0] * inputs[0].shape[1]

    handles = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, Block)]
    try:
        yield counter
    finally:
        for handle in handles:
            handle.remove()


def follow(subject: Subject, batch: Batch, rule: ExitRule, loops: int | None) -> Followed:
    """Greedy answers under a rule, decoded with a full cache so that exits save what they can.

    A model from elsewhere runs all its loops, and its answers have to be single tokens.

    Raises:
        ValueError: the rule does not fit the model, or an answer of several tokens where nothing
            is decoded.
    """
    if not decodes(subject.model):
        return _read_at_once(subject, batch, rule, loops)
    counts = []
    for answers in (False, True):
        with counted_blocks(subject.model) as counter:
            found = decode(subject, batch, CacheSettings(), rule, loops, answers=answers)
        counts.append(counter["blocks"])
    tokens, exit_loop = found
    return Followed(subject.task.is_correct(batch, tokens), exit_loop, counts[1], counts[0])


def _read_at_once(subject: Subject, batch: Batch, rule: ExitRule, loops: int | None) -> Followed:
    import torch

    start, stop = batch.spans["answer"].T
    if (stop - start).max() > 1:
        raise ValueError(
            "early exits of a model from elsewhere are read from answers of a single token; "
            f"{subject.task.kind} has answers of {(stop - start).max()}"
        )
    tokens, at, _ = before(batch, "answer", subject.device)
    with torch.no_grad():
        outputs = subject.model(tokens, n_loops=loops)
        watch = Watch(rule, cast("LoopedTransformer", subject.model), outputs.n_loops)
        answer = torch.zeros_like(at[0])
        exit_loop = torch.zeros_like(at[0])
        for loop in range(1, outputs.n_loops + 1):
            logits = outputs.logits(loop, at)
            leaves = watch.leaves(loop, outputs.state(loop)[at], logits) & (exit_loop == 0)
            answer = torch.where(leaves, logits.argmax(-1), answer)
            exit_loop = torch.where(leaves, loop, exit_loop)
    right = subject.task.is_correct(batch, answer[:, None].int().cpu().numpy())
    return Followed(right, exit_loop[:, None].cpu().numpy())
