"""The decoding probe against the accuracy probe, and the grid that uses it at toy size."""

import pytest
import torch

from experiments.config.chosen_probes import chosen_probes
from experiments.config.run import Observe
from experiments.grid.grid import load_grid
from experiments.runs.folder import RunFolder
from experiments.training.train import train
from generators.multihop import MultiHop
from models.config import LoopedConfig
from models.decoding.cache import CacheSettings
from models.decoding.exit_rules import QuantileExit, StaticExit
from probes.accuracy import Accuracy
from probes.decoding import Decoding
from probes.probe import Subject

FULL = CacheSettings()
TASK = MultiHop(entities=8, relations=4, hops=2).bind(1)


def subject(gate=True):
    model = LoopedConfig(width=16, heads=2, core=2, loops=3).build(
        len(TASK.vocabulary), gate=gate, seed=0
    )
    return Subject(model.eval(), TASK, model.count_parameters(), 1, torch.device("cpu"))


def values(rows, metric):
    return [row.value for row in rows if row.metric == metric]


def test_without_exits_and_sharing_it_is_the_accuracy():
    plain = Accuracy(items=64, splits=("test",)).measure(subject())
    rows = Decoding(items=64, cache=FULL).measure(subject())
    assert values(rows, "accuracy") == values(plain, "accuracy")
    assert set(values(rows, "mean_loops")) == {3.0}
    # 2 (keys, values) · 2 layers · 3 loops · 16 numbers of 4 bytes
    assert set(values(rows, "cache_bytes_per_token")) == {768.0}


def test_exits_and_sharing_are_what_was_asked_for():
    static = Decoding(items=16, cache=FULL, exit=StaticExit(loop=2)).measure(subject())
    assert set(values(static, "mean_loops")) == {2.0}
    # a gate at zero has p = ½, ¼, ¼
    quantile = Decoding(items=16, cache=FULL, exit=QuantileExit(q=0.7)).measure(subject())
    assert set(values(quantile, "mean_loops")) == {2.0}
    shared = Decoding(items=16, cache=CacheSettings(sharing="average")).measure(subject())
    assert set(values(shared, "cache_bytes_per_token")) == {256.0}
    assert shared[0].item == "exit all, cache average, prefill full"
    assert quantile[0].item == "exit quantile q=0.7, cache full, prefill full"
    assert static[0].item == "exit static loop=2, cache full, prefill full"
    with pytest.raises(ValueError, match="needs an exit gate"):
        Decoding(cache=FULL, exit=QuantileExit(q=0.7)).measure(subject(gate=False))
    with pytest.raises(ValueError, match="no split 'nowhere'"):
        Decoding(cache=FULL, split="nowhere").check(TASK)


def test_a_run_that_names_no_probes_is_not_measured_this_way():
    run, *_ = load_grid("caches").runs.values()
    run = run.model_copy(update={"observe": Observe()})
    kinds = [probe.kind for probe in chosen_probes(run, TASK)]
    assert "accuracy" in kinds and "decoding" not in kinds


def test_the_shipped_grid_runs_at_toy_size(tmp_path):
    toy = ["training.phases=[{until_step: 3}]", "training.batch=8", "model.width=16"]
    toy += ["task.entities=8", "task.relations=4", "task.hops=2"]
    run, *_ = load_grid("caches", toy).runs.values()
    probes = tuple(p.model_copy(update={"items": 8}) for p in run.observe.probes)
    run = run.model_copy(update={"observe": run.observe.model_copy(update={"probes": probes})})
    folder = RunFolder(tmp_path / run.run_id)
    assert train(run, folder)
    rows = folder.result()["measurements"]
    items = {row["item"] for row in rows if row["metric"] == "cache_bytes_per_token"}
    assert len(items) == len(probes) - 1, "every setting has a name of its own"
    metrics = {row["metric"] for row in rows}
    assert metrics == {"accuracy", "mean_loops", "cache_bytes_per_token"}
