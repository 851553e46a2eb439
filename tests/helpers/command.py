"""`loopscope …` within a test, and a grid for it."""

import sys

import pytest

from experiments.cli import main as cli

TOY = """\
title: toy
baseline:
  task: {kind: multihop, entities: 8, relations: 4, hops: 2}
  model: {width: 16, heads: 2}
  training: {batch: 32, phases: [{until_step: 12}]}
axes:
  objective: [{kind: last_loop}, {kind: entropy}]
  model.loops: [1, 2]
figures: [{kind: accuracy_versus_loops}]
"""


FAULTY = """\
from typing import Any, Literal
from generators.multihop import MultiHop
class Faulty(MultiHop):
    kind: Literal["faulty"] = "faulty"
    def sample(self, *_: Any, **__: Any) -> Any: raise KeyError("no")
"""


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit status of `loopscope …`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["loopscope", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    return exit.value.code or 0  # pyrefly: ignore
