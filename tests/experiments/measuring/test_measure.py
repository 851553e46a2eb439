"""What a finished run says, gives back, and is measured again for."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import trained, weights
from training import STEPS, checkpointed, config

from experiments.errors import LoopscopeError
from experiments.measuring.load import load_model
from experiments.measuring.measure import measure
from experiments.measuring.remeasure import measure_again, measure_each
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import read_json
from generators.biod import BioD
from generators.mixture import Mixture
from generators.streams import Stream, generator
from generators.support.components import Component
from models.config import LoopedConfig
from probes.accuracy import Accuracy
from probes.capacity import Capacity
from probes.capacity_biod import CapacityBioD
from probes.lens import Lens
from probes.probe import Subject


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return trained(tmp_path_factory.mktemp("straight"), config())


# --- results and trained models


def test_a_result_says_what_was_trained_and_what_it_cost(straight: RunFolder) -> None:
    result = straight.result()
    assert result is not None
    run = config()
    told = {
        "run_id": run.run_id,
        "task": "multihop",
        "k": 1,
        "n_loops": 2,
        "layers": 1,
        "width": 16,
        "objective": "last_loop",
        "steps": STEPS,
        "documents": STEPS * 32,
        "exposures": None,
        "seed": 0,
        "lr": 4e-3,
        "accepted_drift": [],
    }
    assert {name: result[name] for name in told} == told
    parts = dict(result["parameters"])
    assert parts.pop("total") == sum(parts.values())
    timings = result["timings"]
    assert timings["wall_seconds"] == pytest.approx(
        timings["train_seconds"] + timings["evaluate_seconds"] + timings["probe_seconds"]
    )
    assert all(seconds >= 0 for seconds in timings.values())
    (file,) = (straight.path / "probes").iterdir()
    record = json.loads(file.read_text())
    assert file.stem == record["id"] and record["step"] == STEPS
    rows = [{"probe": record["id"], **row} for row in record["measurements"]]
    assert result["measurements"] == rows and len(rows) == 4


def test_a_trained_model_is_loaded_by_the_start_of_its_id(straight: RunFolder) -> None:
    model, task = load_model(straight.path.parent, straight.run_id[:-4])
    assert not model.training
    assert all(torch.equal(t, weights(straight)[name]) for name, t in model.state_dict().items())
    assert task.seed == 0 and task.kind == "multihop"
    with pytest.raises(LoopscopeError, match="no run bios"):
        load_model(straight.path.parent, "bios")


def test_measuring_again_replaces_rows_only_when_asked_to(tmp_path: Path) -> None:
    folder = trained(tmp_path, config())
    before = folder.result()
    assert before is not None
    assert measure_again(tmp_path) == [folder.run_id]
    assert folder.result() == before, "the same probes give the same rows"
    other = (Accuracy(items=8, splits=("test",)),)
    measure_again(tmp_path, [folder.run_id], other)
    assert folder.result() == before, "kept apart"
    measure_again(tmp_path, [folder.run_id], other, replace=True)
    after = folder.result()
    assert after is not None
    assert {row["split"] for row in after["measurements"]} == {"test"}
    assert after["timings"] == before["timings"]
    assert len(list((folder.path / "probes").iterdir())) == 2
    measure_again(tmp_path, [folder.run_id], other)
    assert folder.result() == after, "what is there already is renewed"
    measure_again(tmp_path)
    assert folder.result() == before, "the run's own come back"


def test_a_kind_that_a_result_lacks_enters_it_and_own_probes_leave_each_other(
    tmp_path: Path,
) -> None:
    own = (Accuracy(items=8, splits=("test",)), Accuracy(items=4, splits=("train",)))
    run = config()
    run = run.model_copy(update={"observe": run.observe.model_copy(update={"probes": own})})
    folder = trained(tmp_path, run)
    before = folder.result()
    assert before is not None
    measure_again(tmp_path, None, own[:1])

    def rows() -> list[dict]:
        return sorted((folder.result() or {})["measurements"], key=json.dumps)

    assert rows() == sorted(before["measurements"], key=json.dumps)
    (found,) = measure_each(tmp_path, None, (Lens(items=4),))
    assert (found.apart, found.dropped) == (frozenset(), frozenset())
    kinds = {row["probe"].rpartition("-")[0] for row in rows()}
    assert kinds == {"accuracy", "lens"} and len(rows()) > len(before["measurements"])


def test_measuring_again_needs_a_result(tmp_path: Path) -> None:
    folder = checkpointed(tmp_path, 3)
    assert measure_again(tmp_path) == []
    with pytest.raises(LoopscopeError, match="has no result yet"):
        measure_again(tmp_path, [folder.run_id])


def test_measuring_again_with_what_does_not_fit(tmp_path: Path) -> None:
    folder = trained(tmp_path, config())
    before = folder.result()
    assert measure_again(tmp_path, None, (Capacity(),)) == [], "capacity is for biographies"
    with pytest.raises(LoopscopeError, match="no difficulty 9"):
        measure_again(tmp_path, None, (Accuracy(difficulties=(9,)),))
    assert folder.result() == before


def test_status_is_readable_at_the_end(straight: RunFolder) -> None:
    status = read_json(straight.path / "status.json")
    assert status is not None
    assert (status["state"], status["step"], status["last_step"]) == ("done", STEPS, STEPS)


def test_parameters_of_a_mixture_are_counted_over_all_of_its_documents() -> None:
    """A component that is measured knows its own words alone; the model was trained on all."""
    parts = {"a": BioD(people=3, attributes=2), "b": BioD(people=4, attributes=5)}
    mixture = Mixture(components={k: Component(task=t) for k, t in parts.items()}).bind(0)
    config = LoopedConfig(width=8, heads=1)
    model = config.build(len(mixture.vocabulary), gate=False, seed=0)
    subject = Subject(model, mixture, model.count_parameters(), 0, torch.device("cpu"))
    rows = measure(subject, (CapacityBioD(people=3),))
    documents = mixture.sample(generator(0, Stream.TRAIN), 200)
    used = len(np.unique(documents.tokens)) - 1
    P = config.count_parameters(1 + used, gate=False)["total"]
    counted = [(r.component, r.value) for r in rows if r.metric == "counted_parameters"]
    assert counted == [("a", P), ("b", P)] and model.count_parameters()["total"] > P
