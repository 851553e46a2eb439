"""A run of seconds that is looked at less often than the toys."""

from pathlib import Path
from typing import Any

import toys

from experiments.config.phases import Phase, Training
from experiments.config.run import Observe, RunConfig
from experiments.runs.folder import RunFolder
from experiments.training.train import train
from probes.accuracy import Accuracy

STEPS = 40
TRAINING = Training(batch=32, lr=4e-3, phases=(Phase(until_step=STEPS, warmup=5, decay="sqrt"),))
TINY_PROBE = Accuracy(items=16)
OBSERVE = Observe(probes=(TINY_PROBE,), log_every=7, checkpoint_seconds=1000)


def config(**changes: Any) -> RunConfig:
    return toys.config(**{"training": TRAINING, "observe": OBSERVE, **changes})


def checkpointed(path: Path, *steps: int) -> RunFolder:
    folder = RunFolder(path / config().run_id)
    for count in steps:
        assert not train(config(), folder, stop=toys.stop_after(count))
    return folder
