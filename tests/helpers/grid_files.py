"""Grid files of a few lines, written and loaded."""

from pathlib import Path

import pytest

from experiments.grid.grid import Grid, load_grid
from experiments.grid.located_yaml import ConfigError

BASE = """\
baseline:
  task: {kind: multihop}
  model: {width: 64}
  training:
    lr: 1e-3
    phases:
      - {until_step: 10}
      - {until_step: 20}
"""


def write(tmp_path: Path, text: str, name: str = "g.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def load(tmp_path: Path, extra: str = "", *changes: str) -> Grid:
    return load_grid(write(tmp_path, BASE + extra), changes)


def problems(tmp_path: Path, text: str, *changes: str) -> list[str]:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_grid(path, changes)
    return [line.replace(f"{path}:", "") for line in str(caught.value).splitlines()]
