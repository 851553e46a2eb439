"""P- and Q-probing: a fact that follows from the name is found, an independent one is not."""

import numpy as np
import pytest
import torch

from generators.biographies import Biographies
from generators.extraction import Extraction
from generators.multihop import MultiHop
from generators.streams import Stream, generator
from generators.templates import ATTRIBUTES
from models.config import LoopedConfig
from probes.p_probing import PProbing
from probes.people_probing import labels_of
from probes.probe import Subject
from probes.q_probing import QProbing

FAST = {"lr": 3e-2, "weight_decay": 0.0, "batch": 50, "steps": 60}


def subject(classes: int, people: int = 400, loops: int = 1) -> Subject:
    """An untrained model; majors follow from the last name, universities from nothing."""
    task = Biographies(people=people, permute=False, templates=1).bind(0)
    task.world.facts["major"][:] = task.world.names[:, 2] % classes
    config = LoopedConfig(width=32, loops=loops)
    model = config.build(len(task.vocabulary), gate=False, seed=0).eval()
    return Subject(model, task, model.count_parameters(), 0, torch.device("cpu"))


def found(rows, metric):
    return {row.item: row for row in rows if row.metric == metric}


def test_what_follows_from_a_name_is_found_from_the_name_alone() -> None:
    rows = QProbing(targets=("major", "university"), **FAST).measure(subject(4, loops=2))
    accuracy = found(rows, "probe_accuracy")
    assert accuracy["major"].value > 0.75 and accuracy["major"].n_items == 200
    assert accuracy["major"].floor < 0.35 and accuracy["major"].ceiling == 1
    assert found(rows, "probe_selectivity")["major"].low > 0.3
    assert found(rows, "probe_control")["major"].value < 0.4
    assert accuracy["university"].value < 0.12  # 32 of them
    assert {row.loop for row in rows} == {2}


def test_an_attribute_is_found_before_it_is_said_if_the_name_decides_it() -> None:
    at = subject(2)
    rows = PProbing(targets=("major",), **FAST).measure(at)
    accuracy = found(rows, "probe_accuracy")
    assert list(accuracy) == [f"major@{said}" for said in range(6)]
    assert accuracy["major@0"].value > 0.8
    assert found(rows, "probe_control")["major@0"].value < 0.65
    at.task.world.facts["major"][:] = generator(5, Stream.PROBE).integers(0, 2, 400)
    rows = PProbing(targets=("major",), **FAST).measure(at)
    assert found(rows, "probe_accuracy")["major@0"].value < 0.65


def test_the_update_of_the_embedding_is_what_tells_equal_tokens_apart() -> None:
    at = subject(2)
    last = [i for i, t in enumerate(at.task.vocabulary.tokens) if t.startswith("last:")]
    with torch.no_grad():
        at.model.embedding.weight[last] = at.model.embedding.weight[last[0]].clone()
    probe = QProbing(targets=("major",), **FAST)
    without = probe.model_copy(update={"rank": 0}).measure(at)
    assert found(without, "probe_accuracy")["major"].value < 0.65
    assert found(probe.measure(at), "probe_accuracy")["major"].value > 0.8


def test_the_model_is_left_as_it_was() -> None:
    at = subject(2, people=40, loops=2)
    before = {name: p.detach().clone() for name, p in at.model.named_parameters()}
    at.model.final_norm.requires_grad_(False)
    probe = PProbing(targets=("birth_month",), steps=2, batch=4, loops="all")
    with torch.no_grad():
        rows = probe.measure(at)
        assert rows == probe.measure(at)
    assert [row.loop for row in rows[::18]] == [1, 2]
    for name, p in at.model.named_parameters():
        assert torch.equal(p, before[name]) and p.grad is None
        assert p.requires_grad != name.startswith("final_norm"), name


def test_what_is_read_and_by_whom() -> None:
    text = Biographies(people=30).bind(1)
    tokens, columns = PProbing().documents(text, generator(0, Stream.PROBE))(np.arange(30))
    batch = text.write(generator(0, Stream.PROBE), np.arange(30))
    assert (tokens == batch.tokens).all()
    for j in range(30):
        starts = sorted(int(batch.spans[name][j, 0]) for name in ATTRIBUTES)
        assert columns[j].tolist() == [start - 1 for start in starts]
    tokens, columns = QProbing().documents(text, generator(0, Stream.PROBE))(np.arange(30))
    roles = [[text.vocabulary.tokens[t].split(":")[0] for t in row] for row in tokens]
    assert roles == [["<bos>", "first", "middle", "last"]] * 30 and set(columns[:, 0]) == {3}
    assert labels_of(text, "birth_month").max() < 12
    for probe in (PProbing, QProbing):
        assert probe.applies(Extraction()) and not probe.applies(MultiHop())
        assert not probe.by_default
        with pytest.raises(ValueError, match="does not apply to task multihop"):
            probe().check(MultiHop())


def test_the_floor_is_the_share_of_the_commonest_value_among_those_tested() -> None:
    """Nine in ten have one major, whoever is tested; 1/classes would be 1/2."""
    at = subject(2, people=60)
    at.task.world.facts["major"][:] = np.arange(60) % 10 == 0
    rows = QProbing(targets=("major",), steps=1, batch=10).measure(at)
    tested = generator(0, Stream.PROBE).permutation(60)[30:]
    share = 1 - np.mean(tested % 10 == 0)
    assert found(rows, "probe_accuracy")["major"].floor == pytest.approx(share)
    assert share > 0.75
