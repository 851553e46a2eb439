"""The grids of the score card at the size of seconds."""

import re
from pathlib import Path

import pytest

from experiments.suite import axes as suite_axes


def shrink_suite(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the tiny grids, with a hundredth of the steps, one seed and one rate, into `here`."""
    suite_axes.axes()  # found before the folder is another
    for path in suite_axes.HERE.glob("*/tiny.yaml"):
        text = path.read_text()
        text = re.sub(r"until_step: (\d+)00", r"until_step: \1", text)
        text = re.sub(r"warmup: \d+", "warmup: 1", text)
        text = re.sub(r"batch: \d+", "batch: 8", text).replace("items: 512", "items: 16")
        text = re.sub(r"seed: \[.*\]", "seed: [0]", text).replace("4.0e-3, 8.0e-3", "4.0e-3")
        target = here / path.parent.name / path.name
        target.parent.mkdir(parents=True)
        target.write_text(text)
    monkeypatch.setattr(suite_axes, "HERE", here)
