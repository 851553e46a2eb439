"""Which runs of a grid belong to a share of it (`--shard I/N`)."""

from collections.abc import Mapping


def share_of(starts: Mapping[str, str | None], i: int, n: int) -> list[str]:
    """The runs of the i-th of n shares (i from 1): every n-th run, and those that start from it.

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
