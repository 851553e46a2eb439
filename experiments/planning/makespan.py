"""The time that runs take together, on workers that take one run after the other."""

import heapq
from collections.abc import Mapping


def makespan(seconds: Mapping[str, float], starts: Mapping[str, str | None], workers: int) -> float:
    """Seconds until the last of the runs ends.

    The order is that of the runner: in waves, a run after the one that it starts from, the longest
    of a wave first; whichever worker is free takes the next.

    Args:
        seconds: of each run.
        starts: run -> the run whose weights it starts from; others than those of `seconds` are
            taken for done.
        workers: one or more.
    """
    total, left = 0.0, set(seconds)
    while left:
        wave = [run for run in left if starts.get(run) not in left] or list(left)
        busy = [0.0] * workers
        for duration in sorted((seconds[run] for run in wave), reverse=True):
            heapq.heapreplace(busy, busy[0] + duration)
        total += max(busy)
        left -= set(wave)
    return total
