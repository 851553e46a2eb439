"""When a model stops looping, how right it is then, and what it saves: the Q-exit curve.

Legend: B documents, A tokens of the longest answer, n loops.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from generators.streams import Stream, generator
from generators.task import Batch, Task
from models.config import LoopedConfig
from models.decoding.exit_rules import (
    Acceleration,
    AllLoops,
    ExitRule,
    FixedPoint,
    PredictionChange,
    PredictionEntropy,
    QuantileExit,
    StateDifference,
    StaticExit,
)
from probes.calibration import expected_calibration_error
from probes.exit_following import Followed, follow, states_of
from probes.probe import Measurement, Misfit, Subject
from probes.questions import QuestionProbe, before, chunks, floor_of
from probes.statistics import summarise, wilson_interval

if TYPE_CHECKING:
    from models.interface import LoopedModel
    from models.model import ModelConfig
    from models.objectives.objective import Objective

Row = dict[str, Any]


@dataclass(frozen=True)
class Confidences:
    """Exit probabilities and confidence at the token before the answer, after every loop.

    Attributes:
        confidence: float[n, B], probability of the likeliest token.
        right: bool[n, B], whether it is the first token of the document's answer.
        exit_probability: float[n, B], p(t) of the gate; None without one.
    """

    confidence: np.ndarray
    right: np.ndarray
    exit_probability: np.ndarray | None

    @property
    def expected_loops(self) -> np.ndarray | None:
        """Expected exit loop Σ t·p(t), float[B]."""
        p = self.exit_probability
        return None if p is None else np.arange(1, len(p) + 1) @ p


#: of a rule, which refuses negative ones
Threshold = Annotated[float, Field(ge=0)]


class Exits(QuestionProbe):
    """Accuracy against mean loops of every exit rule, and what the gate itself says.

    Per rule, named by `item` (`all`, `static loop=2`, `quantile q=0.5`, `difference epsilon=1`,
    `entropy nats=0.1`; `fixed-point`, `acceleration` and `kl` where asked for), and difficulty:
    `exit_accuracy`; `exit_loops`, mean loops of the tokens that decoding reads; `exit_share` per
    loop, of these tokens; `blocks_per_document`, block applications to single tokens that greedy
    decoding with a full cache executed, prompt
    included; `compute_saved`, the share that this is below running all loops, and
    `decoding_saved`, the same without the prompt, which runs all loops under every rule. Over all
    difficulties: `difficulty_correlation`, Spearman's ρ of difficulty and the mean exit loop of a
    document; no row where all documents leave alike.

    Per loop t, `item` `head`, at the token before the answer: `confidence_ece`, the expected
    calibration error of the probability of the likeliest token. Where there is a gate, `item`
    `gate`: `exit_probability` p(t); `exit_loops`, the mean of Σ t·p(t), and its
    `difficulty_correlation`; and for t < n `exit_cdf_ece`, the calibration error of CDF(t), the
    probability of having left by loop t, taken as the probability that the likeliest token after
    loop t is right. Only the gate objective trains for anything like that.

    What needs a gate is left out where there is none, or one that `act` trained, which adds up to
    a halt and is no distribution over exits. A model from elsewhere decodes
    nothing: answers of a single token are read from all its loops, and no saving is reported.
    """

    version: ClassVar[int] = 2  # version 1 took the prompt of one rule for that of all

    kind: Literal["exits"] = "exits"
    static: tuple[int, ...] | None = Field(None, description="loops; None: each of them")
    q: tuple[Threshold, ...] = Field(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99),
        description="thresholds of the cumulative exit probability",
    )
    epsilon: tuple[Threshold, ...] = Field((0.25, 0.5, 1, 2, 4), description="of state differences")
    nats: tuple[Threshold, ...] = Field((0.01, 0.1, 0.3, 1), description="of prediction entropies")
    share: tuple[Threshold, ...] = Field((), description="of the state that a loop moves it by")
    acceleration: tuple[Threshold, ...] = Field((), description="differences of two loops' steps")
    kl: tuple[Threshold, ...] = Field((), description="nats between two loops' predictions")
    bins: int = Field(10, ge=1, description="of the calibration errors")
    loops: int | None = Field(None, ge=1, description="None: those of the model")

    def rules(self, model: "LoopedModel") -> dict[str, ExitRule]:
        """item -> rule, for the rules that the model can follow.

        Raises:
            ValueError: a static exit beyond the loops.
        """
        loops = states_of(model, self.loops)
        gate = model.read_exit is not None and model.halting is None
        static = range(1, loops + 1) if self.static is None else self.static
        rules: dict[str, ExitRule] = {"all": AllLoops()}
        rules |= {f"static loop={loop}": StaticExit(loop=loop) for loop in static}
        rules |= {f"quantile q={q:g}": QuantileExit(q=q) for q in self.q if gate}
        rules |= {f"difference epsilon={e:g}": StateDifference(epsilon=e) for e in self.epsilon}
        rules |= {f"entropy nats={nats:g}": PredictionEntropy(nats=nats) for nats in self.nats}
        rules |= {f"fixed-point share={s:g}": FixedPoint(share=s) for s in self.share}
        rules |= {f"acceleration epsilon={e:g}": Acceleration(epsilon=e) for e in self.acceleration}
        rules |= {f"kl nats={nats:g}": PredictionChange(nats=nats) for nats in self.kl}
        for rule in rules.values():
            rule.check(loops, gate=gate)
        return rules

    def check_model(self, model: "ModelConfig", task: Task, objective: "Objective") -> None:
        super().check_model(model, task, objective)
        loops = model.states(self.loops)
        if beyond := [loop for loop in self.static or () if loop > loops]:
            told = ", ".join(map(str, beyond))
            raise Misfit(
                [("static", f"exit rule static leaves after loop {told}, but loops is {loops}")]
            )
        if not isinstance(model, LoopedConfig) and (longest := _longest_answer(task)) > 1:
            raise ValueError(
                f"probe exits reads a model from elsewhere, such as {model.kind}, from answers of "
                f"a single token; {task.kind} has answers of {longest}"
            )

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """Rows of every difficulty, rule after rule, head and gate; last the correlations.

        Raises:
            ValueError: a split or difficulty that the task lacks, a rule that does not fit the
                model, or answers of several tokens of a model from elsewhere.
        """
        rows, loops_of = [], {}
        rules = self.rules(subject.model)
        for difficulty, batch in self.batches(subject):
            floor = floor_of(subject.task, difficulty, self.split)
            followed = {
                item: follow(subject, batch, rule, self.loops) for item, rule in rules.items()
            }
            confidences = self._confidences(subject, batch)
            where = {"split": self.split, "difficulty": difficulty}
            found = [*_rule_rows(followed, floor), *_confidence_rows(confidences, self.bins)]
            rows += [Measurement(**row, **where) for row in found]
            for item, one in followed.items():
                loops_of.setdefault(item, {})[difficulty] = one.mean_loops
            if confidences.expected_loops is not None:
                loops_of.setdefault("gate", {})[difficulty] = confidences.expected_loops
        rows += [Measurement(**row, split=self.split) for row in _correlations(loops_of)]
        return tuple(rows)

    def _confidences(self, subject: Subject, batch: Batch) -> Confidences:
        import torch

        from models.exits import exit_log_probabilities

        found = []
        for part in chunks(batch):
            tokens, at, wanted = before(part, "answer", subject.device)
            with torch.no_grad():
                outputs = subject.model(tokens, n_loops=self.loops)
                every = range(1, outputs.n_loops + 1)
                best = [outputs.logits(t, at).float().softmax(-1).max(-1) for t in every]
                confidence = torch.stack([b.values for b in best])
                claimed = [confidence, torch.stack([b.indices == wanted for b in best])]
                if outputs.read_exit is not None and subject.model.halting is None:
                    claimed.append(exit_log_probabilities(outputs.exit_logits(at).float()).exp())
            found.append([one.cpu().numpy() for one in claimed])
        columns = [np.concatenate(c, axis=1) for c in zip(*found, strict=True)]
        return Confidences(columns[0], columns[1], columns[2] if len(columns) > 2 else None)


def _longest_answer(task: Task) -> int:
    """Tokens of the longest answer among a few documents."""
    start, stop = task.sample(generator(0, Stream.PROBE), 64).spans["answer"].T
    return int((stop - start).max())


def _rule_rows(followed: dict[str, Followed], floor: float | None) -> Iterator[Row]:
    everything = followed["all"]
    loops = int(everything.exit_loop.max())
    for item, found in followed.items():
        n = len(found.right)
        yield _share(found.right, "exit_accuracy", item) | {"floor": floor}
        yield _mean(found.mean_loops, "exit_loops", item) | {"floor": 1.0, "ceiling": float(loops)}
        read = found.exit_loop[found.exit_loop > 0]
        for loop in range(1, loops + 1):
            yield _share(read == loop, "exit_share", item) | {"loop": loop}
        if found.blocks is None or everything.blocks is None:
            continue
        yield {
            "metric": "blocks_per_document",
            "item": item,
            "value": found.blocks / n,
            "n_items": n,
            "ceiling": everything.blocks / n,
        }
        # where a rule asks for it after several loops, a coda reads the prompt more often too
        decoded = found.blocks - (found.prompt_blocks or 0)
        most = everything.blocks - (everything.prompt_blocks or 0)
        saved = {
            "compute_saved": found.blocks / everything.blocks,
            "decoding_saved": decoded / most,
        }
        for metric, share in saved.items():
            yield {"metric": metric, "item": item, "value": 1 - share, "n_items": n, "floor": 0.0}


def _confidence_rows(confidences: Confidences, bins: int) -> Iterator[Row]:
    n, B = confidences.confidence.shape
    for t in range(1, n + 1):
        error = expected_calibration_error(
            confidences.confidence[t - 1], confidences.right[t - 1], bins
        )
        yield _error("confidence_ece", error, B, "head", t)
    if confidences.exit_probability is None:
        return
    cdf = confidences.exit_probability.cumsum(0)
    for t, p in enumerate(confidences.exit_probability, 1):
        yield _mean(p, "exit_probability", "gate") | {"loop": t, "ceiling": 1.0}
        if t < n:
            error = expected_calibration_error(cdf[t - 1], confidences.right[t - 1], bins)
            yield _error("exit_cdf_ece", error, B, "gate", t)
    expected = confidences.expected_loops
    assert expected is not None
    yield _mean(expected, "exit_loops", "gate") | {"floor": 1.0, "ceiling": float(n)}


def _correlations(loops_of: dict[str, dict[int | None, np.ndarray]]) -> Iterator[Row]:
    """Spearman's ρ of difficulty and exit loop, where both vary."""
    from scipy.stats import spearmanr

    for item, by_difficulty in loops_of.items():
        loops = np.concatenate(list(by_difficulty.values()))
        if len(by_difficulty) < 2 or np.ptp(loops) == 0:
            continue
        difficulties = [np.full(len(v), k, float) for k, v in by_difficulty.items()]
        value = float(spearmanr(np.concatenate(difficulties), loops).statistic)
        metric = "difficulty_correlation"
        bounds = {"floor": 0.0, "ceiling": 1.0}
        yield {"metric": metric, "item": item, "value": value, "n_items": len(loops)} | bounds


def _share(hits: np.ndarray, metric: str, item: str) -> Row:
    low, high = wilson_interval(int(hits.sum()), len(hits))
    row = {"metric": metric, "item": item, "value": float(hits.mean()), "n_items": len(hits)}
    return row | {"ceiling": 1.0, "low": low, "high": high}


def _mean(values: np.ndarray, metric: str, item: str) -> Row:
    mean, low, high, n = summarise(values)
    return {"metric": metric, "item": item, "value": mean, "n_items": n, "low": low, "high": high}


def _error(metric: str, value: float, n: int, item: str, loop: int) -> Row:
    row = {"metric": metric, "value": value, "n_items": n, "item": item, "loop": loop}
    return row | {"floor": None, "ceiling": 1.0}
