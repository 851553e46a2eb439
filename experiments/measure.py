"""Probing a trained model: which probes, their files, and the rows they add to a result."""

import hashlib
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from experiments.config import RunConfig
from experiments.files import write_json
from experiments.plugins import choices
from experiments.store import RunFolder
from generators.task import Task
from probes.probe import Measurement, Probe, Subject

if TYPE_CHECKING:
    import torch

    from models.looped import LoopedTransformer


def chosen_probes(config: RunConfig, task: Task) -> tuple[Probe, ...]:
    """The probes a config names, or every default one that applies and needs no settings."""
    if config.observe.probes is not None:
        return config.observe.probes
    return tuple(
        cls()  # pyrefly: ignore
        for cls in choices(Probe, "probes").values()
        if issubclass(cls, Probe)
        and cls.by_default
        and not any(field.is_required() for field in cls.model_fields.values())
        and cls.applies(task)
    )


def subject_of(
    config: RunConfig, model: "LoopedTransformer", task: Task, device: "torch.device"
) -> Subject:
    return Subject(model, task, model.count_parameters(), config.seed, device)


def measure(subject: Subject, probes: tuple[Probe, ...]) -> list[Measurement]:
    """Measurements of all probes, in order; the model is put back as it was.

    Nothing here draws from a training stream, so measuring in between changes no weight. A
    probe that needs gradients turns them on itself.
    """
    import torch

    model = subject.model
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return [row for probe in probes for row in probe.measure(subject)]
    finally:
        model.train(was_training)


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
    write_json(folder.path / "probes" / f"{record['id']}.json", record)
    return record


def rows_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows a probe adds to result.json: its measurements with the probe's id."""
    return [{"probe": record["id"], **row} for row in record["measurements"]]


def merge_rows(result: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    """The result with the rows of `records` in place of earlier ones of the same kinds."""
    kinds = {record["id"].rpartition("-")[0] for record in records}
    kept = [r for r in result["measurements"] if r.get("probe", "").rpartition("-")[0] not in kinds]
    return {**result, "measurements": kept + [row for r in records for row in rows_of(r)]}
