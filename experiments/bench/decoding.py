"""Speed of early exits on a trained model, and of the cache, in turns within one process.

Every round reads the same new tokens under each exit rule and with all loops; ratios are medians
over rounds. Exits save work on new tokens alone: prompts are read through all loops, which
`prompt too` counts in. On a CPU time is that of the process, with one thread.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from experiments.bench.timing import Clock, in_turns
from experiments.errors import LoopscopeError
from models.decoding.cache import CacheSettings
from models.decoding.exit_rules import (
    AllLoops,
    ExitRule,
    PredictionEntropy,
    QuantileExit,
    StateDifference,
    StaticExit,
)
from models.decoding.generation import generate
from models.decoding.readers import CachedReader
from models.looped import LoopedTransformer
from probes.probe import Subject
from probes.questions import asks, before, questions

QUANTILES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
NATS = (0.01, 0.1, 0.3, 1.0)
DISTANCES = (0.3, 1.0, 3.0)

HEAD = ("rule", "mean loops", "accuracy", "points", "x new tokens", "x prompt too")
CACHE_HEAD = ("documents", "prompt", "new tokens", "cached, tokens/s", "uncached", "x")


class Read(NamedTuple):
    """One way through the questions: seconds of the prompts and of the new tokens."""

    prompt: float
    new: float
    right: float
    loops: float


def rules_of(subject: Subject) -> list[ExitRule]:
    """All loops, then every rule that the model can follow, at several settings."""
    model = subject.looped
    rules: list[ExitRule] = [AllLoops()]
    rules += [StaticExit(loop=t) for t in range(1, model.config.loops)]
    if model.read_exit is not None and model.halting is None:
        rules += [QuantileExit(q=q) for q in QUANTILES]
    rules += [PredictionEntropy(nats=nats) for nats in NATS]
    return rules + [StateDifference(epsilon=epsilon) for epsilon in DISTANCES]


def measure_exits(
    subject: Subject, *, items: int, seconds: float, split: str = "test"
) -> Iterator[tuple[str, ...]]:
    """Rows as `HEAD` names them: the first token of every answer, of all difficulties together.

    Raises:
        LoopscopeError: the task asks nothing or has no such split, or the model has one loop.
    """
    if not asks(subject.task) or subject.looped.config.loops < 2:
        raise LoopscopeError("early exits need a task that asks questions and two loops or more")
    if split not in subject.task.splits:
        known = ", ".join(subject.task.splits)
        raise LoopscopeError(f"{subject.task.kind} has no split {split}; it has {known}")
    torch.set_num_threads(1)
    prompts, targets = _questions(subject, items, split)
    clock = Clock(subject.device)
    rules = rules_of(subject)
    ways = {
        i: partial(_read, subject.looped, prompts, targets, rule, clock)
        for i, rule in enumerate(rules)
    }
    with torch.no_grad():
        found = in_turns(ways, seconds, warm=1)
    every = found[0]
    for i, rule in enumerate(rules):
        first = found[i][0]
        pairs = list(zip(every, found[i], strict=True))
        settings = rule.model_dump(exclude={"kind"}).items()
        yield (
            " ".join([rule.kind, *(f"{name} {value}" for name, value in settings)]),
            f"{first.loops:.2f}",
            f"{100 * first.right:.1f}",
            f"{100 * (first.right - every[0].right):+.1f}",
            f"{median(a.new / b.new for a, b in pairs):.2f}",
            f"{median((a.prompt + a.new) / (b.prompt + b.new) for a, b in pairs):.2f}",
        )


def _questions(subject: Subject, items: int, split: str) -> tuple[Tensor, Tensor]:
    """Prompts int64[B, T], padded on the right, and first tokens of their answers int64[B]."""
    task = subject.task
    parts = []
    for difficulty in task.difficulties_of(split) or (None,):
        batch = questions(task, subject.seed, split, difficulty, items)
        tokens, (_, column), wanted = before(batch, "answer")
        behind = torch.arange(tokens.shape[1]) > column[:, None]
        parts.append((tokens.masked_fill(behind, 0), wanted))
    longest = max(tokens.shape[1] for tokens, _ in parts)
    padded = [torch.nn.functional.pad(t, (0, longest - t.shape[1])) for t, _ in parts]
    wanted = torch.cat([wanted for _, wanted in parts])
    return torch.cat(padded).to(subject.device), wanted.to(subject.device)


def _read(
    model: LoopedTransformer, prompts: Tensor, targets: Tensor, rule: ExitRule, clock: Clock
) -> Read:
    rows = torch.arange(len(prompts), device=prompts.device)
    start = clock()
    reader = CachedReader(
        model,
        prompts,
        prompts != 0,
        model.config.loops,
        rule,
        CacheSettings(),
        prompts.shape[1] + 1,
    )
    middle = clock()
    logits, exit_loop = reader.read(rows)
    chosen = logits.argmax(-1)
    end = clock()
    right = float((chosen == targets).double().mean())
    return Read(middle - start, end - middle, right, float(exit_loop.double().mean()))


def measure_cache(
    subject: Subject, *, documents: int, prompt: int, new_tokens: int, seconds: float
) -> tuple[str, ...]:
    """A row as `CACHE_HEAD` names it: greedy continuations of random prompts, all loops."""
    torch.set_num_threads(1)
    model, clock = subject.looped, Clock(subject.device)
    context = model.config.context
    if model.config.positions == "learned" and context is not None:
        new_tokens = min(new_tokens, context - prompt)
    rng = np.random.default_rng([0, 1, 0])
    drawn = rng.integers(1, model.vocabulary_size, (documents, prompt))
    tokens = torch.from_numpy(drawn).to(subject.device)

    def timed(cache: CacheSettings | None) -> tuple[float, Tensor]:
        start = clock()
        found = generate(model, tokens, new_tokens, cache=cache).tokens
        return clock() - start, found

    ways = {"cached": partial(timed, CacheSettings()), "uncached": partial(timed, None)}
    cached, uncached = in_turns(ways, seconds, warm=0, fewest=1).values()
    same = float((cached[-1][1] == uncached[-1][1]).double().mean())
    if same < 0.5:  # rounding may turn one token, and with it what follows in that document
        raise LoopscopeError(f"only {100 * same:.0f} % of the tokens agree with and without cache")
    total = documents * new_tokens
    return (
        str(documents),
        str(prompt),
        str(new_tokens),
        f"{total / median(c for c, _ in cached):,.0f}",
        f"{total / median(u for u, _ in uncached):,.0f}",
        f"{median(u / c for (c, _), (u, _) in zip(cached, uncached, strict=True)):.1f}",
    )


def subject_with_loops(out: Path | str, run: str, device: str) -> Subject:
    """A finished run of ours.

    Raises:
        LoopscopeError: no such run, or a model from elsewhere.
    """
    from experiments.measuring.load import load_subject

    subject = load_subject(out, run, device=device)
    if not isinstance(cast(object, subject.model), LoopedTransformer):
        raise LoopscopeError(f"{run} is a model from elsewhere, which has no loops to leave")
    return subject
