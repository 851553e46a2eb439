"""Every command of the tutorial runs, and what it quotes is what the commands print."""

import re
import shlex
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

import loopscope
from experiments.cli.main import app
from experiments.grid.grid import load_grid
from experiments.runs.folder import RunFolder
from experiments.runs.reference import REFERENCE

PAGE = Path(__file__).parents[2] / "experiments" / "TUTORIAL.md"
TEXT = PAGE.read_text(encoding="utf-8")
BASH = re.findall(r"^```bash\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BASH for line in block.splitlines()]
#: training that takes seconds, of one run
TINY = (
    *("--set", "training.phases=[{until_step: 2}]", "--set", "task.hops=2"),
    *("--set", "observe.evaluate_every=1", "--shard", "1/18"),
)


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """Command -> what it prints of the results that come along, for those that write nothing."""
    said = {}
    for line in COMMANDS:
        words = shlex.split(line.replace("runs/tutorial", "reference:tutorial"))[1:]
        if words[0] in ("compare", "table", "plan", "sample"):
            found = CliRunner().invoke(app, words, catch_exceptions=False)
            assert found.exit_code == 0, line
            said[line] = found.output
    return said


def test_commands_that_only_print_do(printed: dict[str, str]) -> None:
    assert len(printed) == 6 and all(printed.values())


def test_what_is_quoted_is_what_is_printed(printed: dict[str, str]) -> None:
    blocks = re.findall(
        r"^```bash\n(.*?)^```\n\n```text\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 3
    for commands, text in blocks:
        (line,) = (c for c in commands.splitlines() if " compare " in c)
        lines = printed[line].splitlines()
        assert not set(text.splitlines()) - set(lines)


def test_the_table_is_that_of_the_results() -> None:
    runs = loopscope.load_runs("reference:tutorial")
    runs = runs.query("metric == 'accuracy' and split == 'test' and loop == n_loops")
    rows = re.findall(r"^\| (\d⊗\d) \| (\S+) \(.*?\) \| (\d)/6 \| (\S+) \(.*?\) \| (\d)/6 \|$",
                      TEXT, re.MULTILINE)  # fmt: skip
    assert len(rows) == 3
    for arm, two, solved_two, three, solved_three in rows:
        for hops, mean, solved in ((2, two, solved_two), (3, three, solved_three)):
            values = runs[(runs["arm"] == arm) & (runs["difficulty"] == hops)]["value"]
            assert len(values) == 6
            assert round(values.mean(), 3) == float(mean)
            assert (values >= 0.95).sum() == int(solved)


def test_what_it_cost_is_what_the_runs_say() -> None:
    firsts = loopscope.load_runs("reference:tutorial").drop_duplicates("run_id").set_index("arm")
    (minutes, seconds) = re.findall(r"took (\d) min (\d+) s of processor time", TEXT)[0]
    # the command's own time is beside that of its runs
    assert 0.9 < firsts["cpu_seconds"].sum() / (60 * int(minutes) + int(seconds)) < 1
    parameters = firsts["parameters"].groupby(level=0).first()
    assert parameters["1⊗2"] / parameters["2⊗1"] == pytest.approx(0.52, abs=0.005)
    flops = firsts["train_flops"].groupby(level=0).first()
    assert flops["1⊗2"] == flops["2⊗1"] == pytest.approx(233e9, rel=0.01)


def test_the_results_are_of_the_grid_that_is_shipped() -> None:
    runs = loopscope.load_runs("reference:tutorial")
    assert set(load_grid("tutorial").runs) == set(runs["run_id"]) and len(set(runs["run_id"])) == 18
    assert zipfile.is_zipfile(REFERENCE / "tutorial.zip")


@pytest.mark.usefixtures("work_here")
def test_training_and_pages_at_a_tiny_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (run,) = (shlex.split(line)[1:] for line in COMMANDS if line.startswith("loopscope run "))
    said = CliRunner().invoke(app, [*run, *TINY], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    out = Path("runs/tutorial")
    folders = [RunFolder(p) for p in out.iterdir() if p.name.startswith("multihop")]
    assert [f.state() for f in folders if f.result() is not None] == ["done"]
    pages = {"explore": "explore.html", "report": "report.html"}
    for line in COMMANDS:
        words = shlex.split(line)[1:]
        if words[0] in (*pages, "figure"):
            said = CliRunner().invoke(app, words, catch_exceptions=False)
            assert said.exit_code == 0, said.output
    for name in pages.values():
        assert (out / name).stat().st_size > 20_000
    assert list((out / "figures").glob("*learning_curves.png"))


def test_the_python_lines_run(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    exec(code.replace("runs/tutorial", "reference:tutorial"), {})
