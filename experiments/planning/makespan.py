"""Which runs a share has, and how long runs take together.

The longest first, on workers that take one after the other.
"""

import heapq
from collections.abc import Mapping


def makespan(seconds: Mapping[str, float], starts: Mapping[str, str | None], workers: int) -> float:
    """Seconds until the last of the runs ends.

    As the runner does it: in waves, a run after the one that it starts from, the longest of a
    wave first; whichever worker is free takes the next.

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


def share_of(starts: Mapping[str, str | None], i: int, n: int) -> list[str]:
    """The i-th of n shares (i from 1): every n-th run, each with those that start from it.

    So no share waits for another, unless a run starts from one that is not among these.

    Args:
        starts: run -> the run whose weights it starts from, in the order of a grid.
    """

    def first(run: str) -> str:
        while (start := starts[run]) is not None and start in starts:
            run = start
        return run

    firsts = {run: first(run) for run in starts}
    mine = set(list(dict.fromkeys(firsts.values()))[i - 1 :: n])
    return [run for run in starts if firsts[run] in mine]
