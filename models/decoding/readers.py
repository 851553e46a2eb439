"""Readers of growing documents: the logits after the last token of each, cached or not.

Legend: B documents, T columns of the prompts, b documents that are read, V vocabulary.
"""

from typing import Protocol

import torch
from torch import Tensor

from models.decoding.cache import CacheSettings, KeyValueCache
from models.decoding.early_exit import Watch, read_with_exits
from models.decoding.exit_rules import AllLoops, ExitRule
from models.looped import LoopedTransformer, Pass
from models.positions import causal_mask


class Reader(Protocol):
    """The documents so far."""

    @property
    def nbytes(self) -> int:
        """Size of the keys and values kept."""

    def repeat(self, samples: int) -> None:
        """Every document `samples` times, the copies next to each other."""

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [b, V] and exit loops int64[b] of the last token of the documents `rows`."""

    def append(self, rows: Tensor, tokens: Tensor) -> None:
        """One more token, int64[b], for each of the documents `rows`."""


def last_valid(valid: Tensor) -> tuple[Tensor, Tensor]:
    """Index (row, column) of the last True in every row of bool[B, T]."""
    rows = torch.arange(len(valid), device=valid.device)
    return rows, valid.shape[1] - 1 - valid.flip(1).int().argmax(1)


def positions_of(valid: Tensor) -> Tensor:
    """int64[B, T]: each token's place in its document, whatever padding lies around it."""
    return (valid.cumsum(1) - 1).clamp(min=0)


class UncachedReader:
    """Reads the whole documents again for every token, all loops: the reference."""

    nbytes = 0

    def __init__(
        self,
        model: LoopedTransformer,
        prompts: Tensor,
        valid: Tensor,
        loops: int,
        rule: ExitRule,
    ) -> None:
        self.model, self.loops, self.rule = model, loops, rule
        self.tokens, self.valid = prompts, valid
        self.may_exit = torch.zeros_like(valid)
        self.may_exit[last_valid(valid)] = True

    def repeat(self, samples: int) -> None:
        self.tokens = self.tokens.repeat_interleave(samples, 0)
        self.valid = self.valid.repeat_interleave(samples, 0)
        self.may_exit = self.may_exit.repeat_interleave(samples, 0)

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        valid = self.valid[rows]
        outputs = read_with_exits(
            self.model,
            self.tokens[rows],
            self.rule,
            self.may_exit[rows],
            loops=self.loops,
            positions=positions_of(valid),
            attention_mask=valid,
        )
        at = last_valid(valid)
        return outputs.logits[at], outputs.exit_loop[at]

    def append(self, rows: Tensor, tokens: Tensor) -> None:
        column = self.tokens.new_zeros(len(self.tokens), 1)
        column[rows, 0] = tokens.to(column.dtype)
        new = torch.zeros_like(self.valid[:, :1])
        new[rows] = True
        self.tokens = torch.cat((self.tokens, column), 1)
        self.valid = torch.cat((self.valid, new), 1)
        self.may_exit = torch.cat((self.may_exit, new), 1)


