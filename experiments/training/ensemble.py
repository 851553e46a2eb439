"""Several runs trained by one worker at once, each as if it were alone but for its steps.

Every run is a generator that stops before each of its optimiser steps. Once all of them wait
there, those furthest behind take that step together (`joint_step`). So a run that ends or fails
simply is not there the next time, and runs resumed from different steps come together as soon as
the later ones are caught up with.
"""

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from experiments.runs.folder import RunFolder
from experiments.training.joint_step import JointRuns
from experiments.training.recorder import Clock
from experiments.training.steps import NextStep, Steps
from experiments.training.trainer import Trainer
from models.objectives.objective import Loss

T = TypeVar("T")


class Member(Generic[T]):
    """A run of an ensemble.

    Attributes:
        wall, cpu: seconds that it has had for itself, and its share of the joint steps.
        waits_for: the step before which it stands.
        loss: of that step, if it was taken with others.
    """

    def __init__(
        self, ensemble: "Ensemble[T]", path: Path, work: Callable[[Path, Clock], Steps[T]]
    ) -> None:
        self.ensemble, self.folder = ensemble, RunFolder(path)
        self.wall = self.cpu = 0.0
        self.waits_for: NextStep | None = None
        self.loss: Loss | None = None
        self.work = work(path, self.clock)

    @property
    def trainer(self) -> Trainer:
        assert self.waits_for is not None
        return self.waits_for[0]

    def clock(self) -> tuple[float, float]:
        """In place of wall clock and process time."""
        self.ensemble.book([self])
        return self.wall, self.cpu

    def go_on(self) -> None:
        """Works until the next step.

        Raises:
            StopIteration: the run has ended; its value says how.
        """
        first, loss, self.loss = self.waits_for is None, self.loss, None
        self.waits_for = self.work.send(loss)
        if first:
            self.ensemble.note(self)


class Ensemble(Generic[T]):
    """Runs that take turns, and steps together."""

    def __init__(self, paths: Sequence[Path], work: Callable[[Path, Clock], Steps[T]]) -> None:
        self.members = [Member(self, path, work) for path in paths]
        self._last = time.perf_counter(), time.process_time()
        self._joint: JointRuns | None = None
        self._apart = False

    def outcomes(self) -> Iterator[T]:
        """Yields the outcome of every run, in the order of ending."""
        ready = list(self.members)
        try:
            while self.members:
                for member in ready:
                    try:
                        member.go_on()
                    except StopIteration as end:
                        self.members.remove(member)
                        yield end.value
                    self.book([member])
                ready = self._behind()
                if len(ready) > 1 and not self._apart:
                    self._step_together(ready)
        finally:
            for member in self.members:
                member.work.close()

    def book(self, members: Sequence[Member[T]]) -> None:
        """Divides the time since this was last called among some runs."""
        now = time.perf_counter(), time.process_time()
        for member in members:
            member.wall += (now[0] - self._last[0]) / len(members)
            member.cpu += (now[1] - self._last[1]) / len(members)
        self._last = now

    def note(self, member: Member[T]) -> None:
        """Keeps with a run which others it was trained with."""
        others = [other.folder.run_id for other in self.members if other is not member]
        member.folder.log(f"stacked with {', '.join(others) or 'none any more'}")
        known = member.folder.environment() or {}
        member.folder.write_environment(known | {"stacked_with": others})

    def _behind(self) -> list[Member[T]]:
        """The runs with the fewest steps."""
        steps = [member.trainer.counters.step for member in self.members]
        return [m for m, step in zip(self.members, steps, strict=True) if step == min(steps)]

    def _step_together(self, members: list[Member[T]]) -> None:
        """Takes a joint step; where it fails, every run takes its own from now on."""
        try:
            self._joint_step(members)
        except Exception:  # whatever it is: if it is a run's own fault, that run will see it
            traceback.print_exc(file=sys.stderr)
            for member in members:
                member.folder.log("the step of all runs failed; each goes on by itself")
            self._part()
            self._apart = True
        self.book(members)

    def _part(self) -> None:
        if self._joint is not None:
            self._joint.part()
        self._joint = None

    def _joint_step(self, members: list[Member[T]]) -> None:
        trainers = [member.trainer for member in members]
        if self._joint is None or not self._joint.contains(trainers):
            self._part()
            self._joint = JointRuns(trainers)
        assert members[0].waits_for is not None
        losses = self._joint.step(trainers[0].spans.index(members[0].waits_for[1]))
        found = dict(zip(map(id, self._joint.trainers), losses, strict=True))
        for member in members:
            member.loss = found[id(member.trainer)]
