"""The cost of a grid and the state of its runs; nothing is trained or written."""

from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from experiments.config.costs import Cost, Work, cost_and_work
from experiments.config.memory import possible_memory
from experiments.config.run import RunConfig
from experiments.grid.grid import Grid
from experiments.grid.shards import share_of
from experiments.machine import available_cores, gpus
from experiments.planning.calibration import TimeModel
from experiments.planning.estimate import Estimator, Finished, disk_bytes, measured_seconds
from experiments.planning.makespan import makespan
from experiments.planning.probe_costs import measuring_work
from experiments.runs.folder import RunFolder
from experiments.runs.provenance import changed_code, changed_message
from experiments.text import aligned, bytes_text, duration, left_out, more_columns, number

HEAD = (
    *("run", "part", "point", "status", "parameters", "by part", "steps", "exposures"),
    *("tokens", "FLOPs", "executed", "time", "measured", "memory"),
)
#: seconds on one core of a processor of today, between two of different age: the grids of
#: `reference` took from .4 to 1.7 times as long, alone, stacked or on a loaded machine
ROUGH = TimeModel((2e-3, 2e-3, 1.2e-11, 1.2e-9, 4e-10))
#: columns that are left out where there is no room, the first first
SPARE = (
    *("by part", "memory", "tokens", "executed", "measured", "FLOPs", "parameters", "steps"),
    "part",
)


#: a finished run whose own code has another text now
CHANGED = "of other code"


@dataclass(frozen=True)
class Planned:
    """A point of the grid; `status` is that of its run folder, or CHANGED.

    Attributes:
        seconds: estimated, on this device; of a run that is done from the calibration alone, to
            stand beside what was measured. None: nothing is known of this device.
        measured: seconds that a run took that is done, where it ran on this device.
        memory, disk: bytes.
        start: the run whose weights it starts from.
        overhead: seconds of starting a worker and of drawing, once however many runs there are.
        exposures: how often training shows every item, where the grid says it so.
        rough: seconds of a core of today, whatever is known of this device.
    """

    run_id: str
    part: str
    labels: dict[str, str]
    status: str
    cost: Cost
    seconds: float | None = None
    measured: float | None = None
    memory: int = 0
    disk: int = 0
    start: str | None = None
    overhead: float = 0.0
    exposures: float | None = None
    rough: float = 0.0


def plan(grid: Grid, out: Path, device: str | None = None) -> list[Planned]:
    """Costs and state of every point, in the order of the grid.

    Args:
        device: cpu or cuda, for which times are told; None: GPUs if there are any.

    Raises:
        LoopscopeError: a run needs more memory than there is, or its task cannot make a batch.
    """
    device = device or ("cuda" if gpus() else "cpu")
    configs, known, finished = grid.runs, {}, []
    works: dict[str, Work] = {}
    for run_id, config in configs.items():
        memory = possible_memory(run_id, config)
        needed, training = cost_and_work(config)
        works[run_id] = training + measuring_work(config, needed, training)
        folder = RunFolder(out / run_id)
        state = folder.state()
        if state == "done" and changed_code(folder, config):
            state = CHANGED
        took = measured_seconds(folder, device) if state == "done" else None
        if took is not None:
            finished.append(Finished(config.task.kind, works[run_id], took))
        known[run_id] = (state, needed, took, memory)
    estimator = Estimator.of(device, finished)
    runs = {}
    for run_id, (state, needed, took, memory) in known.items():
        config, work = configs[run_id], works[run_id]
        guess = estimator.calibrated if state == "done" else estimator.seconds
        disk = disk_bytes(config, needed)
        runs[run_id] = partial(
            Planned,
            run_id,
            status=state,
            cost=needed,
            seconds=guess(config, work),
            measured=took,
            memory=memory,
            disk=disk,
            start=config.start,
            overhead=estimator.overhead(config),
            exposures=config.training.phases[-1].until_exposure,
            rough=ROUGH.seconds(work),
        )
    return [runs[point.run_id](point.part, point.labels) for point in grid.points]


