"""Terminals that are not UTF-8 show what they can, and nothing stops for what they cannot."""

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import TOY, command
from synthetic_results import write_toy

from experiments.cli.terminal import LOOKALIKE, fit_output_to_terminal, lookalike
from experiments.execution.worker import redirected

ENCODINGS = ("ascii", "latin-1", "cp1252", "utf-8")
MINE = """\
from typing import Any, Literal
from generators.multihop import MultiHop
class Loud(MultiHop):
    kind: Literal["loud"] = "loud"
    def sample(self, *args: Any, **named: Any) -> Any:
        print("λ ⊗ …")
        return super().sample(*args, **named)
"""


def loopscope(encoding: str, *arguments: object) -> tuple[int, str, str]:
    """Exit status, output and messages of the command on a terminal of an encoding."""
    found = subprocess.run(
        [sys.executable, "-m", "experiments.cli.main", *map(str, arguments)],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    return found.returncode, found.stdout.decode(encoding), found.stderr.decode(encoding)


def shown_here(
    monkeypatch: pytest.MonkeyPatch, encoding: str, *arguments: object
) -> tuple[int, str, str]:
    """The same of the command in this process, on streams of the encoding."""
    streams = [
        io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors)
        for errors in ("strict", "backslashreplace")  # as Python opens them
    ]
    with monkeypatch.context() as patch:
        for name, stream in zip(("stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        status = command(patch, *arguments)
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)  # pyrefly: ignore
    return status, out, err


def test_every_character_has_a_lookalike_in_ascii() -> None:
    everything = "".join(map(chr, range(0x11000)))
    assert lookalike(everything).isascii()
    assert lookalike("1⊗4 – −3 … ≥ λ") == "1x4 - -3 ... >= ?"
    assert "\ud800".encode("latin-1", LOOKALIKE) == b"?"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tables_are_readable_on_every_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    out = write_toy(tmp_path / "runs", seeds=1)
    arm = "1⊗4" if encoding == "utf-8" else "1x4"
    for more in ((), ("--markdown",)):
        status, shown, messages = shown_here(monkeypatch, encoding, "table", out, *more)
        assert status == 0 and arm in shown, messages
    status, _, messages = shown_here(monkeypatch, encoding, "figure", "1⊗4")
    assert status == 2 and f"there is no grid '{arm}'" in messages


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_runs_and_figures_come_on_every_terminal(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    text = TOY.replace("title: toy", 'title: "1⊗2 – …"').replace("multihop", "mine.py:Loud")
    grid, out = tmp_path / "toy.yaml", tmp_path / "ö⊗"
    text = text.replace("[{kind: last_loop}, {kind: entropy}]", "[{kind: entropy}]")
    grid.write_text(text.replace("model.loops: [1, 2]", "model.loops: [2]"), encoding="utf-8")
    status, shown, messages = loopscope(encoding, "run", grid, "--out", out, "--workers", 1)
    assert status == 0 and "1x2" in shown and "UnicodeE" not in messages, messages
    assert list((out / "figures").glob("*.png"))
    for log in out.glob("*/log.txt"):
        assert "λ ⊗ …" in log.read_text(encoding="utf-8")


def test_logs_are_utf_8_and_the_stream_is_as_before_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    fit_output_to_terminal()
    print("⊗")
    with redirected(tmp_path / "log.txt"):
        print("λ")
    print("⊗é")
    stream.flush()
    assert stream.buffer.getvalue() == b"x\n" + "λ\n".encode() + b"x\xe9\n"  # pyrefly: ignore


def opens_text(call: ast.Call) -> bool:
    """Whether a call opens a file as text: `open` in a text mode, `read_text` or `write_text`."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in ("open", "fdopen"):
        return name in ("read_text", "write_text")
    texts = [a.value for a in call.args if isinstance(a, ast.Constant)]
    return not any("b" in text for text in texts if isinstance(text, str) and len(text) <= 3)


@pytest.mark.parametrize("room", ["experiments", "generators", "models", "probes"])
def test_text_files_are_opened_as_utf_8(room: str) -> None:
    for path in (Path(__file__).parents[3] / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and opens_text(node):
                named = any(keyword.arg == "encoding" for keyword in node.keywords)
                assert named, f"{path}:{node.lineno} leaves the encoding to the terminal"
