"""What early exits and shared caches cost in accuracy, and what they save.

Legend: B documents, T columns of the prompts, A tokens of the longest answer.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from generators.task import Batch, Task
from models.decoding.cache import CacheSettings
from models.decoding.exit_rules import AllLoops, AnyExitRule, ExitRule
from probes.probe import Measurement, Probe, Subject
from probes.questions import asks, floor_of, questions, refused
from probes.statistics import wilson_interval

if TYPE_CHECKING:
    from models.model import ModelConfig
    from models.objectives.objective import Objective


class Decoding(Probe):
    """Greedy answers under one exit rule and one cache, per difficulty of a split.

    Rows: `accuracy`, `mean_loops` (of the tokens that were read in decoding) and
    `cache_bytes_per_token` (keys and values of the core that are kept). `item` names the rule
    and the cache. The same documents are asked under every setting.
    """

    looks_inside: ClassVar[bool] = True
    needs: ClassVar[str] = "questions with an answer"
    version: ClassVar[int] = 2  # 1: `item` left out what the exit rule is set to

    kind: Literal["decoding"] = "decoding"
    cache: CacheSettings = Field(
        description="what is kept of a token, and how the prompt is read"
    )  # without a default: a run that names no probes is not measured this way
    exit: AnyExitRule = Field(AllLoops(), description="when a token leaves the loops")
    loops: int | None = Field(None, ge=1, description="None: those of the model")
    items: int = Field(1024, ge=1, description="most documents per difficulty")
    split: str = Field("test", description="split of the questions")

    @classmethod
    def applies(cls, task: Task) -> bool:
        return asks(task)

    def misfits(self, task: Task) -> Iterator[tuple[str, str]]:
        if wrong := refused(task, self.split):
            yield "split", wrong

    def check_model(self, model: "ModelConfig", task: Task, objective: "Objective") -> None:
        super().check_model(model, task, objective)
        exits = objective.uses_gate and objective.halting is None
        if self.exit.uses_gate and not exits:
            raise ValueError(
                f"exit {self.exit.kind} reads a gate that says where to leave, and objective "
                f"{objective.kind} trains none; entropy, prior and gate do"
            )
        self.exit.check(self.loops or model.loops, gate=exits)

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
        """Rule and cache, such as `exit static loop=2, cache last-loop, prefill serial`."""
        settings = self.exit.model_dump(exclude={"kind"}).items()
        rule = " ".join([self.exit.kind, *(f"{name}={value}" for name, value in settings)])
        return f"exit {rule}, cache {self.cache.sharing}, prefill {self.cache.prefill}"

    def _rows(self, subject: Subject, difficulty: int | None) -> tuple[Measurement, ...]:
        task, config = subject.task, subject.looped.config
        loops = config.loops if self.loops is None else self.loops
        batch = questions(task, subject.seed, self.split, difficulty, self.items)
        answers, exit_loop = decode(subject, batch, self.cache, self.exit, self.loops)
        right = task.is_correct(batch, answers)
        low, high = wilson_interval(int(right.sum()), len(batch))
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
            "n_items": len(batch),
        }
        return (
            Measurement(
                metric="accuracy",
                value=float(right.mean()),
                floor=floor_of(task, difficulty, self.split),
                ceiling=1.0,
                low=low,
                high=high,
                **where,
            ),
            Measurement(metric="mean_loops", value=float(exit_loop[exit_loop > 0].mean()), **where),
            Measurement(metric="cache_bytes_per_token", value=float(size), **where),
        )


def decode(
    subject: Subject,
    batch: Batch,
    cache: CacheSettings,
    rule: ExitRule,
    loops: int | None = None,
    *,
    answers: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy answers int32[B, A], and the exit loop of each of their tokens, int64[B, A].

    The exit loop is that of the token read before, 0 in the padding.

    Args:
        answers: False reads the prompts but their last tokens, and answers nothing.
    """
    import torch

    from models.decoding.generation import generate

    start, stop = torch.from_numpy(batch.spans["answer"]).long().T
    tokens = torch.from_numpy(batch.tokens).long()[:, : int(start.max())]
    inside = torch.arange(tokens.shape[1]) < start[:, None]
    found = generate(
        subject.looped,
        torch.where(inside, tokens, 0).to(subject.device),
        ((stop - start) * answers).to(subject.device),
        attention_mask=inside.to(subject.device),
        cache=cache,
        exit_rule=rule,
        loops=loops,
    )
    return found.tokens.int().cpu().numpy(), found.exit_loop.cpu().numpy()
