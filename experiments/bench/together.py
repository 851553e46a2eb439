"""Runs trained in this process, in one pass where there are several."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from experiments.config.run import RunConfig
from experiments.runs.folder import RunFolder
from experiments.training.ensemble import Ensemble
from experiments.training.recorder import Clock, process_clock
from experiments.training.steps import Steps, run_to_end
from experiments.training.train import proceed, started


def train_together(configs: Mapping[Path, RunConfig], device: str, threads: int) -> None:
    """Trains and measures runs of one shape to their ends.

    Args:
        configs: folder of each run -> its config.
        threads: of torch, which has one afterwards.
    """

    def work(path: Path, clock: Clock) -> Steps[bool]:
        with ExitStack() as stack:
            how = device, False, lambda message: None, clock
            recorder = stack.enter_context(started(configs[path], RunFolder(path), *how))
            torch.set_num_threads(threads)  # which `started` has set to one
            stack.callback(torch.set_num_threads, 1)
            return (yield from proceed(recorder, lambda: False))

    paths = list(configs)
    if len(paths) > 1:
        list(Ensemble(paths, work).outcomes())
    else:
        run_to_end(work(paths[0], process_clock))
