"""Measuring several ways to do the same work in turns, and the record of such a measurement.

All ways take one turn in every round, so that a change of the machine's load falls on all of them
alike; callers compare medians over rounds.
"""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Way = TypeVar("Way", bound=Hashable)
Result = TypeVar("Result")

#: rounds that do not count, since they compile and fill caches, and the fewest that do
WARM, FEWEST = 2, 5


class Clock:
    """Process time on a CPU; on a GPU wall time, once it has nothing left to do."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"

    def __call__(self) -> float:
        if not self.cuda:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def seconds(self, work: Callable[[], Any]) -> float:
        """The time that one call takes."""
        start = self()
        work()
        return self() - start


def in_turns(
    ways: Mapping[Way, Callable[[], Result]],
    seconds: float,
    *,
    warm: int = WARM,
    fewest: int = FEWEST,
) -> dict[Way, list[Result]]:
    """The results of each way in the rounds that count.

    Args:
        seconds: wall time of the rounds that count, at least.
        warm: rounds before those.
        fewest: rounds that count, at least.
    """
    found: dict[Way, list[Result]] = {way: [] for way in ways}
    until, rounds = 0.0, -warm
    while rounds < fewest or time.perf_counter() < until:
        if rounds == 0:
            until = time.perf_counter() + seconds
        for way, take_turn in ways.items():
            found[way].append(take_turn())
        rounds += 1
    return {way: results[warm:] for way, results in found.items()}


def as_json(shapes: "Sequence[DataclassInstance]", device: str, **more: Any) -> dict[str, Any]:
    """The content of a file: the machine, the versions and every number."""
    from experiments.machine import device_name
    from experiments.runs.schema_version import stamped

    return stamped(
        {
            "device": device_name(device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "shapes": [asdict(shape) for shape in shapes],
            **more,
        }
    )
