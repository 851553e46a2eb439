"""The grids of the score card at the size of seconds."""

import re
from pathlib import Path

import pytest

from experiments.suite import axes as suite_axes

#: texts of the published store -> those of a toy
STORE = (
    ("people: 20000, pools: full, templates: 44", "people: 20, pools: small, templates: 1"),
    ("people: 2000", "people: 20"),
    ("width: 64", "width: 8"),
    ("batch: 400", "batch: 20"),
    ("lr: 1.0e-3", "lr: 2.0e-2"),
    ("bf16", "fp32"),
    ("until_exposure: 1000, warmup: 1000", "until_exposure: 120, warmup: 10"),
    ("evaluate_every: 5000", "evaluate_every: 60"),
)


def shrink_suite(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts small grids, of one seed and one rate, into `here`.

    Those of tiny have a hundredth of their steps.
    """
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
    # of the published store few people and few words, taught until they are known
    text = (suite_axes.HERE / "ceiling" / "gpu.yaml").read_text()
    text = re.sub(r"seed: \[.*\]", "seed: [0]", text)
    for before, after in STORE:
        assert before in text
        text = text.replace(before, after)
    (here / "ceiling" / "gpu.yaml").write_text(text)
    monkeypatch.setattr(suite_axes, "HERE", here)
