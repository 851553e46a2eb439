"""Bad input to the command: a message for people and status 2, never a traceback."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from command import FAULTY, TOY, command


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(TOY)
    return path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "quik"], "there is no grid 'quik' (did you mean 'quick'?)"),
        (["plan", "quik"], "did you mean 'quick'?"),
        (["run", "none.yaml"], "there is no file none.yaml"),
        (["run", "toy.yaml", "--shard", "4/3"], "--shard 4/3: needs I/N with I from 1 to N"),
        (["run", "toy.yaml", "--shard", "0/3"], "--shard 0/3: needs I/N"),
        (["run", "toy.yaml", "--shard", "half"], "--shard half: needs I/N"),
        (["run", "toy.yaml", "--workers", "0"], "--workers needs 1 or more, got 0"),
        (["run", "toy.yaml", "--set", "seed"], "--set needs path=value"),
        (["run", "toy.yaml", "--set", "sed=1"], "--set sed=1: sed: unknown key (did you mean"),
        (["run", "toy.yaml", "--set", "seed=x"], "--set seed=x: seed: should be a valid integer"),
        (["run", "toy.yaml", "--set", f"seed={2**63}"], "the largest of 64 bits"),
        (["run", "toy.yaml", "--set", "model.heads=3"], "heads must divide width"),
        (
            ["run", "toy.yaml", "--set", "model.context=4"],
            "documents of task multihop have up to 5 tokens, more than the context of 4",
        ),
        (["run", "bad.yaml"], "bad.yaml:4:11: model.widht: unknown key (did you mean 'width'?)"),
        (["run", "bad.yaml"], "bad.yaml:3:32: task.hops: should be a valid integer, got 'many'"),
        (["run", "twice.yaml"], "twice.yaml:2:1: title: is already given in line 1"),
        (["run", "empty.yaml"], "empty.yaml:1:1: is empty"),
        (["run", "toy.yaml", "--out", "bad.yaml"], "bad.yaml is a file; --out needs a folder"),
        (["run", "toy.yaml", "--out", "old"], "schema version 999, this loopscope knows"),
        (["plan", "toy.yaml", "--out", "old"], "schema version 999, this loopscope knows"),
        (["run", "toy.yaml", "--out", "torn"], "loopscope.json is damaged; if this is a folder"),
        (["status", "absent"], "absent is no folder"),
        (["table", "absent"], "absent is no folder"),
        (["figure", "toy.yaml", "--out", "absent"], "absent is no folder"),
        (["figure", "toy.yaml", "plain"], "did you mean 'plane'?"),
        (["probe", "absent", "--probe", "acuracy"], "--probe acuracy: probe: unknown kind"),
        (["probe", "absent", "--probe", "{kind: accuracy, item: 1}"], "did you mean 'items'?"),
        (["diff", "a", "b", "--out", "absent"], "absent is no folder of runs"),
        (["run", "toy.yaml", "--set", "training.lr=.inf"], "training.lr: should be a finite"),
        (
            ["plan", "my grid.yaml"],
            "'my grid' cannot name files everywhere; give the grid a",
        ),
        (["plan", "outside.yaml"], "figures.0.name: String should match pattern"),
        (["plan", "toy.yaml", "--set", "task={kind: 'faulty.py:Faulty'}"], "faulty.py:5: Key"),
        (["plan", "toy.yaml", "--set", "task={kind: 'leaving.py:X'}"], "imported: SystemExit: 3"),
        (["sample", "faulty.py:Faulty"], "faulty.py:5: KeyError: 'no'"),
        (["export-data", "faulty.py:Faulty", "a.parquet"], "faulty.py:5: KeyError: 'no'"),
        (
            ["plan", "toy.yaml", "--set", f"training.batch={10**13}"],
            "training.batch: a batch of 10,",
        ),
        (
            ["run", "toy.yaml", "--set", f"task.entities={10**12}"],
            "task: the world of task multihop",
        ),
        (["plan", "toy.yaml", "--set", f"model.core={10**9}"], "model: training the layers of"),
        (["plan", "toy.yaml", "--set", f"model.width={10**8}"], "for another machine say its"),
        (["sample", "multihops"], "kinds of task are"),
        (["sample", "multihop", "--difficulty", "9"], "multihop has no difficulty 9 in its train"),
        (["sample", "multihop", "--split", "tset"], "multihop has no split 'tset'"),
        (["sample", "multihop", "--set", "hop=3"], "task.hop: unknown key (did you mean 'hops'?)"),
        (["sample", "multihop", "--set", "hops.x=3"], "hops"),
        (["sample", "multihop", "--seed", "-1"], "must be 0 or more"),
        (["sample", "multihop", "-n", "0"], "--n needs 1 or more, got 0"),
        (["sample", "toy.yaml", "--part", "a"], "has no part 'a'; it has no parts"),
        (["sample", "bios", "--set", "people=999999999"], "is more than the"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_a_message_and_status_2(
    arguments: list[str],
    says: str,
    toy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = toy.parent
    bad = TOY.replace("width: 16", "widht: 16").replace("hops: 2", "hops: many")
    bad = bad.replace("kind: multihop, entities: 8, relations: 4, ", "kind: multihop, ")
    (folder / "bad.yaml").write_text(bad)
    (folder / "twice.yaml").write_text("title: a\n" + TOY)
    (folder / "empty.yaml").write_text("")
    (folder / "my grid.yaml").write_text(TOY)
    (folder / "outside.yaml").write_text(TOY.replace("_loops}", "_loops, name: /../../x}"))
    (folder / "faulty.py").write_text(FAULTY)
    (folder / "leaving.py").write_text("raise SystemExit(3)")
    (folder / "torn").mkdir()
    (folder / "torn" / "loopscope.json").write_text("{")
    (folder / "old").mkdir()
    (folder / "old" / "loopscope.json").write_text('{"schema_version": 999}')
    before = sorted(folder.rglob("*"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # which Python caches beside faulty.py
    assert command(monkeypatch, *arguments) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err + captured.out
    assert sorted(folder.rglob("*")) == before


def test_all_problems_of_a_file_are_shown(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.write_text(
        TOY.replace("width", "widht").replace("batch", "batsch").replace("title", "titel")
    )
    assert command(monkeypatch, "plan", toy) == 2
    assert "did you mean 'title'?" in capsys.readouterr().err
    toy.write_text(TOY.replace("width", "widht").replace("batch", "batsch"))
    assert command(monkeypatch, "plan", toy) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    locked = toy.parent / "locked"
    locked.mkdir(mode=0o500)
    assert command(monkeypatch, "run", toy, "--out", locked / "runs") == 2
    assert "not writable" in capsys.readouterr().err


def test_a_folder_said_not_to_be_writable(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For those who test as root, to whom every folder is writable."""
    monkeypatch.setattr("os.access", lambda *arguments: False)
    assert command(monkeypatch, "run", toy, "--out", toy.parent / "runs") == 2
    assert f"{toy.parent} is not writable" in capsys.readouterr().err
    assert list(toy.parent.iterdir()) == [toy]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (FileExistsError(17, "File exists", "here"), "here: File exists"),
        (OSError("no disk"), "no disk"),
        (MemoryError("Unable to allocate 7 TiB"), "ask for less. Unable to allocate 7 TiB"),
    ],
)
def test_what_the_system_refuses_is_a_message(
    error: Exception,
    says: str,
    toy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("experiments.grid.grid.load_grid", refuse)
    assert command(monkeypatch, "plan", toy) == 2
    assert capsys.readouterr().err.strip().endswith(says)


def test_unknown_options_are_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "run", "quick", "--worker", "2") == 2
    assert "--workers" in capsys.readouterr().err
