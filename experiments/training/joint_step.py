"""One optimiser step of several runs of one shape at once.

The weights and moments of the runs lie in one tensor each, [R, …], of which every run's own model
and optimiser hold their slice. So a checkpoint, an evaluation or a probe of one run sees nothing
of the others, and each run can go on alone or with others at any step.

Legend: R runs, B documents of each, T tokens of the longest one, M predicted positions of each.
"""

import copy
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from experiments.training.inputs import joined, parts_of
from experiments.training.muon import fresh_state
from experiments.training.optimiser import set_learning_rates
from experiments.training.prefetch import Prefetch
from experiments.training.trainer import Trainer
from generators.task import Batch
from models.fast.compiling import compile_blocks
from models.fast.replica_axis import make_joint
from models.fast.sparse_queries import to_device_async
from models.objectives.exit_losses import Predictions
from models.objectives.objective import Loss, PositionwiseObjective
from models.outputs import Positions


class Inputs(NamedTuple):
    """What the models of several runs read and predict in one step.

    Attributes:
        tokens: int64[R·B, T-1].
        at, targets: R·M positions that predict, run after run (on the host), and what follows
            them.
        weight: [R, M], one through the run's own number of positions; 0 where it has fewer than M.
        contexts, predicted: columns that each run reads of itself, and positions.
    """

    tokens: Tensor
    at: Positions
    targets: Tensor
    weight: Tensor
    contexts: list[int]
    predicted: list[int]


def joint_inputs(batches: Sequence[Batch], device: torch.device) -> Inputs:
    """The batches of R runs behind each other, padded to the longest document and most positions.

    Positions that pad are those of documents with few, so that no document gets more of them
    than the one with the most.
    """
    longest = [int((b.tokens != 0).any(axis=0).nonzero()[0].max()) + 1 for b in batches]
    R, B, T = len(batches), len(batches[0]), max(longest)
    tokens = np.zeros((R, B, T), dtype=np.int64)
    wanted = np.zeros((R, B, T - 1), dtype=bool)
    for r, (batch, end) in enumerate(zip(batches, longest, strict=True)):
        tokens[r, :, :end] = batch.tokens[:, :end]
        wanted[r, :, : end - 1] = batch.loss_mask[:, 1:end]
    predicted = wanted.sum((1, 2))
    read = wanted.copy()
    for r in np.flatnonzero(predicted < predicted.max()):
        room = wanted.sum(2).max() - wanted[r].sum(1, keepdims=True)
        free = ~wanted[r] & ((~wanted[r]).cumsum(1) <= room)
        row, column = free.nonzero()
        more = predicted.max() - predicted[r]
        read[r, row[:more], column[:more]] = True
    row, column = read.reshape(R * B, T - 1).nonzero()
    flat = tokens.reshape(R * B, T)
    with np.errstate(invalid="ignore"):  # a run that predicts nothing
        weight = wanted[read].reshape(R, -1) / predicted[:, None]

    def sent(array: np.ndarray) -> Tensor:
        return to_device_async(torch.from_numpy(array), device)

    return Inputs(
        sent(flat[:, :-1]),
        (torch.from_numpy(row), torch.from_numpy(column)),
        sent(flat[row, column + 1]),
        sent(weight),
        [end - 1 for end in longest],
        predicted.tolist(),
    )