def caveats(grid: Grid) -> list[str]:
    """What the tasks of a grid warn of, each sentence once."""
    tasks = (part for config in grid.runs.values() for part in config.task.parts.values())
    return list(dict.fromkeys(sentence for task in tasks for sentence in task.caveats()))


def warnings(configs: dict[str, RunConfig], planned: list[Planned], out: Path) -> list[str]:
    """What `loopscope run` will refuse, for a person."""
    changed = {point.run_id for point in planned if point.status == CHANGED}
    files = {run_id: changed_code(RunFolder(out / run_id), configs[run_id]) for run_id in changed}
    what = "`loopscope run` will refuse the grid."
    return [changed_message(dict(sorted(files.items())), what)] if files else []


def of_shard(planned: list[Planned], shard: tuple[int, int] | None) -> list[Planned]:
    """The points whose runs belong to a share."""
    if shard is None:
        return planned
    runs = set(share_of({point.run_id: point.start for point in planned}, *shard))
    return [point for point in planned if point.run_id in runs]


def side_by_side(
    planned: list[Planned], shares: int, workers: int | None = None
) -> dict[int, tuple[float, int]]:
    """The number of workers of each share -> seconds until the last share ends, and its number.

    All shares run at once, each on a machine like this one. Empty where times are not known.
    """
    runs = len({point.run_id for point in planned})
    found: dict[int, tuple[float, int]] = {}
    for i in range(1, min(shares, runs) + 1):
        total = totals(of_shard(planned, (i, shares)), workers)
        if total["seconds_left"] is None:
            return {}
        for n, seconds in total["seconds_with_workers"].items():
            found[n] = max(found.get(n, (0.0, 0)), (seconds, i))
    return found


def as_json(
    grid: Grid,
    out: Path,
    planned: list[Planned],
    workers: int | None = None,
    shares: dict[int, tuple[float, int]] | None = None,
) -> dict[str, Any]:
    """Points and totals as plain data; `shares` is from `side_by_side`."""
    together = {n: seconds for n, (seconds, _) in (shares or {}).items()}
    return {
        "name": grid.name,
        "title": grid.title,
        "out": str(out),
        "runs": [asdict(point) for point in planned],
        "totals": totals(planned, workers),
        **({} if shares is None else {"seconds_of_all_shares": together}),
    }


def totals(planned: list[Planned], workers: int | None = None) -> dict[str, Any]:
    """Sums over runs, each counted once; a time is None where that of one run is not known.

    `seconds_with_workers` is the time until a command ends, by the number of workers.
    """
    unique = {point.run_id: point for point in planned}
    runs, todo = unique.values(), [r for r in unique.values() if r.status != "done"]
    seconds = {r.run_id: r.seconds for r in todo if r.seconds is not None}
    complete = len(seconds) == len(todo)
    starts = {r.run_id: r.start for r in todo}
    here = len(gpus()) or available_cores()
    counts = [workers] if workers else sorted({1, here, 2 * here, 4 * here})
    overhead = max((r.overhead for r in todo), default=0.0)
    spans = {n: overhead + makespan(seconds, starts, n) for n in counts if seconds and complete}
    ratios = [r.seconds / r.measured for r in runs if r.measured and r.seconds]
    return {
        "points": len(planned),
        "runs": len(runs),
        "status": dict(sorted(Counter(run.status for run in runs).items())),
        "tokens": sum(run.cost.tokens for run in runs),
        "train_flops": sum(run.cost.train_flops for run in runs),
        "executed_flops": sum(run.cost.executed_flops for run in runs),
        "train_flops_left": sum(r.cost.train_flops for r in todo),
        "rough_seconds_left": sum(r.rough for r in todo),
        "seconds_left": sum(seconds.values()) if complete else None,
        "seconds_with_workers": spans,
        "measured_seconds": sum(r.measured for r in runs if r.measured),
        "estimated_over_measured": (
            {"low": min(ratios), "median": median(ratios), "high": max(ratios), "runs": len(ratios)}
            if ratios
            else None
        ),
        "largest_memory": max((r.memory for r in runs), default=0),
        "disk": sum(r.disk for r in runs),
    }


