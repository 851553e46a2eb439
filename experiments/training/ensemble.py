"""Several runs worked on by one worker at once, each as if it were alone but for its steps.

Every run has a thread in which `worker.work` does what it always does: claim, checkpoint, metrics,
probes, result, failures. Only one of these threads runs at a time; at an optimiser step it hands
over, and once all of them wait, those furthest behind take that step together
(`joint_step`). So a run that ends or fails simply is not there the next time, and runs
resumed from different steps come together as soon as the later ones are caught up with.
"""

import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config.phases import Span
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.runs.folder import RunFolder
from models.config import LoopedConfig
from models.objectives.objective import Loss, PositionwiseObjective

if TYPE_CHECKING:
    from experiments.training.joint_step import Stack
    from experiments.training.trainer import Trainer

#: runs in one stack on a GPU, unless told otherwise
ON_GPU = 16
#: runs in one stack on a CPU, and the numbers in the residual stream of a step beyond which
#: stacking does not pay there: a cache then holds those of one run, but not of several
ON_CPU, SMALL = 8, 40_000
#: what may differ between runs of one stack, besides what hangs on the seed
RATES = ("lr", "weight_decay")


def why_alone(config: RunConfig) -> str:
    """Why a run cannot be stacked with others; empty if it can."""
    model, objective = config.model, config.objective
    if not isinstance(model, LoopedConfig):
        return f"model {model.kind} is not one of loopscope's own"
    if model.mlp == "moe":
        return "a mixture of experts sends the tokens of every run elsewhere"
    if not isinstance(objective, PositionwiseObjective):
        return f"objective {objective.kind} does not say what each position loses"
    if any(phase.draw for phase in config.training.phases):
        return "every run draws its own numbers of loops"
    return ""


def kin_of(config: RunConfig) -> Hashable:
    """What runs agree in that can be stacked: everything but seed, world, start and rates."""
    config = config.canonical()
    fields = config.model_dump(mode="json", exclude={"seed", "start", "observe"})
    fields["task"].pop("world_seed", None)
    for part in (fields["training"], *fields["training"]["phases"]):
        for rate in RATES:
            part.pop(rate, None)
    return repr(fields)


def pays_on_cpu(config: RunConfig) -> bool:
    """Whether a step is so small that calling its operations is most of its time."""
    from experiments.config.costs import shape_of_batch

    task, training = config.task, config.training
    shape = shape_of_batch(type(task), task.model_dump_json(), training.batch)
    return training.batch * shape.context * config.model.width <= SMALL


