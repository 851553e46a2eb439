"""Sizes that this machine cannot hold, found from the config before anything is built."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from experiments.config.memory import SMALLER_WORLD
from experiments.grid.located_yaml import Location
from experiments.machine import MEMORY_VARIABLE, largest_memory, machine_memory
from experiments.text import bytes_text
from generators.task import Task
from models.config import LoopedConfig

if TYPE_CHECKING:
    from experiments.config.run import RunConfig

#: bytes of a parameter in training: weight, gradient and two moments
TRAINED_PARAMETER = 16


def impossible_sizes(config: "RunConfig") -> Iterator[tuple[Location, str]]:
    """A location and a message for each part that alone needs more memory than there is.

    Each is a lower bound of what `config.memory` estimates. Nothing is built.
    """
    model, batch = config.model, config.training.batch
    device = largest_memory()
    if message := impossible_world(config.task):
        yield ("task",), message
    layer = 12 * model.width**2 if isinstance(model, LoopedConfig) else 0
    weights = TRAINED_PARAMETER * model.layers * layer
    if weights > device:
        yield ("model",), _message("training the layers of the model", weights, device)
    # one token a document: a state of `width` numbers after every application of a layer
    calls = config.max_loops * (1 if config.training.recompute else model.core)
    activations = 4 * batch * model.width * calls
    if activations > device:
        where = ("training", "batch") if batch >= calls else ("model",)
        yield where, _message(f"a batch of {batch:,} documents", activations, device)


def impossible_world(task: Task) -> str | None:
    """A message about a world that is larger than the memory, None where it is not."""
    world, host = task.world_bytes, machine_memory()
    what = f"the world of task {task.kind}"
    return _message(what, world, host, f"{SMALLER_WORLD}; ") if world > host else None


def _message(what: str, needed: int, there_is: int, way_out: str = "") -> str:
    return (
        f"{what} needs {bytes_text(needed)} of memory or more, and there are "
        f"{bytes_text(there_is)}; {way_out}for another machine say its memory in "
        f"{MEMORY_VARIABLE}, such as 512G"
    )
