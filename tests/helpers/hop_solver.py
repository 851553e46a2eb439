"""A solver of multi-hop questions built by hand: after loop t it holds the entity after t hops.

Legend: B documents, T tokens, D width, V vocabulary, E entities.
"""

from typing import Any

import torch
from known_models import subject as subject_of
from torch import Tensor, nn

from generators.multihop import MultiHop
from generators.task import Task
from models.adapter import ForeignModel
from models.config import LoopedConfig
from models.outputs import LoopOutputs
from probes.probe import Subject

TASK = MultiHop(entities=8, relations=4, hops=3, world="permutation", held_out=0.3).bind(1)


def subject(model: Any, task: Task = TASK) -> Subject:
    return subject_of(model, task, seed=1)


def looped(task: Task = TASK, *, gate: bool = False, seed: int = 0, **fields: Any) -> Subject:
    """An untrained looped model of the task, its gate (if any) with weights that differ."""
    config = LoopedConfig(**{"width": 16, "heads": 2, "core": 2, "loops": 3, **fields})
    model = config.build(len(task.vocabulary), gate=gate, seed=seed)
    if gate:
        torch.manual_seed(seed)
        torch.nn.init.normal_(model.gate.weight, std=0.5)
    return subject(model, task)


class HopSolver(nn.Module):
    """States [B, T, V + E + 1]: the token itself, the entity reached, and whether it is the answer.

    Only the last token of the question computes. In the first loop it looks at the entity asked
    about, from then on at the entity it holds; in loop t it looks at the t-th relation.
    """

    def __init__(self, task: MultiHop) -> None:
        super().__init__()
        self.E, self.V = task.entities, len(task.vocabulary)
        self.first_entity = 1 + task.hops
        self.first_relation = self.first_entity + task.entities
        self.register_buffer("table", torch.from_numpy(task.table).long())

    def embed(self, tokens: Tensor) -> Tensor:
        x = torch.zeros(*tokens.shape, self.V + self.E + 1)
        x[..., : self.V] = nn.functional.one_hot(tokens, self.V).float()
        return x

    def loop(self, x: Tensor, t: int) -> Tensor:
        x = x.clone()
        token = x[..., : self.V].argmax(-1)  # [B, T]
        hops = token[:, 0]
        rows = (hops >= t).nonzero()[:, 0]
        rows = rows[hops[rows] + 1 < token.shape[1]]
        at = (rows, hops[rows] + 1)
        held = x[at][:, self.V : self.V + self.E].argmax(-1)
        entity = token[rows, 1] - self.first_entity if t == 1 else held
        relation = token[rows, 1 + t] - self.first_relation if 1 + t < token.shape[1] else rows[:0]
        reached = self.table[relation, entity]
        new = x[at]
        new[:, self.V : self.V + self.E] = nn.functional.one_hot(reached, self.E).float()
        new[:, -1] = (hops[rows] == t).float()
        x[at] = new
        return x

    def forward(self, tokens: Tensor, n_loops: int) -> list[Tensor]:
        x, states = self.embed(tokens), []
        for t in range(1, n_loops + 1):
            x = self.loop(x, t)
            states.append(x)
        return states


class EntityHead(nn.Module):
    """The entity held as logits; all tokens alike where none is."""

    def __init__(self, solver: HopSolver, scale: float = 50.0) -> None:
        super().__init__()
        self.solver, self.scale = solver, scale
        self.bias = nn.Parameter(torch.zeros(()))  # tells probes the device

    def forward(self, state: Tensor) -> Tensor:
        logits = torch.zeros(*state.shape[:-1], self.solver.V)
        first, V = self.solver.first_entity, self.solver.V
        logits[..., first : first + self.solver.E] = self.scale * state[..., V:-1]
        return logits + self.bias


class DoneGate(nn.Module):
    """Leaves once the answer is held."""

    def forward(self, state: Tensor) -> Tensor:
        return 100.0 * (state[..., -1:] - 0.5)


def foreign(task: MultiHop, loops: int, *, gate: bool = False) -> ForeignModel:
    """The solver as a model from elsewhere."""
    solver, config = HopSolver(task), LoopedConfig(width=2, heads=1, loops=loops)
    gated = DoneGate() if gate else None
    model = ForeignModel(solver, config, head=EntityHead(solver), gate=gated)
    model.config = config
    return model.eval()


class HookedSolver(nn.Module):
    """The solver with the hooks of `LoopedTransformer`: one core layer, no prelude, no norm."""

    def __init__(self, task: MultiHop, loops: int) -> None:
        super().__init__()
        self.solver, self.final_norm = HopSolver(task), nn.Identity()
        self.head = EntityHead(self.solver)
        self.config = LoopedConfig(width=2, heads=1, loops=loops)

    def forward(self, tokens, n_loops=None, *, capture=(), interventions=()):
        captured, states = {}, []

        def hook(name, x):
            for wanted, change in interventions:
                x = change(x) if wanted == name else x
            if name in capture:
                captured[name] = x
            return x

        x = hook("embed", self.solver.embed(tokens))
        for t in range(1, (n_loops or self.config.loops) + 1):
            x = hook(f"core.0.loop.{t}", self.solver.loop(x, t))
            x = hook(f"state.loop.{t}", x)
            states.append(x)

        def read(state, loop, at=None):
            return self.head(state if at is None else state[at])

        return LoopOutputs(states, read, None, captured)
