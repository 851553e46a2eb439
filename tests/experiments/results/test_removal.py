"""`loopscope rm`: what was shown and confirmed is gone, and nothing else."""

import json
import os
import shutil
from pathlib import Path

import pytest
from synthetic_results import bits, config, write_run, write_toy
from typer.testing import CliRunner, Result

from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.results.long_table import load_runs
from experiments.results.removal import Candidate, candidates, remove
from experiments.results.row_filter import parse
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import read_json, write_json
from experiments.runs.lock import RunLock
from experiments.runs.output import record_grid


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "runs", seeds=1)


def rm(out: Path, *where: str, typed: str | None = None, yes: bool = False) -> Result:
    options = [option for text in where for option in ("--where", text)]
    arguments = ["rm", str(out), *options, *(["--yes"] if yes else [])]
    return CliRunner().invoke(app, arguments, input=typed)


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def test_runs_are_shown_and_go_when_confirmed(out: Path) -> None:
    before = files(out)
    found = rm(out, "task=multihop", "k=1,n_loops=4", typed="y\n")
    assert found.exit_code == 0, found.output
    gone = {"functions-1x4-0", "permutations-1x4-0"}
    for name in gone:
        line = next(x for x in found.stdout.splitlines() if x.startswith(name))
        assert "done" in line and "1⊗4" in line and "toy" in line and "kB" in line
    assert "Remove these 2 runs" in found.stdout
    assert files(out) == {f for f in before if f.split("/")[0] not in gone}
    record = read_json(out / "grids" / "toy.json")
    assert record is not None and record["schema_version"] == 1 and record["title"] == "A toy"
    assert {p["run_id"] for p in record["points"]} == {
        f"{part}-1x{n}-0" for part in ("capacity", "functions", "permutations") for n in (1, 2, 4)
    } - gone
    assert set(load_runs(out)["status"]) == {"done"}, "none is missing from its grid"


def test_a_run_whose_config_is_damaged_goes_like_any_other(out: Path) -> None:
    (out / "capacity-1x1-0" / "config.json").write_text("{")
    found = rm(out, "seed=", yes=True)
    assert found.exit_code == 0, found.output
    assert "capacity-1x1-0" in found.stdout and not (out / "capacity-1x1-0").exists()
    assert (out / "capacity-1x2-0").exists()


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "yes please\n"])
def test_nothing_goes_unless_confirmed(out: Path, typed: str) -> None:
    before = files(out)
    found = rm(out, "task=bios", typed=typed)
    assert found.exit_code == 1 and files(out) == before


def test_yes_asks_nothing(out: Path) -> None:
    found = rm(out, "task=bios", yes=True)
    assert found.exit_code == 0 and "Remove" not in found.stdout
    assert not list(out.glob("capacity-*"))


def test_a_grid_without_points_goes_and_others_keep_theirs(out: Path) -> None:
    points = [{"run_id": "capacity-1x1-0", "part": "", "labels": {}}]
    record_grid(out, "small", title="", figures=[], points=points)
    other = (out / "grids" / "toy.json").read_bytes()
    write_run(out, "loose", config("bios", 1, 7), bits(1, 1.0))
    assert rm(out, "seed=7", yes=True).exit_code == 0
    assert (out / "grids" / "toy.json").read_bytes() == other, "untouched"
    assert rm(out, "grid=small", yes=True).exit_code == 0
    assert not (out / "grids" / "small.json").exists()
    assert len(json.loads((out / "grids" / "toy.json").read_text())["points"]) == 8


def test_a_run_that_is_worked_on_stays(out: Path) -> None:
    lock = RunLock.acquire(out / "capacity-1x2-0" / "claim.json")
    assert lock is not None
    found = rm(out, "task=bios", yes=True)
    assert found.exit_code == 2
    assert "capacity-1x2-0 stays: is worked on just now" in found.stderr
    assert [p.name for p in out.glob("capacity-*")] == ["capacity-1x2-0"]
    assert lock.beat(), "its lock was not touched"
    kept = {p.run_id for p in map(RunFolder, out.glob("capacity-*"))}
    record = read_json(out / "grids" / "toy.json")
    assert record is not None and kept < {p["run_id"] for p in record["points"]}
    lock.release()
    assert rm(out, "task=bios", yes=True).exit_code == 0


def test_a_run_locked_after_it_was_shown_stays(out: Path) -> None:
    chosen = candidates(out, parse(["task=bios,n_loops=1"]))
    assert [c.refusal for c in chosen] == [""]
    assert RunLock.acquire(chosen[0].folder.lock_path) is not None
    assert list(remove(out, chosen)) == [("capacity-1x1-0", "is worked on just now")]
    assert RunFolder(out / "capacity-1x1-0").state() == "done"


