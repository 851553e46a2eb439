"""The gallery is what its command writes, and shows every kind of figure."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.analysis.figures import Figure
from experiments.analysis.gallery import page
from experiments.cli.main import app
from generators.plugins import choices

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def test_the_gallery_is_current_and_small() -> None:
    text = (EXPERIMENTS / "FIGURES.md").read_text(encoding="utf-8")
    assert text == page(EXPERIMENTS / "reference")
    kinds = set(choices(Figure, "experiments.analysis.figures"))
    pictures = {path.stem: path.stat().st_size for path in (EXPERIMENTS / "figures").iterdir()}
    assert set(pictures) == kinds and sum(pictures.values()) < 600_000
    assert all(f"## {kind}\n" in text for kind in kinds)


@pytest.mark.slow
def test_a_line_of_the_gallery_draws(tmp_path: Path) -> None:
    text = (EXPERIMENTS / "FIGURES.md").read_text(encoding="utf-8")
    line = next(li for li in text.splitlines() if li.startswith("loopscope figure seeds_solved"))
    words = line.replace("experiments/reference", str(EXPERIMENTS / "reference")).split()[1:]
    found = CliRunner().invoke(app, [*words, "--folder", str(tmp_path)])
    assert found.exit_code == 0 and list(tmp_path.glob("*seeds_solved.png"))
