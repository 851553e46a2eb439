"""Interchange interventions (Geiger et al., 2106.02997 §2): does the answer follow a state?

A question is answered with the state of one loop taken from another question, whose first hop
leads elsewhere and whose later relations are the same. Whose answer comes out?

Legend: B pairs, T tokens, D width, n loops.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import numpy as np
from pydantic import Field

from generators.streams import Stream, generator
from generators.task import Batch, Task
from probes.probe import Measurement, Subject
from probes.questions import QuestionProbe, asks, before, having, lacks, named, questions, refused
from probes.statistics import wilson_interval

if TYPE_CHECKING:
    from torch import Tensor

    from models.looped import LoopedTransformer

#: questions drawn for every pair that is wanted: most have no partner
DRAWN_PER_PAIR = 16


def pair_up(batch: Batch, hops: int, differ: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows (base, donor), int64[m] each: every question with at most one partner as its donor.

    Partners share all relations but the first, stand in the same columns, and have other
    entities after the first hop and other answers. `entity`: the first relation is shared too;
    `relation`: the entity asked about is; `hop`: neither has to be.
    """
    names = [f"relation.{k}" for k in range(2, hops + 1)]
    names += {"entity": ["relation.1"], "relation": ["hop.0"], "hop": []}[differ]
    start = batch.spans["answer"][:, 0]
    shared = np.stack([start, *(batch.latents[name] for name in names)])
    order = np.lexsort(shared)
    first = np.r_[True, (np.diff(shared[:, order]) != 0).any(0)]
    group = first.cumsum() - 1
    begins = np.flatnonzero(first)
    ends = np.r_[begins[1:], len(order)][group]
    place = np.arange(len(order)) + 1
    donor = order[np.where(place == ends, begins[group], place)]  # the next one, round in a ring
    answer = batch.tokens[np.arange(len(batch)), start]
    reached = batch.latents["hop.1"]
    kept = (reached[order] != reached[donor]) & (answer[order] != answer[donor])
    return order[kept], donor[kept]


def patched_logits(
    model: "LoopedTransformer",
    tokens: "Tensor",
    at: tuple["Tensor", "Tensor"],
    hook: str,
    state: "Tensor",
    where: "Tensor",
    loops: int | None = None,
) -> "Tensor":
    """Logits [B, V] at `at` of the last loop, with the state at a hook replaced.

    Args:
        state: [B, T, D], that of the donors at the same hook.
        where: bool[B, T], the tokens whose state is replaced.
    """
    import torch

    def swap(x: "Tensor") -> "Tensor":
        return torch.where(where[..., None], state, x)

    return model(tokens, n_loops=loops, interventions=((hook, swap),)).logits(at=at)