def test_a_link_is_not_followed(out: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(out / "capacity-1x1-0", elsewhere)
    (out / "capacity-1x1-0").symlink_to(elsewhere)
    (out / "capacity-1x2-0" / "probes").symlink_to(elsewhere)
    before = files(elsewhere)
    found = rm(out, "task=bios", yes=True)
    assert found.exit_code == 2 and "capacity-1x1-0 stays: is a link" in found.stderr
    assert files(elsewhere) == before and (out / "capacity-1x1-0").is_symlink()
    assert not (out / "capacity-1x2-0").exists(), "a link inside goes, not what it leads to"


def test_a_folder_swapped_for_a_link_after_it_was_shown_stays(out: Path, tmp_path: Path) -> None:
    chosen = candidates(out, parse(["task=bios,n_loops=1"]))
    shutil.move(out / "capacity-1x1-0", tmp_path / "elsewhere")
    (out / "capacity-1x1-0").symlink_to(tmp_path / "elsewhere")
    ((_, problem),) = remove(out, chosen)
    assert "is a link" in problem and (tmp_path / "elsewhere" / "result.json").exists()


def test_records_elsewhere_are_not_written(out: Path, tmp_path: Path) -> None:
    shutil.move(out / "grids", tmp_path / "grids")
    (out / "grids").symlink_to(tmp_path / "grids")
    before = files(out)
    found = rm(out, "task=bios", yes=True)
    assert isinstance(found.exception, LoopscopeError) and "is a link" in str(found.exception)
    assert files(out) == before


def test_a_record_that_names_another_folder_reaches_nothing(out: Path, tmp_path: Path) -> None:
    outside = write_run(tmp_path, "outside", config("bios", 1, 0), bits(1, 1.0))
    points = [{"run_id": "../outside", "part": "", "labels": {}}]
    write_json(out / "grids" / "evil.json", {"points": points})
    found = rm(out, "grid=evil", yes=True)
    assert isinstance(found.exception, LoopscopeError) and "is no run id" in str(found.exception)
    direct = Candidate(RunFolder(out / ".." / "outside"), (), 0)
    ((_, problem),) = remove(out, [direct])
    assert "is a link to another place" in problem and outside.result() is not None


def test_a_run_that_another_starts_from_stays(out: Path) -> None:
    later = {**config("bios", 2, 9), "start": "capacity-1x1-0"}
    write_run(out, "later", later)
    found = rm(out, "task=bios,n_loops=1", yes=True)
    assert found.exit_code == 2 and "later, which is not done, starts from" in found.stderr
    assert rm(out, "task=bios,n_loops=1|2", yes=True).exit_code == 0, "both may go"


def test_what_cannot_be_removed_is_told_and_its_lock_released(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if source.name == "capacity-1x2-0":
            raise PermissionError(13, "Permission denied", str(source))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    found = rm(out, "task=bios", yes=True)
    assert found.exit_code == 2 and "capacity-1x2-0: Permission denied" in found.stderr
    assert [p.name for p in out.glob("*capacity-*")] == ["capacity-1x2-0"]
    assert not RunLock.is_held(out / "capacity-1x2-0" / "claim.json")
    record = json.loads((out / "grids" / "toy.json").read_text())
    kept = {point["run_id"] for point in record["points"]}
    assert "capacity-1x2-0" in kept and "capacity-1x4-0" not in kept


def test_where_records_cannot_be_written_all_stays(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    before = sorted(p.name for p in out.iterdir())
    monkeypatch.setattr("experiments.results.removal.write_json", full)
    with pytest.raises(OSError, match="No space left"):
        list(remove(out, candidates(out, parse(["task=bios"]))))
    assert sorted(p.name for p in out.iterdir()) == before
    assert not list(out.glob("*/claim.json"))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ([], "say which runs with --where"),
        (["task=mano"], "has no run with task=mano"),
        (["metric=accuracy"], "rm removes whole runs"),
        (["taks=bios"], "did you mean 'task'"),
        (["k"], "needs a column"),
    ],
)
def test_bad_requests_are_messages(out: Path, where: list[str], message: str) -> None:
    before = files(out)
    found = rm(out, *where, yes=True)
    assert isinstance(found.exception, LoopscopeError) and message in str(found.exception)
    assert files(out) == before


def test_only_folders_of_runs_are_touched(tmp_path: Path) -> None:
    found = rm(tmp_path / "nowhere", "k=1", yes=True)
    assert "is no folder of runs" in str(found.exception)
    (tmp_path / "thesis").mkdir()
    assert "has no run with" in str(rm(tmp_path, "k=1", yes=True).exception)
    (tmp_path / "mine.zip").write_bytes(b"PK")
    found = rm(tmp_path / "mine.zip", "k=1", yes=True)
    assert "archives are for table, figure, compare, report" in str(found.exception)


def test_an_archive_is_a_command(out: Path, tmp_path: Path) -> None:
    with RunFolder(out / "functions-1x1-0").metrics_path.open("a") as file:
        file.write('{"step": 2000, "lo')
    found = CliRunner().invoke(app, ["archive", str(out)])
    assert "functions-1x1-0 measured while it was trained is left out" in found.stderr
    assert found.exit_code == 0 and str(tmp_path / "runs.zip: 9 runs, 25 lines") in found.stdout
    found = CliRunner().invoke(app, ["table", str(tmp_path / "runs.zip")])
    assert found.exit_code == 0 and "9 runs read from the archive" in found.stderr
    both = str(tmp_path / "both.zip")
    added = ["archive", str(out), both, "--add", str(tmp_path / "runs.zip")]
    found = CliRunner().invoke(app, added)
    assert found.exit_code == 0 and f"{both}: 9 runs, 25 lines" in found.stdout
    found = CliRunner().invoke(app, ["archive", str(tmp_path / "runs.zip")])
    assert "is a file, and this needs the folder of the runs" in str(found.exception)
