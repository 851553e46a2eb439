"""Curves of arms as lines of a terminal: what they draw is what the runs logged."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from synthetic_results import config, write_run, write_toy

from experiments.execution.arm_curves import BARS, ArmCurves, sparkline
from experiments.execution.watch import curves_text, watch_status
from experiments.results.long_table import load_curves
from experiments.runs.folder import RunFolder
from experiments.runs.output import prepare_output


def test_a_sparkline_is_as_high_as_its_curve() -> None:
    rising = [(step, step / 80) for step in range(10, 81, 10)]
    assert sparkline(rising, 80, 0, 1, width=8) == "▂▃▄▅▆▇██"
    assert sparkline(rising[:4], 80, 0, 1, width=8) == "▂▃▄▅    ", "what is not trained is blank"
    assert sparkline([(40, 0.0), (80, 1.0)], 80, 0, 1, width=8) == "   ▁▁▁▁█"
    assert sparkline([(80, 0.5)], 80, 0, 0, width=2) == f" {BARS[0]}", "no range is no height"
    falling = [(step, 3 - step / 40) for step in range(1, 81)]
    shown = sparkline(falling, 80, 0, 3, width=12)
    assert list(shown) == sorted(shown, reverse=True) and len(shown) == 12


def test_an_arm_is_the_mean_of_its_runs(tmp_path: Path) -> None:
    out = write_toy(tmp_path / "runs")
    curves = {curve.name: curve for curve in ArmCurves(out).curves()}
    assert list(curves) == [
        f"{part}, 1⊗{n}" for n in (1, 2, 4) for part in ("functions", "permutations")
    ], "in the order of the grid; runs of capacity log nothing"
    table = load_curves(out).query("metric == 'accuracy' and split == 'test' and loop == n_loops")
    for name, curve in curves.items():
        part, arm = name.split(", ")
        rows = table[(table["part"] == part) & (table["arm"] == arm)]
        wanted = rows.groupby("step")["value"].mean()
        assert [step for step, _ in curve.curve] == wanted.index.tolist()
        assert [value for _, value in curve.curve] == pytest.approx(wanted.tolist())
        assert (curve.metric, curve.runs, curve.last_step) == ("accuracy", 3, 1000)
        assert curve.columns()[3] == f"{wanted.iloc[-1]:.3f}"


def test_without_evaluations_it_is_the_loss(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    for seed in (0, 1):
        lines = [{"step": step, "loss": 4.0 / step + seed} for step in (1, 2, 4)]
        lines.append({"step": 5, "loss": float("nan")})
        write_run(tmp_path, f"bios-1x2-{seed}", config("bios", 2, seed), metrics=lines)
    write_run(tmp_path, "bios-2x1-none", config("bios", 1, 0))
    (curve,) = ArmCurves(tmp_path).curves()
    assert (curve.name, curve.metric, curve.runs) == ("1⊗2", "loss", 2)
    assert curve.curve == [(1, 4.5), (2, 2.5), (4, 1.5)]


def test_a_file_is_read_again_only_once_it_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write_toy(tmp_path / "runs", seeds=1)
    read: list[str] = []
    original = RunFolder.read_metrics
    monkeypatch.setattr(
        RunFolder, "read_metrics", lambda self: read.append(self.run_id) or original(self)
    )
    curves = ArmCurves(out)
    curves.curves()
    assert len(read) == 6
    curves.curves()
    assert len(read) == 6
    RunFolder(out / "functions-1x4-0").append_metrics({"step": 1500, "loss": 1.0})
    (grown,) = (c for c in curves.curves() if c.name == "functions, 1⊗4")
    assert read[6:] == ["functions-1x4-0"] and grown.last_step == 1500


def test_lines_fit_eighty_columns_and_are_counted(tmp_path: Path) -> None:
    out = write_toy(tmp_path / "runs", seeds=1)
    shown = curves_text(ArmCurves(out)).splitlines()
    assert len(shown) == 6 and all(len(line) < 80 for line in shown)
    assert curves_text(ArmCurves(out), 2).splitlines() == [*shown[:2], "and 4 more arms"]
    text = io.StringIO()
    watch_status(out, 0.02, Console(file=text, force_terminal=True, width=80, height=24))
    assert text.getvalue().splitlines()[-6:] == shown
    plain = io.StringIO()
    watch_status(out, 0.02, Console(file=plain, force_terminal=False))
    assert plain.getvalue().splitlines() == ["9 done"]
    prepare_output(tmp_path / "empty")
    assert curves_text(ArmCurves(tmp_path / "empty")) == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_other_terminals_show_what_they_can(tmp_path: Path, encoding: str) -> None:
    out = write_toy(tmp_path / "runs", seeds=1)
    code = (
        "import sys; from experiments.cli.terminal import fit_output_to_terminal as fit; fit();"
        "from experiments.execution.arm_curves import ArmCurves as A;"
        "from experiments.execution.watch import curves_text; from pathlib import Path;"
        f"print(curves_text(A(Path({str(out)!r}))))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    shown = done.stdout.decode(encoding)
    assert done.returncode == 0, done.stderr
    lines = curves_text(ArmCurves(out))
    for bar, other in zip(BARS, "_.,-=+*#", strict=True):
        lines = lines if encoding == "utf-8" else lines.replace(bar, other).replace("⊗", "x")
    assert shown == f"{lines}\n".replace("\n", os.linesep)
