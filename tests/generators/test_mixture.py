"""Mixtures: shares and exposures are exact, and components are measured as if alone."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from experiments.config.phases import PhaseError, spans
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.export.dataset import export_dataset
from experiments.export.documents import describe_task
from experiments.grid.grid import load_grid
from experiments.measuring.measure import measure, subject_of
from experiments.results.long_table import load_runs
from experiments.runs.folder import RunFolder
from experiments.training.train import train
from experiments.training.trainer import Trainer
from generators.biographies import Biographies
from generators.extraction import Extraction
from generators.mixture import Component, Mixture
from generators.multihop import MultiHop
from generators.streams import Stream, generator
from generators.task import Batch
from models.config import LoopedConfig
from models.conversion.vocabularies import in_ids
from probes.accuracy import Accuracy
from probes.capacity import Capacity

SHARES = st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any)
USEFUL = {"kind": "bios", "people": 12}
JUNK = {"kind": "bios", "people": 50, "apart_from": 12}


def junk(**useful: Any) -> Mixture:
    components = {"useful": {"task": USEFUL, **useful}, "junk": {"task": JUNK, "weight": 3}}
    return Mixture.model_validate({"components": components, "exposures_of": "useful"})


def both() -> Mixture:
    hops = MultiHop(entities=6, relations=4, hops=2, hold_out="questions")
    people = Component(task=Biographies(people=10), weight=2)
    return Mixture(components={"people": people, "hops": Component(task=hops)})


def run_of(task: Any, phases: list[dict], **fields: Any) -> RunConfig:
    training = {"batch": 8, "lr": 1e-2, "phases": phases}
    model = {"width": 16, "heads": 2}
    return RunConfig.model_validate({"task": task, "model": model, "training": training} | fields)


def documents(batch: Batch, rows: np.ndarray | None = None) -> list[list[int]]:
    tokens = batch.tokens if rows is None else batch.tokens[rows]
    return [[int(t) for t in row if t] for row in tokens]


def test_a_mixture_of_one_is_that_task() -> None:
    for task in (Biographies(people=9, versions=2), MultiHop(hops=2), Extraction()):
        alone = task.bind(3)
        mixture = Mixture(components={"only": Component(task=task)}).bind(3)
        for step, index in ((0, 0), (5, 37)):
            rng = generator(3, Stream.TRAIN, step)
            wanted = alone.sample(rng, 16, index=index)
            found = mixture.sample(generator(3, Stream.TRAIN, step), 16, index=index)
            text = [mixture.vocabulary.decode(row) for row in found.tokens]
            assert text == [alone.vocabulary.decode(row) for row in wanted.tokens]
            assert np.array_equal(found.loss_mask, wanted.loss_mask)
            assert all(np.array_equal(found.spans[s], wanted.spans[s]) for s in wanted.spans)
            assert set(found.latents) == {*wanted.latents, "component"}


def test_the_order_of_components_makes_no_difference() -> None:
    task = both()
    turned = Mixture(components=dict(reversed(task.components.items())))
    phases = [{"until_step": 2}]
    assert run_of(task, phases).run_id == run_of(turned, phases).run_id
    assert turned.vocabulary == task.vocabulary


def test_every_component_shows_everybody_once_in_each_of_its_epochs() -> None:
    task = junk().bind(1)
    shown: dict[int, list[int]] = {0: [], 1: []}
    for step, index in enumerate(range(0, 480, 32)):
        batch = task.sample(generator(1, Stream.TRAIN, step), 32, index=index)
        for component, person in zip(
            batch.latents["component"], batch.latents["person"], strict=True
        ):
            shown[component].append(int(person))
    assert (len(shown[0]), len(shown[1])) == (360, 120)
    for component, people in ((0, 50), (1, 12)):
        epochs = [shown[component][i : i + people] for i in range(0, 350, people)]
        whole = [epoch for epoch in epochs if len(epoch) == people]
        assert len(whole) >= 7
        assert all(sorted(epoch) == list(range(people)) for epoch in whole)
        assert len({tuple(epoch) for epoch in whole}) == len(whole)


def test_junk_people_are_nobody_useful() -> None:
    parts = junk().bind(4).parts
    names = {}
    for name, task in parts.items():
        assert isinstance(task, Biographies)
        names[name] = {tuple(row) for row in task.world.names.tolist()}
    assert not names["useful"] & names["junk"]
    together = Mixture.model_validate(
        {"components": {n: {"task": {"kind": "bios", "people": 20}} for n in ("a", "b")}}
    ).bind(4)
    a, b = (t.world.names for t in together.parts.values() if isinstance(t, Biographies))
    assert np.array_equal(a, b)  # the control: without apart_from it is one world


def test_the_world_seed_is_shared() -> None:
    task = both().model_copy(update={"world_seed": 7}).bind(0)
    people, hops = task.parts["people"], task.parts["hops"]
    assert isinstance(people, Biographies) and isinstance(hops, MultiHop)
    assert np.array_equal(hops.table, MultiHop(entities=6, relations=4).bind(7).table)
    assert np.array_equal(people.world.names, Biographies(people=10).bind(7).world.names)


def test_the_domain_token_begins_the_documents_of_its_component_alone() -> None:
    task = junk(domain_token=True).bind(0)
    batch = task.sample(generator(0, Stream.TRAIN), 40, index=0)
    useful = batch.latents["component"] == list(task.parts).index("useful")
    v = task.vocabulary
    assert set(batch.tokens[useful, 0]) == {v.id("<useful>")}
    assert set(batch.tokens[~useful, 0]) == {v.id("<bos>")}
    assert not (batch.tokens[:, 1:] == v.id("<useful>")).any() and not batch.loss_mask[:, 0].any()
    without = junk().bind(0).sample(generator(0, Stream.TRAIN), 40, index=0)
    text = [v.decode(row[1:]) for row in batch.tokens]
    assert text == [junk().vocabulary.decode(row[1:]) for row in without.tokens]


def test_a_shared_token_is_one_token() -> None:
    task = Mixture.model_validate(
        {"components": {"a": {"task": USEFUL}, "b": {"task": {"kind": "biod", "people": 9}}}}
    )
    tokens = task.vocabulary.tokens
    each = [set(part.vocabulary.tokens) for part in task.parts.values()]
    assert set(tokens) == each[0] | each[1] and len(tokens) == len(set(tokens))
    assert "<bos>" in each[0] & each[1]
    for name, part in task.parts.items():
        ids = task.ids(name)
        assert sorted(ids) == list(range(len(tokens)))
        assert [tokens[i] for i in ids[: len(part.vocabulary)]] == list(part.vocabulary.tokens)


def test_phases_change_the_shares_at_their_document() -> None:
    phases = [
        {"until_step": 10, "weights": {"junk": 1}},
        {"until_step": 20, "weights": {"junk": 1, "useful": 1}},
        {"until_step": 30},
    ]
    task = run_of(junk(), phases).bound_task()
    per_step = [task.documents_by_part(8 * step)["useful"] for step in range(31)]
    assert np.diff(per_step).tolist() == [0] * 10 + [4] * 10 + [2] * 10
    batch = task.sample(generator(0, Stream.TRAIN), 16, index=72)  # half before, half after
    assert batch.latents["component"].tolist() == [0] * 12 + [1] * 4


def test_a_phase_until_exposures_ends_with_the_counted_component() -> None:
    phases = [
        {"until_exposure": 2, "weights": {"useful": 1, "junk": 5}},
        {"until_exposure": 5, "weights": {"useful": 2, "junk": 1}},
    ]
    run = run_of(junk(), phases)
    task = run.bound_task()
    first, second = spans(run.training, task)
    assert spans(run.training, run.task) == (first, second)
    for span, exposures in ((first, 2), (second, 5)):
        assert task.documents_by_part(span.last_document)["useful"] == 12 * exposures
        assert task.documents_by_part(span.last_document - 1)["useful"] == 12 * exposures - 1


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"components": {"a": {"task": USEFUL, "weight": -1}}}, "greater than or equal to 0"),
        ({"components": {"a": {"task": USEFUL, "weight": 0}}}, "all weights of a are 0"),
        ({"components": {}}, "at least 1 item"),
        ({"components": {"a": {"task": {"kind": "mixture"}}}}, "mixture cannot stand here"),
        ({"components": {"a": {"task": Mixture()}}}, "name its components here"),
        ({"components": {"a": {"task": {"kind": "bio"}}}}, "did you mean 'bios'"),
        ({"components": {"A b": {"task": USEFUL}}}, "should match pattern"),
        (
            {"components": {"a": {"task": {"kind": "multihop"}, "domain_token": True}}},
            "do not begin with <bos>",
        ),
        ({"components": {"bos": {"task": USEFUL, "domain_token": True}}}, "another name"),
        ({"components": {"a": {"task": USEFUL}}, "exposures_of": "b"}, "no component with"),
    ],
)
def test_impossible_mixtures(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Mixture.model_validate(fields)


@pytest.mark.parametrize(
    ("task", "phase", "where", "says"),
    [
        (junk(), {"until_step": 5, "weights": {"usefull": 1}}, "weights", "did you mean 'useful'"),
        (junk(), {"until_step": 5, "weights": {"junk": 0}}, "weights", "not all 0"),
        (junk(), {"until_step": 5, "weights": {"junk": -1}}, "weights", "0 or more"),
        (junk(), {"until_exposure": 5, "weights": {"junk": 1}}, "until_exposure", "has weight 0"),
        (
            junk().model_copy(update={"exposures_of": None}),
            {"until_exposure": 5},
            "until_exposure",
            "task.exposures_of",
        ),
        (
            Mixture(components={"a": Component(task=MultiHop())}),
            {"until_exposure": 5},
            "until_exposure",
            "no component has exposures",
        ),
        (MultiHop(), {"until_step": 5, "weights": {"4": 1}}, "weights", "it has 1, 2, 3"),
        (Biographies(), {"until_step": 5, "weights": {"a": 1}}, "weights", "no components"),
    ],
)
def test_impossible_phases_of_mixtures(task: Any, phase: dict, where: str, says: str) -> None:
    run = run_of(task, [phase])
    with pytest.raises(PhaseError, match=says) as caught:
        spans(run.training, run.task)
    assert caught.value.location == ("training", "phases", "0", where)


def test_a_mistake_in_a_grid_is_located(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(
        "baseline:\n"
        "  task:\n"
        "    kind: mixture\n"
        "    components:\n"
        "      a: {task: {kind: bios, peopl: 3}}\n"
        "  model: {kind: looped, width: 16}\n"
        "  training: {phases: [{until_step: 3, weights: {b: 1}}]}\n"
    )
    with pytest.raises(LoopscopeError, match=r"g.yaml:5:\d+: .*peopl: unknown key .*'people'"):
        load_grid(path)
    path.write_text(path.read_text().replace("peopl:", "people:"))
    with pytest.raises(LoopscopeError, match=r"g.yaml:7:\d+: .*weights: .*it has a"):
        load_grid(path)


def trained(run: RunConfig, folder: Path, stop_at: int | None = None) -> RunFolder:
    found = RunFolder(folder / run.run_id)
    count = iter(range(1, 1000))
    stop = (lambda: next(count) == stop_at) if stop_at else (lambda: False)
    assert train(run, found, stop=stop) == (stop_at is None)
    return found


def test_a_run_goes_on_in_the_middle_of_a_phase_and_counts_every_component(tmp_path: Path) -> None:
    phases = [{"until_step": 3, "weights": {"junk": 1}}, {"until_exposure": 3}]
    run = run_of(junk(domain_token=True), phases, observe={"probes": [{"kind": "capacity"}]})
    straight = trained(run, tmp_path / "a")
    trained(run, tmp_path / "b", stop_at=7)
    again = trained(run, tmp_path / "b")
    states = [torch.load(f.checkpoint_path, weights_only=True)["model"] for f in (straight, again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    result = straight.result()
    assert result is not None and result["measurements"] == (again.result() or {})["measurements"]
    assert result["counted"] == "useful" and result["exposures"] == 3
    assert result["components"]["useful"] == {"documents": 36, "exposures": 3}
    n = result["documents"] - 36
    assert result["components"]["junk"] == {"documents": n, "exposures": n / 50}
    rows = load_runs(tmp_path / "a")
    shown = rows.groupby("component")["exposures"].unique().to_dict()
    assert shown["useful"] == [3] and shown["junk"] == [n / 50]


def test_components_are_measured_as_if_alone_by_the_same_model() -> None:
    task = both().bind(2)
    run = run_of(both(), [{"until_step": 60}], seed=2)
    trainer = Trainer(run, "cpu")
    for _ in range(60):
        trainer.step(trainer.spans[0])
    probes = (Accuracy(items=40), Capacity())
    rows = measure(trainer.subject, probes)
    assert {row.component for row in rows} == {"hops", "people"}
    own: dict[str, list] = {"hops": [], "people": []}
    for name, probe in zip(own, probes, strict=True):
        # independently: permuted weights, put together by hand
        ids = torch.from_numpy(task.ids(name)).long()
        model = run.build_model(task)
        state = {k: v.clone() for k, v in trainer.model.state_dict().items()}
        for weight in ("embedding.weight", "head.weight"):
            state[weight] = torch.stack([state[weight][int(i)] for i in ids])
        model.load_state_dict(state)
        subject = subject_of(run, model, task.parts[name], torch.device("cpu"))
        own[name] = [replace(row, component=name) for row in measure(subject, (probe,))]
    # what is counted as parameters are the words of the whole mixture, not of the component
    words = {r.value for r in rows if r.metric == "counted_parameters"}
    assert len(words) == 1 and max(words) < run.build_model(task).count_parameters()["total"]
    (few,) = (r.value for r in own["people"] if r.metric == "counted_parameters")
    assert few < max(words)
    for name, alone in own.items():
        mixed = [row for row in rows if row.component == name]
        assert [row.metric for row in mixed] == [row.metric for row in alone]
        for row, like in zip(mixed, alone, strict=True):
            if row.metric in ("bits_per_parameter", "capacity_ratio"):
                scale = few / max(words) if row.metric == "bits_per_parameter" else 1
                assert row.value == pytest.approx(like.value * scale)
            elif row.metric != "counted_parameters":
                assert row == like
    train = [row.value for row in rows if row.split == "train" and row.metric == "accuracy"]
    assert min(train) > 0.3  # the control: the ids are those that were trained


def test_other_ids_read_the_same_probabilities() -> None:
    model = LoopedConfig(width=16, heads=2, loops=2).build(11, gate=False, seed=0).eval()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    ids = torch.cat([torch.zeros(1, dtype=torch.long), 1 + order])
    tokens = torch.randint(1, 11, (3, 5), generator=torch.Generator().manual_seed(1))
    found = in_ids(model, ids)(tokens).logits(2)
    torch.testing.assert_close(found, model(ids[tokens]).logits(2)[..., ids])
    assert not torch.allclose(found, model(tokens).logits(2), atol=1e-3)
    for wrong in (ids[1:], torch.zeros(11, dtype=torch.long)):
        with pytest.raises(ValueError, match="once"):
            in_ids(model, wrong)


def test_answers_are_judged_by_their_component() -> None:
    hops = {
        n: {"task": {"kind": "multihop", "hops": 2, "world_seed": i}} for i, n in enumerate("ab")
    }
    task = Mixture.model_validate({"components": hops}).bind(0)
    batch = task.sample(generator(0, Stream.EVALUATION), 30, split="test")
    start = batch.spans["answer"][:, 0]
    answers = batch.tokens[np.arange(30), start][:, None]
    assert task.is_correct(batch, answers).all()
    assert not task.is_correct(batch, np.where(answers > 5, answers - 1, answers + 1)).any()
    assert task.floors()["a.chance"] == 1 / 32 and "b.relations" in task.floors()
    parts = [part.information_bits() for part in task.parts.values()]
    assert task.information_bits() == sum(bits or 0 for bits in parts)


def test_samples_and_exports(tmp_path: Path) -> None:
    text = describe_task("mixture", both().bind(0), n=4, split="train", difficulty=None)
    assert "component" in text and "bits about the world" in text
    with pytest.raises(LoopscopeError, match="no difficulty 2"):
        describe_task("mixture", both().bind(0), n=4, split="train", difficulty=2)
    data, card = export_dataset(junk().bind(0), tmp_path / "d.parquet", n=40)
    import pyarrow.parquet as parquet

    latents = parquet.read_table(data)["latents"].to_pylist()
    assert [row["component"] for row in latents].count(1) == 10
    assert "2404.05405" in card.read_text()


#: raise `Mixture.version` when this changes (numpy 2.x)
GOLDEN = "d6b54596f883fd40"


def test_the_bytes_of_a_mixture_are_pinned() -> None:
    """With a domain token, in the middle of an epoch, across a change of weights."""
    phases = [{"until_step": 10, "weights": {"junk": 2, "useful": 5}}, {"until_step": 20}]
    digest = sha256()
    for task in (run_of(junk(domain_token=True), phases, seed=11).bound_task(), both().bind(11)):
        for step, index in ((2, 30), (9, 72), (15, 120)):
            batch = task.sample(generator(11, Stream.TRAIN, step), 17, index=index)
            digest.update(batch.tokens.tobytes() + batch.loss_mask.tobytes())
            for name in sorted(batch.spans):
                digest.update(batch.spans[name].tobytes())
            digest.update(batch.latents["component"].tobytes())
        digest.update("|".join(task.vocabulary.tokens).encode())
    assert digest.hexdigest()[:16] == GOLDEN
    assert Mixture.version == 1


def test_held_out_questions_come_in_the_shares_of_the_components_that_have_any() -> None:
    hops = {"task": {"kind": "multihop", "hops": 2}}
    parts = {"a": {**hops, "weight": 3}, "b": hops, "people": {"task": USEFUL, "weight": 9}}
    task = Mixture.model_validate({"components": parts}).bind(0)
    batch = task.sample(generator(0, Stream.EVALUATION), 4000, split="test")
    counts = np.bincount(batch.latents["component"], minlength=3)
    assert counts[2] == 0
    assert counts[0] / 4000 == pytest.approx(3 / 4, abs=4 * (3 / 16 / 4000) ** 0.5)


@pytest.mark.parametrize("split", ["train", "test"])
def test_floors_of_a_mixture_are_those_of_the_split(split: str) -> None:
    task = both().bind(0)
    own = task.parts["hops"].floors(None, split)
    assert own != task.parts["hops"].floors(None, {"train": "test", "test": "train"}[split])
    assert task.floors(None, split) == {f"hops.{name}": value for name, value in own.items()}
