"""What the pages quote of `compare` is what the command beside it prints."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli.main import app

ROOT = Path(__file__).parents[2]
RESULTS = (ROOT / "experiments" / "RESULTS.md").read_text(encoding="utf-8").splitlines()
COMMAND = re.compile(r"`loopscope (compare [^`]+)`")
#: a p as pages write it, and a number of seeds that would be needed
P = re.compile(r"(?:\bp |, |and )\.(\d+)(?= after Holm)|\bp \.(\d+)")
NEEDED = re.compile(r"about (\d+) (?:seeds )?would be needed")
QUOTING = [line for line in RESULTS if COMMAND.search(line)]


def quoted(text: str) -> list[str]:
    return [first or second for first, second in P.findall(text)]


@pytest.mark.parametrize("line", QUOTING, ids=lambda line: COMMAND.findall(line)[0][:60])
def test_numbers_are_those_of_the_command(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed = ""
    for command in COMMAND.findall(line):
        said = CliRunner().invoke(app, shlex.split(command), catch_exceptions=False)
        assert said.exit_code == 0
        printed += said.output
    found = [float(p) for p in re.findall(r"(?:p |, )(\d\.?\d*)(?= after Holm|[;.,])", printed)]
    for digits in quoted(line):
        assert float(f"0.{digits}") in [round(p, len(digits)) for p in found], f"p .{digits}"
    for n in NEEDED.findall(line):
        assert f"bout {n} seeds would be needed" in printed
    for size in re.findall(r"after Holm over (\d+) cells", line):
        assert f"after Holm over {size} cells" in printed


def test_no_p_stands_without_its_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    known = {digits for line in QUOTING for digits in quoted(line)}
    assert {"031", "062", "12"} <= known, "the pattern finds those there are"
    assert set(quoted(readme)) <= known
    assert not [line for line in RESULTS if quoted(line) and line not in QUOTING]