def as_text(
    grid: Grid,
    planned: list[Planned],
    workers: int | None = None,
    shares: dict[int, tuple[float, int]] | None = None,
    width: int | None = None,
) -> str:
    """A table of the points and a few lines of totals.

    Args:
        shares: from `side_by_side`.
        width: columns of the terminal, for which some of the table are left out and named below;
            None: any.
    """
    lines, gone = [HEAD, *map(_line, planned)], []
    if width is not None:
        lines, gone = _within(lines, width)
    more = f"\n{more_columns(gone)}\n" if gone else ""
    total = totals(planned, workers)
    status = ", ".join(f"{n} {name}" for name, n in total["status"].items())
    return (
        f"{': '.join(filter(None, (grid.name, grid.title)))}\n\n{aligned(lines)}\n{more}\n"
        f"{total['points']} points, {total['runs']} runs ({status}), "
        f"{number(total['tokens'])} tokens, {number(total['train_flops'])} FLOPs, "
        f"of which {number(total['train_flops_left'])} are still to do\n"
        f"{number(total['executed_flops'])} FLOPs are executed\n"
        f"memory up to {bytes_text(total['largest_memory'])} a run, "
        f"disk about {bytes_text(total['disk'])}\n{_times(total)}{_shares(shares)}"
    )


def _within(lines: list[tuple[str, ...]], width: int) -> tuple[list[tuple[str, ...]], list[str]]:
    """The lines without columns that have no room, and the names of those."""
    columns = [c for c in zip(*lines, strict=True) if any(c[1:])]
    sizes = {column[0]: max(map(len, column)) + 2 for column in columns}
    gone = left_out(sizes, [name for name in SPARE if name in sizes], width + 2)
    return list(zip(*(c for c in columns if c[0] not in gone), strict=True)), gone


def _shares(shares: dict[int, tuple[float, int]] | None) -> str:
    if not shares:
        return ""
    told = ", ".join(
        f"{n} {'worker' if n == 1 else 'workers'} each {duration(seconds)} (the last is share {i})"
        for n, (seconds, i) in shares.items()
    )
    return f"\nall shares side by side: {told}"


def _times(total: dict[str, Any]) -> str:
    """The lines about time: what is still to do, and how good estimates of finished runs were."""
    lines = []
    if total["seconds_left"] is None:
        rough = duration(total["rough_seconds_left"])
        lines.append(
            f"roughly {rough} of one core, perhaps a third of it or three times as long: "
            "`loopscope calibrate` measures this device in seconds, for times to rely on"
        )
    elif total["seconds_with_workers"]:
        spans = total["seconds_with_workers"].items()
        told = ", ".join(f"{n} {'worker' if n == 1 else 'workers'} {duration(s)}" for n, s in spans)
        lines.append(f"still to do: {told}")
    if ratio := total["estimated_over_measured"]:
        lines.append(
            f"estimated / measured over {ratio['runs']} finished runs: median "
            f"{ratio['median']:.2f}, from {ratio['low']:.2f} to {ratio['high']:.2f}"
        )
    return "\n".join(lines)


def _line(point: Planned) -> tuple[str, ...]:
    parts = {k: v for k, v in point.cost.parameters.items() if v and k != "total"}
    return (
        point.run_id,
        point.part,
        " ".join(f"{axis.rpartition('.')[2]}={label}" for axis, label in point.labels.items()),
        point.status,
        number(point.cost.parameters["total"]),
        " ".join(f"{name} {number(size)}" for name, size in parts.items()),
        number(point.cost.steps),
        "" if point.exposures is None else number(point.exposures),
        number(point.cost.tokens),
        number(point.cost.train_flops),
        number(point.cost.executed_flops),
        "" if point.seconds is None else duration(point.seconds),
        "" if point.measured is None else duration(point.measured),
        bytes_text(point.memory) if point.memory else "",
    )
