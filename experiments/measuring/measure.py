"""Probing a trained model: which probes, their files, and the rows they add to a result."""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from experiments.config.chosen_probes import parts_for
from experiments.config.run import RunConfig
from experiments.runs.folder import RunFolder
from experiments.runs.provenance import code_in, files_of
from experiments.runs.record_checks import Code
from generators.mixture import Mixture
from generators.task import Task
from probes.probe import Measurement, Probe, Subject

if TYPE_CHECKING:
    import torch

    from models.interface import LoopedModel


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

    from models.fast.compiling import as_written

    model = subject.model
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), as_written(model):
            return [row for probe in probes for row in _rows(probe, subject)]
    finally:
        model.train(was_training)


def _rows(probe: Probe, subject: Subject) -> Iterator[Measurement]:
    """Each component is measured as if alone."""
    if not isinstance(subject.task, Mixture):
        yield from probe.measure(subject)
        return
    for name, part in seen_parts(subject, parts_for(probe, subject.task)):
        for row in probe.measure(part):
            yield replace(row, component=name)


def seen_parts(subject: Subject, parts: dict[str, Task]) -> Iterator[tuple[str, Subject]]:
    """Yields (name, subject) for parts of its task, the model seen through a part's own tokens.

    Any task but a mixture is its only part, and the subject stays as it is.
    """
    mixture = subject.task
    if not isinstance(mixture, Mixture):
        yield "", subject
        return
    import torch

    from models.conversion.vocabularies import in_ids

    for name, part in parts.items():
        ids = torch.from_numpy(mixture.ids(name)).long().to(subject.device)
        model = in_ids(subject.model, ids).eval()
        yield name, replace(subject, model=model, task=part, trained=mixture)


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
        **({"own_code": own} if (own := code_in(files_of((probe,)))) else {}),
        "measurements": measurements,
    }
    folder.write_probe(record)
    return record


def probe_code(records: Iterable[dict[str, Any]]) -> dict[str, Code]:
    """Id of each probe that comes from a file of its own -> the code there."""
    return {record["id"]: record["own_code"] for record in records if "own_code" in record}


def rows_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows a probe adds to result.json: its measurements with the probe's id."""
    return [{"probe": record["id"], **row} for row in record["measurements"]]