class Stacker:
    """Which runs of a queue are worked on together.

    Args:
        wanted: most runs in a stack; `auto`: as many as pay; None: `auto` on a GPU, 1 on a CPU.
        slots: stacks worked on at the same time, over which runs are spread.
        tell: given a sentence for runs that cannot be stacked though it was asked for.
    """

    def __init__(self, wanted: int | str | None, slots: int, tell: Callable[[str], None]) -> None:
        self.wanted, self.slots, self.tell = wanted, slots, tell
        self._apart: set[RunFolder] = set()
        self._told: set[str] = set()
        self._known: dict[RunFolder, tuple[RunConfig, Hashable] | None] = {}

    def companions(
        self, folder: RunFolder, device: str, queue: Iterable[RunFolder]
    ) -> list[RunFolder]:
        """Others of the queue that may be stacked with a run."""
        on_cpu = not device.startswith("cuda")
        if self.wanted == 1 or (on_cpu and self.wanted is None):
            return []
        known = self._with_kin(folder)
        if known is None:
            return []
        (config, kin), most = known, self.wanted
        if not isinstance(most, int):
            most = (ON_CPU if pays_on_cpu(config) else 1) if on_cpu else ON_GPU
        others = [other for other in queue if other != folder and self._is(other, kin)]
        even = -(-(len(others) + 1) // self.slots)
        return others[: min(most, even) - 1]

    def part(self, folders: Iterable[RunFolder]) -> None:
        """From now on each of these by itself."""
        self._apart.update(folders)

    def _is(self, folder: RunFolder, kin: Hashable) -> bool:
        known = self._with_kin(folder)
        return known is not None and known[1] == kin

    def _with_kin(self, folder: RunFolder) -> tuple[RunConfig, Hashable] | None:
        """None where a run is not to be stacked."""
        if folder in self._apart:
            return None
        if folder not in self._known:
            config = self._read(folder)
            self._known[folder] = None if config is None else (config, kin_of(config))
        return self._known[folder]

    def _read(self, folder: RunFolder) -> RunConfig | None:
        try:
            config = folder.config()
        except LoopscopeError:  # which its worker will say
            return None
        why = why_alone(config)
        if why and self.wanted is not None and why not in self._told:
            self._told.add(why)
            self.tell(f"not stacked: {why}")
        return None if why else config


class Member:
    """A run of an ensemble.

    Attributes:
        ready: it can go on; else it waits for its next step.
        wall, cpu: seconds that it has had for itself, and its share of the steps.
    """

    def __init__(self, ensemble: "Ensemble", path: Path) -> None:
        self.ensemble, self.folder = ensemble, RunFolder(path)
        self.go = threading.Event()
        self.ready = True
        self.wall = self.cpu = 0.0
        self.trainer: Trainer | None = None
        self.span: Span | None = None
        self.loss: Loss | None = None

    def step(self, trainer: "Trainer", span: Span) -> Loss:
        """In place of `Trainer.step`."""
        if self.trainer is None:
            self.ensemble.note(self)
        self.trainer, self.span, self.ready, self.loss = trainer, span, False, None
        self.ensemble.hand_over(self)
        self.wait()
        # without a loss there was no joint step: it takes its own
        return self.loss or trainer.step(span)

    def wait(self) -> None:
        """Until it is this run's turn."""
        self.go.wait()
        self.go.clear()

    def clock(self) -> tuple[float, float]:
        """In place of wall clock and process time."""
        self.ensemble.book([self])
        return self.wall, self.cpu


class Ensemble:
    """Runs that take turns, and steps together. Whatever it does is done by the one whose turn
    it is, so nothing here needs a lock."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.members = [Member(self, path) for path in paths]
        self._last = time.perf_counter(), time.process_time()
        self._stack: Stack | None = None
        self._apart = False

    def start(self) -> None:
        self.members[0].go.set()

    def hand_over(self, member: Member) -> None:
        """Ends the turn of a run."""
        self.book([member])
        if self.members and not any(other.ready for other in self.members):
            self._step_together()
        for other in self.members:
            if other.ready:
                other.go.set()
                return

    def leave(self, member: Member) -> None:
        """Ends the part of a run."""
        self.members.remove(member)
        self.hand_over(member)

    def book(self, members: Sequence[Member]) -> None:
        """Divides the time since this was last called among some runs."""
        now = time.perf_counter(), time.process_time()
        for member in members:
            member.wall += (now[0] - self._last[0]) / len(members)
            member.cpu += (now[1] - self._last[1]) / len(members)
        self._last = now

    def note(self, member: Member) -> None:
        """Keeps with a run which others it was stacked with."""
        others = [other.folder.run_id for other in self.members if other is not member]
        member.folder.log(f"stacked with {', '.join(others) or 'none any more'}")
        known = member.folder.environment() or {}
        member.folder.write_environment(known | {"stacked_with": others})

    def _step_together(self) -> None:
        """One step of the runs that are furthest behind."""
        least = min(_step(member) for member in self.members)
        behind = [member for member in self.members if _step(member) == least]
        if len(behind) > 1 and not self._apart:
            try:
                self._joint_step(behind)
            except Exception:  # whatever it is: if it is a run's own fault, that run will see it
                traceback.print_exc(file=sys.stderr)
                for member in behind:
                    member.folder.log("the step of all runs failed; each goes on by itself")
                self._part()
                self._apart = True
        for member in behind:
            member.ready = True
        self.book(behind)

    def _part(self) -> None:
        if self._stack is not None:
            self._stack.part()
        self._stack = None

    def _joint_step(self, behind: list[Member]) -> None:
        from experiments.training.joint_step import Stack

        trainers = [member.trainer for member in behind if member.trainer is not None]
        if self._stack is None or not self._stack.holds(trainers):
            self._part()
            self._stack = Stack(trainers)
        span = behind[0].span
        losses = self._stack.step(trainers[0].spans.index(span))  # pyrefly: ignore
        found = dict(zip(map(id, self._stack.trainers), losses, strict=True))
        for member in behind:
            member.loss = found[id(member.trainer)]


def _step(member: Member) -> int:
    assert member.trainer is not None
    return member.trainer.counters.step


def in_turns(paths: Sequence[Path], work: Callable[[Path, dict[str, Any]], Any]) -> Iterator[Any]:
    """What `work` gives for every folder, in the order of ending.

    Args:
        work: does a run, with `step` and `clock` as the named arguments that it is given.
    """
    ensemble = Ensemble(paths)
    ended: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def body(member: Member, path: Path) -> None:
        member.wait()
        found, error = None, None
        try:
            found = work(path, {"step": member.step, "clock": member.clock})
        except BaseException as problem:
            error = problem
        ensemble.leave(member)
        ended.put((found, error))

    for member, path in zip(tuple(ensemble.members), paths, strict=True):
        threading.Thread(target=body, args=(member, path), daemon=True).start()
    ensemble.start()
    for _ in paths:
        found, error = ended.get()
        if error is not None:
            raise error
        yield found