class Interchange(QuestionProbe):
    """Share of pairs whose answer follows the donor, the base, or neither, per loop swapped.

    Loop t swaps the residual stream as the core leaves it in loop t, before the final norm, so
    that both the head and the next loop see the donor's; loop 0 what enters the first loop
    (behind the prelude). A model from elsewhere says what its hooks show. `item` says where: `all`
    tokens, the token before the `answer`, or a span such as `entity`; `each` swaps every token by
    itself, as `each@state -n` for the one n before the token before the answer, which the figure
    `heat_map` draws.

    Rows: `follows_donor`, `follows_base`, `follows_neither`, of pairs in which the model's own
    answers differ; `interchange_pairs`, their number. The floor of `follows_donor` is that of
    other pairs' donors. An answer is its likeliest first token.

    Controls are among the rows: `all` at loop 0 is the donor's run, so that `follows_donor` is 1,
    and so it is at every loop unless an injection brings the base's input back in; `answer` at
    the last loop replaces what the head reads; and another span there changes nothing.
    """

    looks_inside: ClassVar[bool] = True
    between_loops: ClassVar[bool] = True
    needs: ClassVar[str] = "questions of two and more hops, with relations and results as latents"
    version: ClassVar[int] = 1

    kind: Literal["interchange"] = "interchange"
    differ: Literal["entity", "relation", "hop"] = Field(
        "entity", description="what leads the first hop elsewhere; hop: either or both"
    )
    swap: tuple[str, ...] = Field(("all", "answer", "entity"), description="where: see above")
    only_right: bool = Field(False, description="pairs of which the model answers both")
    loops: int | None = Field(None, ge=1, description="None: those of the model")

    @classmethod
    def applies(cls, task: Task) -> bool:
        if not asks(task) or max(task.difficulties, default=0) < 2:
            return False
        rng = generator(0, Stream.PROBE)
        latents = task.sample(rng, 1, difficulty=max(task.difficulties)).latents
        return {"hop.0", "hop.1", "relation.1", "relation.2"} <= set(latents)

    def misfits(self, task: Task) -> Iterator[tuple[str, str]]:
        wrong = list(super().misfits(task))
        yield from wrong
        if refused(task, self.split):
            return
        asked = self.difficulties or task.difficulties_of(self.split)
        if not wrong and max(asked, default=0) < 2:
            yield "difficulties", f"needs one of 2 or more hops, whose first leads on; got {asked}"
        known = ["all", "each", *named(task, self.split).spans]
        for name in self.swap:
            if name not in known:
                yield "swap", lacks(task, "span", name, known)

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """Measurements by difficulty (of two hops and more) and loop.

        Raises:
            ValueError: a split, difficulty or span that the task lacks, or a model without hooks.
        """
        if not subject.model.config.hooks:
            raise ValueError(
                "interchange needs a model with hooks (models.contract), which this one has not"
            )
        self.check(subject.task)
        known = self.difficulties or subject.task.difficulties_of(self.split)
        rows = []
        for hops in (k for k in known if k >= 2):
            drawn = self.items * DRAWN_PER_PAIR
            batch = questions(subject.task, subject.seed, self.split, hops, drawn)
            base, donor = (r[: self.items] for r in pair_up(batch, hops, self.differ))
            rows += self._rows(subject, batch.rows(base), batch.rows(donor), hops)
        return tuple(rows)

    def _rows(self, subject: Subject, base: Batch, donor: Batch, hops: int) -> list[Measurement]:
        import torch

        where = {"split": self.split, "difficulty": hops}
        if not len(base):
            return [Measurement("interchange_pairs", 0.0, 0, **where)]
        model, loops = cast("LoopedTransformer", subject.model), self.loops
        tokens, at, wanted = before(base, "answer", subject.device)
        other, _, other_wanted = before(donor, "answer", subject.device)
        hooks = model.config.loop_hooks(loops)
        with torch.no_grad():
            mine = model(tokens, n_loops=loops).logits(at=at).argmax(-1)
            given = model(other, n_loops=loops, capture=tuple(hooks.values()))
            theirs = given.logits(at=at).argmax(-1)
            kept = mine != theirs
            if self.only_right:
                kept &= (mine == wanted) & (theirs == other_wanted)
            count = float(kept.sum())
            rows = [Measurement("interchange_pairs", count, len(base), **where)]
            spots = {k: v for name in self.swap for k, v in _spots(base, name, at, tokens).items()}
            for loop, hook in hooks.items() if count else ():
                for name, spot in spots.items():
                    state = given.captured[hook]
                    logits = patched_logits(model, tokens, at, hook, state, spot, loops)
                    found = logits.argmax(-1)[kept]
                    shares = _shares(found, mine[kept], theirs[kept])
                    rows += [
                        Measurement(**row, item=name, loop=loop, ceiling=1.0, **where)
                        for row in shares
                    ]
        return rows


def _spots(
    batch: Batch, name: str, at: tuple["Tensor", "Tensor"], tokens: "Tensor"
) -> dict[str, "Tensor"]:
    """Item -> tokens whose state is swapped together, bool[B, T], of one entry of `swap`."""
    import torch

    columns = torch.arange(tokens.shape[1], device=tokens.device)
    last = at[1][:, None]
    if name == "all":
        return {name: torch.ones_like(tokens, dtype=torch.bool)}
    if name == "answer":
        return {name: columns == last}
    if name == "each":
        back = range(int(last.max()), -1, -1)
        return {f"each@state -{n}" if n else "each@state": columns == last - n for n in back}
    having(batch, name)  # names the spans there are
    start, stop = torch.from_numpy(batch.spans[name]).to(tokens.device).T[..., None]
    return {name: (columns >= start) & (columns < stop)}


def _shares(found: "Tensor", mine: "Tensor", theirs: "Tensor") -> list[dict]:
    n = len(found)
    strangers = theirs.roll(n // 2)
    hits = {
        "follows_donor": found == theirs,
        "follows_base": found == mine,
        "follows_neither": (found != theirs) & (found != mine),
    }
    rows = []
    for metric, hit in hits.items():
        low, high = wilson_interval(int(hit.sum()), n)
        row = {"metric": metric, "value": float(hit.double().mean()), "n_items": n}
        floor = float((found == strangers).double().mean()) if metric == "follows_donor" else None
        rows.append(row | {"low": low, "high": high, "floor": floor})
    return rows