class JointRuns:
    """Runs that take their steps together and agree in all but seed, world and rates.

    Args:
        trainers: all at the same step; their order is kept in `trainers`, by learning rate.

    Raises:
        ValueError: their models are not of one shape, or of a kind that does not stack.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = sorted(trainers, key=_rates)
        first = self.trainers[0]
        own = [dict(trainer.model.named_parameters()) for trainer in self.trainers]
        if len({tuple((n, p.shape) for n, p in parameters.items()) for parameters in own}) > 1:
            raise ValueError("the models of these runs differ in shape")
        self.weights: dict[str, nn.Parameter] = {}
        for name, parameter in own[0].items():
            values = torch.stack([parameters[name].detach() for parameters in own])
            self.weights[name] = nn.Parameter(values, requires_grad=parameter.requires_grad)
        self.model = copy.deepcopy(first.model)
        make_joint(self.model, self.weights)
        if all(t.config.observe.compile_blocks != "never" for t in self.trainers):
            compile_blocks(self.model)  # which a copy of a model is not
        for r, parameters in enumerate(own):
            for name, parameter in parameters.items():
                parameter.data = self.weights[name].data[r]
        self.optimiser = self._joint_optimiser(own)
        self._parts = _parts_of(self.trainers)
        self.prefetch = Prefetch[list[Batch]](first.device.type == "cuda")

    def _joint_optimiser(self, own: list[dict[str, nn.Parameter]]) -> torch.optim.AdamW:
        """One like those of the runs, over slices of the joint weights: runs with one rate."""
        first = self.trainers[0].optimiser
        names = {id(parameter): name for name, parameter in own[0].items()}
        groups: list[dict[str, Any]] = []
        self._slices: list[tuple[Tensor, str, slice]] = []
        start = 0
        for _, members in groupby(self.trainers, key=_rates):
            some = slice(start, start := start + len(list(members)))
            own_groups = self.trainers[some.start].optimiser.param_groups
            for group, options in zip(first.param_groups, own_groups, strict=True):
                slices = []
                for parameter in group["params"]:
                    name = names[id(parameter)]
                    slices.append(self.weights[name].data[some])
                    self._slices.append((slices[-1], name, some))
                groups.append({**options, "params": slices})
        optimiser = type(first)(
            groups, **{k: first.defaults[k] for k in ("lr", "betas", "eps", "fused")}
        )
        kinds = {id(leaf): group for group in groups for leaf in group["params"]}
        for leaf, name, some in self._slices:
            optimiser.state[leaf] = self._joined(own, name, some, kinds[id(leaf)])
        return optimiser

    def _joined(
        self,
        own: list[dict[str, nn.Parameter]],
        name: str,
        some: slice,
        group: dict[str, Any],
    ) -> dict[str, Tensor]:
        """The moments of a slice, which its runs' own optimisers see from now on."""
        members = list(zip(self.trainers, own, strict=True))[some]
        states = [
            trainer.optimiser.state.get(p[name]) or fresh_state(p[name], group)
            for trainer, p in members
        ]
        moments = {
            key: torch.stack([state[key] for state in states]) for key in states[0] if key != "step"
        }
        step = states[0]["step"].clone()
        for r, (trainer, parameters) in enumerate(members):
            views = {key: value[r] for key, value in moments.items()}
            trainer.optimiser.state[parameters[name]] = {"step": step, **views}
        return {"step": step, **moments}

    def contains(self, trainers: Sequence[Trainer]) -> bool:
        """Whether these are its runs, with the models and optimisers that they had."""
        return self._parts == _parts_of(sorted(trainers, key=_rates))

    def part(self) -> None:
        """Lets the runs go on by themselves: their optimisers no longer count together."""
        for trainer in self.trainers:
            for state in trainer.optimiser.state.values():
                state["step"] = state["step"].clone()

    def step(self, index: int) -> list[Loss]:
        """One optimiser step of every run in their phase `index`; the loss of each."""
        step = self.trainers[0].counters.step
        last = min(trainer.last_step for trainer in self.trainers)
        with self.prefetch.taken(self._documents, step, last) as batches:
            return self._step_on(batches, index)

    def _documents(self, step: int) -> list[Batch]:
        return [trainer.documents(step) for trainer in self.trainers]

    def _step_on(self, batches: list[Batch], index: int) -> list[Loss]:
        training = self.trainers[0].config.training
        self._set_rates(index)
        for weight in self.weights.values():
            weight.grad = None
        losses: list[list[Loss]] = []
        shares: list[tuple[float, ...]] = []
        of_runs = [parts_of(batch, training.accumulate) for batch in batches]
        for parts in zip(*of_runs, strict=True):
            some, share = zip(*parts, strict=True)
            if any(share):
                losses.append(self._differentiate(some, share, index))
                shares.append(share)
        self._clip(training.clip)
        for leaf, name, some in self._slices:
            grad = self.weights[name].grad
            leaf.grad = None if grad is None else grad[some]
        self.optimiser.step()
        found = []
        for r, (trainer, batch) in enumerate(zip(self.trainers, batches, strict=True)):
            loss = joined([part[r] for part in losses], [share[r] for share in shares])
            trainer.window.append(loss.total)
            trainer.stepped(batch)
            found.append(loss)
        return found

    def _differentiate(
        self, batches: Sequence[Batch], shares: Sequence[float], index: int
    ) -> list[Loss]:
        """Losses of a part of every run's batch; adds the gradients of its share of the loss."""
        first, device = self.trainers[0], self.trainers[0].device
        phase, objective = first.spans[index].phase, first.objective
        assert isinstance(objective, PositionwiseObjective)
        given = joint_inputs(batches, device)
        loops = phase.loops or first.config.model.loops
        options = first.backward_options(phase)
        if getattr(self.model, "position", None) is not None:  # a row for every document
            columns = torch.arange(given.tokens.shape[1], device=device)
            options["positions"] = columns.expand(given.tokens.shape)
        with first.precision():
            outputs = self.model(given.tokens, loops, read=given.at, **options)
            predictions = Predictions(outputs, given.at, given.targets)
            each = objective.per_position(predictions, phase.beta)
        share = to_device_async(torch.tensor(shares, dtype=given.weight.dtype), device)
        weight = given.weight.where(share[:, None] > 0, 0.0)  # a run that predicts nothing here
        totals = _means(each.total, weight)
        (totals * share.to(totals.dtype)).sum().backward()
        logged = {k: _means(v, weight).unbind() for k, v in each.logged.items()}
        for r, trainer in enumerate(self.trainers):
            if given.predicted[r]:
                sizes = (batches[r], given.contexts[r], given.predicted[r], loops)
                trainer.count_pass(*sizes, trainer.spans[index].phase.backprop_loops)
        return [
            Loss(total, {k: values[r] for k, values in logged.items()})
            for r, total in enumerate(totals.detach().unbind())
        ]

    def _set_rates(self, index: int) -> None:
        groups = len(self.trainers[0].optimiser.param_groups)
        starts = dict.fromkeys(some.start for _, _, some in self._slices)
        for i, start in enumerate(starts):
            trainer = self.trainers[start]
            set_learning_rates(
                self.optimiser.param_groups[i * groups : (i + 1) * groups],
                trainer.spans[index],
                trainer.config.training,
                trainer.counters.step,
            )

    def _clip(self, limit: float | None) -> None:
        """Clips the gradient of each run as torch's `clip_grad_norm_` does for one model."""
        if limit is None:
            return
        grads = [w.grad for w in self.weights.values() if w.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in grads])
        share = (limit / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(share.view(-1, *[1] * (grad.dim() - 1)))


def _rates(trainer: Trainer) -> tuple[float, ...]:
    """Weight decay and peak learning rates, which order the runs of one joint optimiser."""
    training = trainer.config.training
    rates = [training.lr if phase.lr is None else phase.lr for phase in training.phases]
    return training.weight_decay, training.muon_lr, *rates


def _parts_of(trainers: Sequence[Trainer]) -> list[tuple[Any, ...]]:
    return [(t, t.model, t.optimiser, t.model.config) for t in trainers]


def _means(values: Tensor, weight: Tensor) -> Tensor:
    """[R] of values [R·M]."""
    return (values.view(weight.shape) * weight.to(values.dtype)).sum(1)
