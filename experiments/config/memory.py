"""How much memory a run needs, and whether this machine has it.

Estimates, from above rather than from below: documents count as long as the longest one.
"""

import operator
from functools import cache

from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError, wrap_plugin_error
from experiments.machine import MEMORY_VARIABLE, largest_memory
from experiments.text import bytes_text
from generators.task import Task
from models.config import LoopedConfig
from models.counts import count_parameters, keeps_probabilities
from models.model import ModelConfig

#: bytes of a worker that has imported torch and trains nothing yet
PROCESS = 500e6
#: float32 values per parameter: weight, gradient and two moments; three times more while a
#: checkpoint of weights and moments is copied, made a file in memory and read again
PER_PARAMETER = 4 + 3 * 3
#: the same of averaged weights: they, and three times more in a checkpoint
PER_AVERAGE = 1 + 3
#: values kept for the backward pass per token and application of a layer, in widths: inputs of
#: four norms, three projections, attention and its output, two sums; with norms of queries and
#: keys, residual scale or LayerScale their inputs and products too
PER_WIDTH = 12
#: the same in hidden widths of the MLP: its products before, in and after the non-linearity
PER_HIDDEN = 4
#: logits, their softmax and gradients
PER_LOGIT = 4
#: what to do about a world that does not fit
SMALLER_WORLD = "ask for a smaller world (fewer people, entities, sequences or symbols)"


def run_memory(config: RunConfig) -> int:
    """Bytes that a run needs at its peak, its world included.

    What a model from elsewhere keeps is measured on one that is built; the world alone, if it
    is large, where that fails, which what is asked of it next says better.
    """
    config = config.canonical()
    model = config.model
    vocabulary, longest, world = _sizes(type(config.task), config.task.model_dump_json())
    tokens = config.training.part * longest
    loops = config.max_loops
    losses = config.objective.losses_computed(loops)
    gate = config.objective.uses_gate
    copies = PER_PARAMETER + (PER_AVERAGE if config.training.ema else 0)
    if not isinstance(model, LoopedConfig):
        try:
            total = model.count_parameters(vocabulary, gate=gate)["total"]
            kept = model.kept_bytes(vocabulary, context=longest, n_loops=loops, gate=gate)
        except Exception:  # of its own code
            return world
        read = tokens * (vocabulary * losses * PER_LOGIT + loops * model.width)
        return round(PROCESS + world + config.training.part * kept + 4 * (copies * total + read))
    parameters = count_parameters(model, vocabulary, gate=gate)["total"]
    calls, kept = block_applications(model, loops, losses)
    more, again = config.objective.loops_run(loops), config.training.recompute
    calls += more * model.core
    if again:  # one loop at a time, and the states between loops
        calls = -(-calls // loops)
    if keeps_probabilities(longest, half=config.training.precision == "bf16"):
        kept += model.heads * longest
    activations = tokens * calls * kept
    states = config.training.part * kept_by_loops(model, vocabulary, longest, loops + more, again)
    logits = tokens * vocabulary * losses * PER_LOGIT
    values = copies * parameters + activations + states + logits
    return round(PROCESS + world + 4 * values)


def kept_by_loops(
    model: LoopedConfig, vocabulary: int, context: int, loops: int, recompute: bool
) -> int:
    """Values of a document that are kept beside those of blocks, see `LoopedConfig.kept_values`.

    Args:
        recompute: loops are computed again, so that between them only states are kept.
    """
    if not recompute:
        return model.kept_values(vocabulary, context, loops)
    last = model.kept_values(vocabulary, context, 2) - model.kept_values(vocabulary, context, 1)
    return last + (loops - 1) * context * model.carried


def block_applications(model: ModelConfig, n_loops: int, losses: int) -> tuple[int, int]:
    """Applications of a block in a forward pass, and values that each keeps for every token.

    Args:
        losses: times that the coda is applied.
    """
    if not isinstance(model, LoopedConfig):
        return model.core * n_loops, 2 * PER_WIDTH * model.width
    experts = model.experts_per_token if model.mlp == "moe" else 1
    calls = len(model.schedule(n_loops)) + model.coda * losses
    more = 2 * model.qk_norm + 2 * (model.residual_scale is not None)
    more += 4 * (model.layer_scale is not None)
    kept = (PER_WIDTH + more) * model.width + PER_HIDDEN * experts * model.hidden
    return calls, kept


def possible_memory(run_id: str, config: RunConfig) -> int:
    """Bytes that a run needs.

    Raises:
        LoopscopeError: more than this machine or its GPUs have.
    """
    needed, there_is = run_memory(config), largest_memory()
    if needed > there_is:
        world = config.task.world_bytes
        way_out = "lower training.batch, the width or the loops, or set training.recompute"
        if 2 * world > needed:
            way_out = f"{SMALLER_WORLD}, which takes {bytes_text(world)} of it"
        raise LoopscopeError(
            f"{run_id} needs about {bytes_text(needed)} of memory and there are "
            f"{bytes_text(there_is)}; {way_out}; for another machine say its memory in "
            f"{MEMORY_VARIABLE}, such as 512G"
        )
    return needed


@cache
def _sizes(task_class: type[Task], task_json: str) -> tuple[int, int, int]:
    """Words of a task's vocabulary, tokens of its longest document and bytes of its world.

    Raises:
        LoopscopeError: a task from a user's file tells none, or no whole number.
    """
    task = task_class.model_validate_json(task_json).bind(0)
    words, longest, world = (
        _whole(task, name) for name in ("vocabulary_size", "context_length", "world_bytes")
    )
    return words, longest, world


def _whole(task: Task, name: str) -> int:
    try:
        value = getattr(task, name)
    except Exception as error:
        raise wrap_plugin_error(f"task {task.kind}: its {name}", error) from error
    try:
        return operator.index(value)
    except TypeError as error:
        raise LoopscopeError(
            f"task {task.kind}: its {name} is {value!r}, and a whole number is needed"
        ) from error