class CachedReader:
    """Reads every token once. Tokens that have left are not computed further.

    The prompts but their last tokens are read at once, through all loops.

    Args:
        columns: most columns that prompts and new tokens take.
    """

    def __init__(
        self,
        model: LoopedTransformer,
        prompts: Tensor,
        valid: Tensor,
        loops: int,
        rule: ExitRule,
        settings: CacheSettings,
        columns: int,
    ) -> None:
        self.model, self.loops, self.rule = model, loops, rule
        self.states = model.config.states(loops)
        #: loops after which logits may be read
        self.reads = sorted({*rule.reads(self.states), self.states})
        self.cache = KeyValueCache(settings, len(prompts), columns, self.states, self.reads)
        last = last_valid(valid)
        self.next, self.position = prompts[last], valid.sum(1) - 1
        before = valid.clone()
        before[last] = False
        self.column = prompts.shape[1]
        self.seen = torch.zeros(len(prompts), columns, dtype=torch.bool, device=prompts.device)
        if settings.prefill == "serial":
            self._read_serially(prompts, before)
        else:
            self._read_at_once(prompts, before, shared=settings.prefill == "shared")

    @property
    def nbytes(self) -> int:
        return self.cache.nbytes

    def repeat(self, samples: int) -> None:
        self.cache.repeat(samples)
        for name in ("next", "position", "seen"):
            setattr(self, name, getattr(self, name).repeat_interleave(samples, 0))

    def append(self, rows: Tensor, tokens: Tensor) -> None:
        self.next[rows] = tokens.to(self.next.dtype)
        self.position[rows] += 1

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        found = self._read_one(rows, self.next[rows], self.position[rows], self.column, self.rule)
        self.column += 1
        return found

    def _read_at_once(self, tokens: Tensor, valid: Tensor, *, shared: bool) -> None:
        mask = causal_mask(valid)
        if shared:  # the tokens before as they are in loop 1, and each one itself
            own = torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)
            mask = torch.cat((mask & ~own, own.expand_as(mask)), -1)
        rows = torch.arange(len(tokens), device=tokens.device)
        self.cache.begin(rows, 0, parallel=True)
        positions = positions_of(valid)
        run = self.model.begin(tokens, self.loops, positions, mask, key_values=self.cache)
        for loop in range(1, self.states + 1):
            state = run.loop(loop)
            if len(self.model.coda) and loop in self.reads:
                run.logits(state, loop, at=(rows[:0], rows[:0]))  # for its keys alone
        self.cache.end()
        self.seen[:, : tokens.shape[1]] = valid

    def _read_serially(self, tokens: Tensor, valid: Tensor) -> None:
        positions = positions_of(valid)
        for column in range(tokens.shape[1]):
            rows = valid[:, column].nonzero()[:, 0]
            if len(rows):
                at = (rows, tokens[rows, column], positions[rows, column], column)
                self._read_one(*at, AllLoops())

    def _read_one(
        self, rows: Tensor, tokens: Tensor, positions: Tensor, column: int, rule: ExitRule
    ) -> tuple[Tensor, Tensor]:
        """One token of each of the documents `rows`, as (logits, exit loops)."""
        self.cache.begin(rows, column)
        own = torch.ones(len(rows), 1, dtype=torch.bool, device=rows.device)
        mask = torch.cat((self.seen[rows, :column], own), 1)[:, None, None]
        run = self.model.begin(
            tokens[:, None], self.loops, positions[:, None], mask, key_values=self.cache
        )
        found = self._loops(run, rows, rule)
        self.cache.end()
        self.seen[rows, column] = True
        return found

    def _loops(self, run: Pass, rows: Tensor, rule: ExitRule) -> tuple[Tensor, Tensor]:
        """Loop after loop, with fewer tokens once some have left; as (logits, exit loops)."""
        watch = Watch(rule, self.model, self.states)
        coda = len(self.model.coda) > 0
        exit_loop = torch.zeros_like(rows)
        found: Tensor | None = None
        active = torch.arange(len(rows), device=rows.device)
        for loop in range(1, self.states + 1):
            state, logits = run.loop(loop), None
            if loop in self.reads and (rule.reads_logits or coda):
                logits = run.logits(state, loop)[:, 0]
            leaves = watch.leaves(loop, state[:, 0], logits)
            leaving = leaves.nonzero()[:, 0]
            if not len(leaving):
                continue
            if logits is None:
                read = run.logits(state, loop, at=(leaving, torch.zeros_like(leaving)))
            else:
                read = logits[leaving]
            if found is None:
                found = read.new_zeros(len(rows), read.shape[-1])
            found[active[leaving]] = read
            exit_loop[active[leaving]] = loop
            if len(leaving) == len(active):
                break
            stay = (~leaves).nonzero()[:, 0]
            for part in (run, self.cache, watch):
                part.keep_rows(stay)
            active = active[stay]
        assert found is not None
        return found, exit_loop
