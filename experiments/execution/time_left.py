"""The time until a whole grid is done: what planning expects, corrected by what has been seen."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from experiments.config.run import RunConfig
from experiments.machine import gpus
from experiments.planning.expected import Expected, expected
from experiments.planning.makespan import makespan
from experiments.runs.folder import RunFolder, State

#: seconds between two looks at the runs
EVERY = 1.0
#: seconds of work for which an expectation in seconds counts as if they had been seen
PRIOR = 60.0
#: seconds of work that are to be seen where nothing is known of the device
FEWEST = 10.0
#: finished runs that tell how long others will take
EXAMPLES = 50


@dataclass
class TimeLeft:
    """Follows the runs of a grid.

    The work that is left is what planning expects of each run. What a unit of it takes is the time
    that workers were busy, over the work that they did in it; what is expected counts beside that
    for a minute of work, if it is in seconds. Runs are then taken in the runner's order by as many
    workers as were seen at once.

    Args:
        expected: of the runs to do.
        starts: run id -> the run whose weights it starts from.
        clock: seconds.
    """

    expected: Expected
    starts: dict[str, str | None] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic

    _begun: dict[str, float] = field(default_factory=dict, init=False)
    _left: dict[str, float] = field(default_factory=dict, init=False)
    _gained: float = field(default=0.0, init=False)
    _busy: float = field(default=0.0, init=False)
    _workers: int = field(default=0, init=False)
    _running: set[str] = field(default_factory=set, init=False)
    _last: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._left = {run_id: sum(parts) for run_id, parts in self.expected.parts.items()}

    def look(self, running: Iterable[RunFolder]) -> None:
        """Takes note of how far the runs are that are worked on; called often."""
        now = self.clock()
        if self._last is not None and now - self._last < EVERY:
            return
        self._pass(now)
        working = [folder for folder in running if folder.lock_path.exists()]
        for folder in working:
            self._advance(folder.run_id, self._left_of(folder))
        self._running = {folder.run_id for folder in working}
        self._workers = max(self._workers, len(working))

    def ended(self, run_id: str, *, done: bool = True) -> None:
        """Takes note that a run is done, or given up."""
        if run_id in self._running:
            self._pass(self.clock())
            self._running.discard(run_id)
            if done:
                self._advance(run_id, 0.0)
        self._left.pop(run_id, None)

    def seconds(self) -> float | None:
        """Until the last run ends; None as long as nothing can be said."""
        prior = PRIOR if self.expected.in_seconds else 0.0
        if not prior and (self._gained <= 0 or self._busy < FEWEST):
            return None
        unit = (self._busy + prior) / (self._gained + prior)
        left = {run_id: amount * unit for run_id, amount in self._left.items()}
        return makespan(left, self.starts, max(self._workers, 1)) if left else 0.0

    def text(self) -> str:
        """
        >>> TimeLeft(Expected({"a": (200.0, 40.0)}, True)).text()
        'about 4 min left'
        >>> TimeLeft(Expected({"a": (200.0, 40.0)}, False)).text()
        'time left not known yet'
        """
        seconds = self.seconds()
        if seconds is None:
            return "time left not known yet"
        if seconds < 60:
            return "less than a minute left"
        minutes = round(seconds / 60)
        if minutes < 60:
            return f"about {minutes} min left"
        hours, minutes = divmod(5 * round(minutes / 5), 60)
        return f"about {hours} h {minutes:02d} min left"

    def _pass(self, now: float) -> None:
        if self._last is not None:
            self._busy += len(self._running) * (now - self._last)
        self._last = now

    def _left_of(self, folder: RunFolder) -> float:
        """What is left of a run that is worked on, in the unit of what is expected."""
        training, measuring = self.expected.parts.get(folder.run_id, (0.0, 0.0))
        status = folder.status()
        if status is None or status.state != "running" or not status.last_step:
            return self._left.get(folder.run_id, 0.0)
        if status.doing == "measuring":
            return measuring
        return training * (1 - min(status.step / status.last_step, 1)) + measuring

    def _advance(self, run_id: str, left: float) -> None:
        """What a run did since the last look; what it did before the first is no work of now."""
        before = self._left.get(run_id, 0.0)
        if run_id in self._begun:
            self._gained += max(before - left, 0.0)
        self._begun[run_id] = left
        if run_id in self._left:
            self._left[run_id] = left


def time_left(
    todo: Iterable[RunFolder],
    states: Mapping[RunFolder, State],
    configs: Mapping[RunFolder, RunConfig],
) -> TimeLeft:
    """Of the runs of a grid that are to be done, going by those that are done already, too."""
    done = [(folder, configs[folder]) for folder, state in states.items() if state == "done"]
    wanted = {folder: configs[folder] for folder in todo}
    starts = {folder.run_id: config.start for folder, config in wanted.items()}
    return TimeLeft(expected(wanted, done[-EXAMPLES:], "cuda" if gpus() else "cpu"), starts)
