"""Training one run: a visible loop that can stop anywhere and go on bit for bit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from experiments.config.chosen_probes import chosen_probes
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.measuring.measure import probe_code, record_probe, rows_of
from experiments.runs.checkpoint import load_checkpoint
from experiments.runs.folder import RunFolder
from experiments.runs.integrity import sealing
from experiments.runs.provenance import (
    drift_message,
    drift_of,
    environment,
    own_code,
    plugin_files,
)
from experiments.runs.repair import cut_metrics, lost_lines, lost_text
from experiments.training.growth import grow_if_due
from experiments.training.recorder import Clock, Recorder, process_clock
from experiments.training.starting import take_over
from experiments.training.steps import Steps, run_to_end
from experiments.training.trainer import Trainer
from generators.task import Task


def train(
    config: RunConfig,
    folder: RunFolder,
    *,
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
    allow_drift: bool = False,
    notify: Callable[[str], None] = lambda message: None,
) -> bool:
    """Trains a run to its end, from its checkpoint where there is one, and measures it.

    Args:
        stop: asked after every step and every probe; once true, a checkpoint is written.
        allow_drift: go on although code or libraries changed since the run began.
        notify: given a sentence for every file that was damaged.

    Returns:
        Whether the run is done; False if it was stopped and can be resumed.

    Raises:
        Diverged: the loss or the weights are no longer finite; there is no result.
        LoopscopeError: no such device, or the run began with other code or libraries.
    """
    with started(config, folder, device, allow_drift, notify) as recorder:
        return run_to_end(proceed(recorder, stop))


@contextmanager
def started(
    config: RunConfig,
    folder: RunFolder,
    device: str,
    allow_drift: bool,
    notify: Callable[[str], None],
    clock: Clock = process_clock,
) -> Iterator[Recorder]:
    """A run that is ready to proceed; nothing of it is being written afterwards. See `train`.

    Args:
        clock: measures its time, of which several runs of one process have a part each.
    """
    configure(device)
    damaged = folder.freeze(config)
    trainer = Trainer(config, device)
    damaged += begin(trainer, folder, allow_drift)
    for message in damaged:
        notify(message)
    recorder = Recorder(trainer, folder, clock)
    recorder.report()
    try:
        yield recorder
    finally:
        recorder.saver.settle()


def proceed(recorder: Recorder, stop: Callable[[], bool]) -> Steps[bool]:
    """Trains from where the trainer is to the end; False if stopped in between."""
    trainer = recorder.trainer
    while (step := trainer.counters.step) < trainer.last_step:
        span = trainer.span_of(step)
        if step == span.first_step:
            recorder.grown(grow_if_due(trainer, span))
        loss = (yield trainer, span) or trainer.step(span)
        recorder.look(span)
        recorder.observe(loss, span)
        if stop():
            recorder.checkpoint()
            recorder.report(state="stopped")
            return False
    return finish(recorder, stop)


def configure(device: str) -> None:
    """One thread, and the same numbers again on the same device.

    Raises:
        LoopscopeError: CUDA is asked for and there is none.
    """
    torch.set_num_threads(1)
    if not device.startswith("cuda"):
        return
    if not torch.cuda.is_available():
        raise LoopscopeError(f"device {device} was asked for, but torch finds no CUDA device")
    torch.use_deterministic_algorithms(True, warn_only=True)


def begin(trainer: Trainer, folder: RunFolder, allow_drift: bool) -> list[str]:
    """Goes back to the checkpoint, or makes the folder that of a fresh run; what was damaged."""
    state, damaged = load_checkpoint(folder)
    now = environment(trainer.config, str(trainer.device))
    if state is None:
        for name, path in plugin_files(trainer.config).items():
            folder.keep_source(name, path)
        folder.write_environment(now)
        damaged += cut_metrics(folder, 0)
        take_over(trainer, folder)
        folder.log(f"starts on {trainer.device}")
        return damaged
    trainer.restore(state)
    if state["step"] < trainer.last_step and (changes := drift_of(folder, now)):
        if not allow_drift:
            raise LoopscopeError(drift_message({folder.run_id: changes}))
        folder.log("goes on although " + "; ".join(changes))
        accepted = (folder.environment() or {}).get("accepted_drift", [])
        folder.write_environment(now | {"accepted_drift": accepted + changes})
    damaged += cut_metrics(folder, state["step"])
    if lost := lost_of(trainer, folder):
        damaged.append(lost_text(folder.run_id, lost))
        folder.log(damaged[-1])
    folder.log(f"resumes at step {state['step']} on {trainer.device}")
    return damaged


def lost_of(trainer: Trainer, folder: RunFolder) -> list[int]:
    """Steps done whose line of metrics.jsonl is lost."""
    step, first = trainer.counters.step, trainer.before.steps
    return lost_lines(folder, trainer.config.observe, step, trainer.last_step, first)


def finish(recorder: Recorder, stop: Callable[[], bool]) -> bool:
    """Probes the trained model and writes result.json last; False if stopped in between."""
    trainer, folder = recorder.trainer, recorder.folder
    recorder.report(doing="measuring")
    records = []
    for probe in chosen_probes(trainer.config, trainer.task):
        records.append(record_probe(folder, probe, trainer.subject, trainer.last_step))
        if stop():
            recorder.report(state="stopped")
            return False
    folder.write_result(result_of(trainer, folder, records))
    recorder.report(state="done")
    folder.previous_checkpoint_path.unlink(missing_ok=True)
    folder.log("done")
    return True


def shown_of(task: Task, documents: int) -> dict[str, dict[str, float | None]]:
    """Part -> how many of the first training documents are of it, and how often it came in them."""
    found = {}
    for name, n in task.documents_by_part(documents).items():
        per_exposure = task.parts[name].items_per_exposure
        exposures = n / per_exposure if per_exposure else None
        found[name] = {"documents": n, "exposures": exposures}
    return found


def result_of(trainer: Trainer, folder: RunFolder, records: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of result.json: what was trained, what it cost, what was measured."""
    config, counters = trainer.config, trainer.counters
    shown = shown_of(trainer.task, counters.documents)
    counted = trainer.task.counted
    lost = lost_of(trainer, folder)
    active = config.model.count_parameters(
        trainer.vocabulary_size, gate=config.objective.uses_gate, active=True
    )
    probe_seconds = sum(r["seconds"] for r in records)
    return {
        "run_id": folder.run_id,
        "status": "done",
        "task": config.task.kind,
        "k": config.model.core,
        "n_loops": config.model.loops,
        "layers": config.model.layers,
        "width": config.model.width,
        "label": config.model.label,
        "objective": config.objective.kind,
        "parameters": trainer.subject.parameters,
        "active_parameters": active["total"],
        "vocabulary": trainer.vocabulary_size,
        "train_flops": counters.train_flops,
        "executed_flops": counters.executed_flops,
        "tokens": counters.tokens,
        "documents": counters.documents,
        "exposures": None if counted is None else shown[counted]["exposures"],
        **({} if "" in shown else {"components": shown, "counted": counted}),
        "steps": counters.step,
        "seed": config.seed,
        "lr": config.training.lr,
        "precision": config.training.precision,
        **({"growth": trainer.growths} if trainer.growths else {}),
        **({"goals": trainer.goals} if trainer.goals else {}),
        **({"continued_from": trainer.before.steps} if config.continued else {}),
        **({"lost_metrics": lost} if lost else {}),
        "accepted_drift": (folder.environment() or {}).get("accepted_drift", []),
        **sealing(folder, config),
        **({"own_code": own} if (own := own_code(config)) else {}),
        **({"probe_code": of_probes} if (of_probes := probe_code(records)) else {}),
        "timings": {
            "wall_seconds": counters.train_seconds + counters.evaluate_seconds + probe_seconds,
            "cpu_seconds": counters.cpu_seconds + sum(r["cpu_seconds"] for r in records),
            "train_seconds": counters.train_seconds,
            "evaluate_seconds": counters.evaluate_seconds,
            "probe_seconds": probe_seconds,
            "tokens_per_second": counters.tokens / max(counters.train_seconds, 1e-9),
        },
        "measurements": [row for record in records for row in rows_of(record)],
    }
