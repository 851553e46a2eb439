"""How far a run ends from itself: trained alone, with another number of threads, and stacked.

Weights, documents and their order are the same in all ways; what differs is the order in which
floating-point sums are taken. Whatever the results differ by is no effect of a seed or an arm: a
difference below it means nothing for a single run.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.bench.together import train_together
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.execution.stack_planner import reason_not_stackable, stack_key
from experiments.results.long_table import load_runs
from experiments.results.selection import difficulty_text, last_loop
from experiments.runs.folder import RunFolder
from experiments.runs.output import prepare_output

if TYPE_CHECKING:
    import pandas as pd

#: folder -> threads; runs in `stacked` are trained in one pass where they can be
WAYS = {"alone": 1, "two-threads": 2, "stacked": 1}
HEAD = ("quantity", "runs", "ways", "median spread", "largest spread")


class Spread(NamedTuple):
    """By how much one quantity differs between the ways in which the same runs were trained.

    Attributes:
        runs: measured in two ways or more.
        ways: the most there are of a run.
        median, largest: over runs, of the largest value less the smallest.
    """

    quantity: str
    runs: int
    ways: int
    median: float
    largest: float

    def row(self) -> tuple[str, ...]:
        """The numbers for a table headed by `HEAD`."""
        sizes = (f"{self.median:.4f}", f"{self.largest:.4f}")
        return (self.quantity, str(self.runs), str(self.ways), *sizes)


def train_all_ways(configs: list[RunConfig], out: Path, device: str = "cpu") -> Iterator[str]:
    """Trains every run in every way that lacks it, in a folder for each; yields a line for each.

    A call that was interrupted goes on where it stopped.
    """
    for way, threads in WAYS.items():
        prepare_output(out / way)
        for group in _groups(configs) if way == "stacked" else [[c] for c in configs]:
            folders = [RunFolder(out / way / config.run_id) for config in group]
            left = [f for f in folders if f.result() is None]
            if not left:
                continue
            by_path = {f.path: c for f, c in zip(folders, group, strict=True)}
            train_together({f.path: by_path[f.path] for f in left}, device, threads)
            yield f"{way}: {', '.join(f.run_id for f in left)}"


def spreads(places: Iterable[Path]) -> list[Spread]:
    """The spread of bits per parameter and of held-out accuracies.

    Args:
        places: folders or archives, each with runs trained in one way; the ids of runs say which
            are the same. Those of other machines and other versions of the code count as well.

    Raises:
        LoopscopeError: no run is in two places.
    """
    import pandas as pd

    read = [_measured(place) for place in places]
    rows = pd.concat(read) if read else pd.DataFrame(columns=["quantity", "run_id", "value"])
    found = rows.groupby(["quantity", "run_id"], sort=False)["value"].agg(["count", "max", "min"])
    found = found[found["count"] > 1]
    if found.empty:
        raise LoopscopeError(
            "no run is in two of these places; give folders or archives that hold the same runs, "
            "or a grid to train them all"
        )
    sizes = (found["max"] - found["min"]).groupby(level="quantity", sort=False)
    ways = found["count"].groupby(level="quantity").max()
    return [
        Spread(str(name), len(size), int(ways[name]), float(size.median()), float(size.max()))
        for name, size in sizes
    ]


def _groups(configs: list[RunConfig]) -> list[list[RunConfig]]:
    """Runs that can be trained in one pass, where there are two or more."""
    groups: dict[Any, list[RunConfig]] = {}
    for config in configs:
        if not reason_not_stackable(config):
            groups.setdefault(stack_key(config), []).append(config)
    return [group for group in groups.values() if len(group) > 1]


def _measured(place: Path) -> "pd.DataFrame":
    """run, quantity and value of what a way measured at the last loop.

    Bits are those of name and value where both are told apart, which all versions of the probes
    count alike.
    """
    runs = last_loop(load_runs(place)).drop_duplicates(
        ["run_id", "metric", "item", "split", "difficulty", "component"]
    )
    bits = runs[runs["metric"] == "bits_per_parameter"]
    parts = bits[bits["item"].isin(["name", "value"])]
    whole = bits[(bits["item"] == "total") & ~bits["run_id"].isin(parts["run_id"])]
    asked = (runs["metric"] == "accuracy") & (runs["item"] == "") & (runs["split"] == "test")
    chosen = runs[runs.index.isin([*parts.index, *whole.index]) | asked]
    texts = zip(*(chosen[c] for c in ("task", "component", "metric", "difficulty")), strict=True)
    chosen = chosen.assign(quantity=[_quantity(*each) for each in texts])
    return chosen.groupby(["run_id", "quantity"], sort=False)[["value"]].sum().reset_index()


def _quantity(task: str, component: str, metric: str, difficulty: Any) -> str:
    """`multihop, 2 hops: accuracy`."""
    hard = "" if metric != "accuracy" else difficulty_text(task, difficulty)
    where = ", ".join(filter(None, (task, component, hard)))
    return f"{where}: {metric.replace('_', ' ')}"
