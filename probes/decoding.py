"""What early exits and shared caches cost in accuracy, and what they save.

Legend: B documents, T columns of the prompts, A tokens of the longest answer.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from generators.streams import Stream, generator
from generators.task import Batch, Task
from models.cache import CacheSettings
from models.early_exit import AllLoops, AnyExitRule
from probes.accuracy import Accuracy
from probes.probe import Measurement, Probe, Subject
from probes.statistics import wilson_interval


class Decoding(Probe):
    """Greedy answers under one exit rule and one cache, per difficulty of a split.

    Rows: `accuracy`, `mean_loops` (of the tokens that were read in decoding) and
    `cache_bytes_per_token` (keys and values of the core that are kept). `item` names the rule
    and the cache. The same documents are asked under every setting.
    """

    kind: Literal["decoding"] = "decoding"
    cache: CacheSettings  # without a default: a run that names no probes is not measured this way
    exit: AnyExitRule = AllLoops()
    loops: int | None = Field(None, ge=1, description="None: those of the model")
    items: int = Field(1024, ge=1, description="most documents per difficulty")
    split: str = "test"

    @classmethod
    def applies(cls, task: Task) -> bool:
        return Accuracy.applies(task)

    def check(self, task: Task) -> None:
        super().check(task)
        task.check_arguments(self.split, None)

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """Three rows per difficulty.

        Raises:
            ValueError: a split that the task lacks, or a rule that does not fit the model.
        """
        self.check(subject.task)
        difficulties = subject.task.difficulties_of(self.split) or (None,)
        return tuple(row for difficulty in difficulties for row in self._rows(subject, difficulty))

    @property
    def item(self) -> str:
        """Rule and cache, such as `exit static, cache last-loop, prefill serial`."""
        return f"exit {self.exit.kind}, cache {self.cache.sharing}, prefill {self.cache.prefill}"

    def _rows(self, subject: Subject, difficulty: int | None) -> tuple[Measurement, ...]:
        task, config = subject.task, subject.model.config
        loops = config.loops if self.loops is None else self.loops
        n = self.items
        if difficulty is not None and (count := task.count(self.split, difficulty)) is not None:
            n = min(n, count)
        step = 1 + 1000 * task.splits.index(self.split) + (difficulty or 0)
        rng = generator(subject.seed, Stream.EVALUATION, step)
        batch = task.sample(rng, n, split=self.split, difficulty=difficulty)
        answers, exit_loop = self._answers(subject, batch)
        right = task.is_correct(batch, answers)
        low, high = wilson_interval(int(right.sum()), n)
        floors = task.floors(difficulty, self.split)
        applications = sum(call.part == "core" for call in config.schedule(loops))
        size = self.cache.bytes_per_token(
            layers=applications // config.states(loops),
            loops=config.states(loops),
            width=config.width,
        )
        where = {
            "split": self.split,
            "item": self.item,
            "difficulty": difficulty,
            "loop": loops,
            "n_items": n,
        }
        return (
            Measurement(
                metric="accuracy",
                value=float(right.mean()),
                floor=max(floors.values()) if floors else None,
                ceiling=1.0,
                low=low,
                high=high,
                **where,
            ),
            Measurement(metric="mean_loops", value=float(exit_loop.mean()), **where),
            Measurement(metric="cache_bytes_per_token", value=float(size), **where),
        )

    def _answers(self, subject: Subject, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Answers int32[B, A], and the exit loop of every token of them, int64[tokens]."""
        import torch

        from models.generation import generate

        start, stop = torch.from_numpy(batch.spans["answer"]).long().T
        tokens = torch.from_numpy(batch.tokens).long()[:, : int(start.max())]
        inside = torch.arange(tokens.shape[1]) < start[:, None]
        found = generate(
            subject.model,
            torch.where(inside, tokens, 0).to(subject.device),
            (stop - start).to(subject.device),
            attention_mask=inside.to(subject.device),
            cache=self.cache,
            exit_rule=self.exit,
            loops=self.loops,
        )
        exits = found.exit_loop[found.exit_loop > 0]
        return found.tokens.int().cpu().numpy(), exits.cpu().numpy()
