"""Online tasks train and are measured from one end to the other."""

from pathlib import Path

import pytest

from experiments.config.phases import Phase, Training
from experiments.config.run import Observe, RunConfig
from experiments.runs.folder import RunFolder
from experiments.training.train import train
from generators.brevo import Brevo
from generators.copying import Copying
from generators.depo import Depo
from generators.mano import Mano
from generators.mqar import MQAR
from generators.online import OnlineTask
from generators.phop import PHop
from models.config import LoopedConfig
from probes.accuracy import Accuracy

TASKS: list[OnlineTask] = [
    Mano(length=3),
    Mano(length=3, cot=True, loss="answer"),
    Depo(nodes=8, hops=2, symbols=6, queries=3),
    Depo(nodes=8, hops=2, symbols=6, queries=3, cot=True),
    Brevo(nodes=8),
    Brevo(nodes=8, symbols=4, shortest=2, longest=3, cot=True),
    PHop(length=16, hops=2),
    Copying(length=6, symbols=12),
    MQAR(pairs=8, length=40),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind}-{getattr(task, 'cot', '')}")
def test_training_and_accuracy(task: OnlineTask, tmp_path: Path) -> None:
    run = RunConfig.model_validate(
        {
            "task": task,
            "model": LoopedConfig(width=16, heads=2, loops=2),
            "training": Training(batch=8, lr=1e-3, phases=(Phase(until_step=3),)),
            "observe": Observe(probes=(Accuracy(items=8),)),
        }
    )
    folder = RunFolder(tmp_path / run.run_id)
    assert train(run, folder)
    result = folder.result()
    assert result is not None
    rows = result["measurements"]
    found = {(row["split"], row["difficulty"]) for row in rows}
    assert found == {(s, d) for s in task.splits for d in task.difficulties_of(s)}
    assert all(0 <= row["floor"] < 0.6 and row["ceiling"] == 1 for row in rows)
