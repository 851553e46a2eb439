"""What a run takes over from the finished run that it starts from."""

from dataclasses import replace
from typing import Any

from experiments.config.goals import ends_of
from experiments.config.phases import Before
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.runs.checkpoint import read_checkpoint
from experiments.runs.folder import RunFolder
from experiments.training.growth import smaller
from experiments.training.trainer import Counters, Trainer


def take_over(trainer: Trainer, folder: RunFolder) -> None:
    """Takes over the final weights of the run that the config starts from, if it names one.

    Where the run is continued also its optimiser, and its place in the data.

    Raises:
        LoopscopeError: that run is not done, its weights are damaged, its model has another
            shape, or it cannot be continued in this way.
    """
    config, run_id = trainer.config, trainer.config.start
    if run_id is None:
        return
    other = RunFolder(folder.path.parent / run_id)
    if other.result() is None:
        raise LoopscopeError(
            f"start {run_id} {_lacking(other)} in {other.path.parent}; run its grid first, then "
            "this one with --retry-failed"
        )
    state = read_checkpoint(other)
    if trainer.spans[0].phase.growth is not None:
        trainer.adopt(smaller(trainer, other.config()))
    if not config.continued:
        trainer.start_from(state["model"], run_id)
        folder.log(f"takes over the weights of {run_id}")
        return
    _go_on(trainer, state, other.config())
    folder.log(f"goes on with {run_id} from step {trainer.before.steps}")


def _lacking(start: RunFolder) -> str:
    """The reason why another run cannot start from this one."""
    status = start.status() if start.state() == "failed" else None
    return f"failed ({status.reason}) and has no result" if status else "has no result"


def _go_on(trainer: Trainer, state: dict[str, Any], other: RunConfig) -> None:
    """Brings a run to where the other one ended, as if its own phases had followed there."""
    config, run_id = trainer.config, other.run_id
    for name, own, theirs in (
        ("task", config.task, other.task),
        ("seed", config.seed, other.seed),
    ):
        if own != theirs:
            raise LoopscopeError(
                f"start {run_id} has another {name}; a continued run shows the documents that "
                f"follow, so leave {name} as it is, or start from the weights alone (continued: "
                "false)"
            )
    earlier = Before.model_validate(state.get("before") or {})
    done = other.canonical().bind(ends_of(state.get("goals", ())), earlier)[1]
    trainer.follow([], Before.after(earlier, done))
    trainer.subject = replace(trainer.subject, task=trainer.task)
    trainer.start_from(state.get("last_weights", state["model"]), run_id)
    if trainer.average is not None:
        trainer.average.load_state_dict(state["model"])
    _take_optimiser(trainer, state["optimiser"], run_id)
    trainer.counters = replace(  # a run has times of its own
        Counters(**state["counters"]), train_seconds=0.0, evaluate_seconds=0.0, cpu_seconds=0.0
    )


def _take_optimiser(trainer: Trainer, theirs: dict[str, Any], run_id: str) -> None:
    """Moments and step counts; learning rates, decay and the like are those of this run."""
    own = trainer.optimiser.state_dict()

    def groups(state: dict[str, Any]) -> list[tuple[int, Any]]:
        return [(len(group["params"]), group.get("parts")) for group in state["param_groups"]]

    if groups(own) != groups(theirs):
        raise LoopscopeError(
            f"the optimiser of start {run_id} has other parameters than this run trains; a "
            "continued run needs its kind of optimiser and an objective that trains the same"
        )
    state = {"state": theirs["state"], "param_groups": own["param_groups"]}
    trainer.optimiser.load_state_dict(state)
