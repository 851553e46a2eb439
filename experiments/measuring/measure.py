"""Probing a trained model: which probes, their files, and the rows they add to a result."""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from experiments.config.run import RunConfig
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import write_json
from experiments.runs.schema_version import stamped
from generators.mixture import Mixture
from generators.plugins import choices
from generators.task import Task
from models.config import LoopedConfig
from probes.accuracy import Accuracy
from probes.probe import Measurement, Probe, Subject

if TYPE_CHECKING:
    import torch

    from models.interface import LoopedModel


def chosen_probes(config: RunConfig, task: Task) -> tuple[Probe, ...]:
    """The probes a config names, or every default one that applies and needs no settings."""
    if config.observe.probes is not None:
        return config.observe.probes
    return tuple(
        cls()  # pyrefly: ignore
        for cls in choices(Probe, "probes").values()
        if issubclass(cls, Probe)
        and cls.by_default
        and (isinstance(config.model, LoopedConfig) or not cls.looks_inside)
        and not any(field.is_required() for field in cls.model_fields.values())
        and any(map(cls.applies, task.parts.values()))
    )


def evaluation_probes(config: RunConfig, task: Task) -> tuple[Probe, ...]:
    """The probes of evaluations during training, none where there are none.

    Where a config names only their rhythm it is accuracy, of a task that asks questions.
    """
    observe = config.observe
    if observe.evaluate_every is None or observe.evaluate_with:
        return observe.evaluate_with
    return (Accuracy(),) if any(map(Accuracy.applies, task.parts.values())) else ()


def subject_of(
    config: RunConfig, model: "LoopedModel", task: Task, device: "torch.device"
) -> Subject:
    return Subject(model, task, model.count_parameters(), config.seed, device)


def measure(subject: Subject, probes: tuple[Probe, ...]) -> list[Measurement]:
    """Measurements of all probes, in order; the model is put back as it was.

    Nothing here draws from a training stream, so measuring in between changes no weight. A
    probe that needs gradients turns them on itself.
    """
    import torch

    from models.compiling import as_written

    model = subject.model
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), as_written(model):
            return [row for probe in probes for row in _rows(probe, subject)]
    finally:
        model.train(was_training)


def parts_for(probe: Probe, task: Task) -> dict[str, Task]:
    """The components of a mixture that a probe applies to; any other task is its only part.

    Raises:
        ValueError: it applies to none of them.
    """
    fitting = {n: part for n, part in task.parts.items() if n == "" or type(probe).applies(part)}
    if not fitting:
        names = ", ".join(task.parts)
        raise ValueError(f"probe {probe.kind} applies to none of the components {names}")
    return fitting


def _rows(probe: Probe, subject: Subject) -> Iterator[Measurement]:
    """Each component is measured as if alone, by the model seen through its own tokens."""
    mixture = subject.task
    if not isinstance(mixture, Mixture):
        yield from probe.measure(subject)
        return
    import torch

    from models.vocabularies import in_ids

    for name, part in parts_for(probe, mixture).items():
        ids = torch.from_numpy(mixture.ids(name)).long().to(subject.device)
        model = in_ids(subject.model, ids).eval()
        for row in probe.measure(replace(subject, model=model, task=part)):
            yield replace(row, component=name)


def probe_id(probe: Probe) -> str:
    """`<kind>-<hash8>` over the probe's fields and version: the name of its file."""
    identity = {**probe.model_dump(mode="json"), "kind": probe.kind, "version": probe.version}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return f"{probe.kind}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def record_probe(folder: RunFolder, probe: Probe, subject: Subject, step: int) -> dict[str, Any]:
    """Measures one probe and writes probes/<id>.json; its content."""
    start, cpu = time.perf_counter(), time.process_time()
    measurements = [asdict(m) for m in measure(subject, (probe,))]
    record = {
        "id": probe_id(probe),
        "probe": probe.model_dump(mode="json"),
        "version": probe.version,
        "run_id": folder.run_id,
        "step": step,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "measurements": measurements,
    }
    (folder.path / "probes").mkdir(exist_ok=True)
    write_json(folder.path / "probes" / f"{record['id']}.json", stamped(record))
    return record


def rows_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows a probe adds to result.json: its measurements with the probe's id."""
    return [{"probe": record["id"], **row} for row in record["measurements"]]
