"""Which runs of a queue one worker trains together."""

from collections.abc import Callable, Hashable, Iterable

from experiments.config.costs import shape_of_batch
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.runs.folder import RunFolder
from models.config import LoopedConfig
from models.objectives.objective import PositionwiseObjective

#: runs in one stack on a GPU, unless told otherwise
ON_GPU = 16
#: runs in one stack on a CPU, and the numbers in the residual stream of a step beyond which
#: stacking does not pay there: a cache then holds those of one run, but not of several
ON_CPU, SMALL = 8, 40_000
#: what may differ between runs of one stack, besides what hangs on the seed
RATES = ("lr", "muon_lr", "weight_decay")


def reason_not_stackable(config: RunConfig) -> str:
    """Why a run cannot be stacked with others; empty if it can."""
    model, objective = config.model, config.objective
    if not isinstance(model, LoopedConfig):
        return f"model {model.kind} is not one of loopscope's own"
    if model.mlp == "moe":
        return "a mixture of experts sends the tokens of every run elsewhere"
    if why := model.refuses.get("stack"):
        return f"model {model.kind}: {why}"
    if model.draws_noise:
        return "every run draws its own noise"
    if not isinstance(objective, PositionwiseObjective):
        return f"objective {objective.kind} does not say what each position loses"
    if config.continued:
        return "a continued run begins at the step at which another one ended"
    if any(phase.draw for phase in config.training.phases):
        return "every run draws its own numbers of loops"
    if any(phase.until_accuracy for phase in config.training.phases):
        return "phases with until_accuracy end at another step in every run"
    return ""


def stack_key(config: RunConfig) -> Hashable:
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
    task, training = config.task, config.training
    shape = shape_of_batch(type(task), task.model_dump_json(), training.batch)
    return training.batch * shape.context * config.model.width <= SMALL


class Stacker:
    """Which runs of a queue are worked on together.

    Args:
        wanted: most runs in a stack; `auto`: as many as pay; None: `auto` on a GPU, 1 on a CPU.
        slots: stacks worked on at the same time, over which runs are spread.
        notify: given a sentence for runs that cannot be stacked though it was asked for.
    """

    def __init__(self, wanted: int | str | None, slots: int, notify: Callable[[str], None]) -> None:
        self.wanted, self.slots, self.notify = wanted, slots, notify
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
        known = self._known_key(folder)
        if known is None:
            return []
        (config, key), most = known, self.wanted
        if not isinstance(most, int):
            most = (ON_CPU if pays_on_cpu(config) else 1) if on_cpu else ON_GPU
        others = [other for other in queue if other != folder and self._is(other, key)]
        even = -(-(len(others) + 1) // self.slots)
        return others[: min(most, even) - 1]

    def part(self, folders: Iterable[RunFolder]) -> None:
        """From now on each of these by itself."""
        self._apart.update(folders)

    def _is(self, folder: RunFolder, key: Hashable) -> bool:
        known = self._known_key(folder)
        return known is not None and known[1] == key

    def _known_key(self, folder: RunFolder) -> tuple[RunConfig, Hashable] | None:
        """None where a run is not to be stacked."""
        if folder in self._apart:
            return None
        if folder not in self._known:
            config = self._read(folder)
            self._known[folder] = None if config is None else (config, stack_key(config))
        return self._known[folder]

    def _read(self, folder: RunFolder) -> RunConfig | None:
        try:
            config = folder.config()
        except LoopscopeError:  # which its worker will say
            return None
        why = reason_not_stackable(config)
        if why and self.wanted is not None and why not in self._told:
            self._told.add(why)
            self.notify(f"not stacked: {why}")
        return None if why else config
