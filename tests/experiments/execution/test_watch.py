"""`status` and `logs`: what a second shell sees of runs that are written at the same time."""

import io
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console
from synthetic_results import config, write_run

from experiments.errors import LoopscopeError
from experiments.execution import watch
from experiments.execution.watch import log_lines, status_text, watch_status
from experiments.runs.folder import RunFolder
from experiments.runs.lock import RunLock
from experiments.runs.status import Status


def running(out: Path, name: str) -> tuple[RunFolder, RunLock]:
    folder = write_run(out, name, config("bios", 1, 0))
    claim = RunLock.acquire(folder.lock_path)
    assert claim is not None
    folder.write_status(
        Status(
            state="running",
            step=50,
            last_step=200,
            loss=1.25,
            tokens_per_second=1234.5,
            seconds_left=75,
        )
    )
    return folder, claim


def test_status_tells_speed_and_time_left_of_a_running_run(tmp_path: Path) -> None:
    _, claim = running(tmp_path, "bios-1x1-a")
    write_run(tmp_path, "bios-1x1-b", config("bios", 1, 1)).fail("the disk is full")
    lines = status_text(tmp_path).splitlines()
    first = ["bios-1x1-a", "running", "50/200", "1.2500", "1,234", "1", "min", "15", "s"]
    assert lines[1].split() == first
    assert lines[2].endswith("the disk is full")
    assert lines[-1] == "1 failed, 1 running"
    claim.release()
    assert status_text(tmp_path).splitlines()[1].split() == first[:1] + ["resumable", *first[2:4]]


def test_watching_ends_when_nothing_runs_and_reads_what_changes(tmp_path: Path) -> None:
    folder, claim = running(tmp_path, "bios-1x1-a")
    text = io.StringIO()

    def finish() -> None:
        time.sleep(0.2)
        folder.write_result({"run_id": folder.run_id, "measurements": []})
        claim.release()

    other = threading.Thread(target=finish)
    other.start()
    watch_status(tmp_path, 0.02, Console(file=text, force_terminal=False))
    other.join()
    assert text.getvalue().splitlines() == ["1 running", "1 done"]


def test_on_a_terminal_the_table_is_drawn_again(tmp_path: Path) -> None:
    folder, claim = running(tmp_path, "bios-1x1-a")
    threading.Timer(0.2, claim.release).start()
    text = io.StringIO()
    watch_status(tmp_path, 0.02, Console(file=text, force_terminal=True, width=200))
    assert "1 min 15 s" in text.getvalue() and "1 resumable" in text.getvalue()


def test_watching_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(LoopscopeError, match="is no folder"):
        watch_status(tmp_path / "absent", 0.1)
    (tmp_path / "mine.zip").write_bytes(b"PK")
    with pytest.raises(LoopscopeError, match="is a file, .* archives are for table, figure"):
        status_text(tmp_path / "mine.zip")


def test_a_finished_run_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        write_run(tmp_path, f"bios-1x1-{i}", config("bios", 1, i), [] if i else None)
    watched = watch.Watched(tmp_path)
    first = watched.snapshot()
    read: list[str] = []
    original = watch._row
    monkeypatch.setattr(watch, "_row", lambda f: read.append(f.run_id) or original(f))
    assert watched.snapshot() == first
    assert read == ["bios-1x1-0"]


# --- logs ------------------------------------------------------------------------------------


def test_a_log_is_printed_whole_or_its_end(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "bios-1x1-a", config("bios", 1, 0))
    with pytest.raises(LoopscopeError, match="has no log yet"):
        list(log_lines(folder))
    for i in range(5):
        folder.log(f"line {i}")
    assert [line.split()[-1] for line in log_lines(folder)] == list("01234")
    assert [line.split()[-1] for line in log_lines(folder, last=2)] == list("34")


def test_following_tells_lines_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL", 0.01)
    folder, claim = running(tmp_path, "bios-1x1-a")
    path = folder.path / "log.txt"
    path.write_text("one\ntw")

    def write() -> None:
        for text in ("o\nthr", "ee\n", "fo\xffur"):
            time.sleep(0.05)
            with path.open("ab") as file:
                file.write(text.encode("latin1"))
        claim.release()

    other = threading.Thread(target=write)
    other.start()
    assert list(log_lines(folder, follow=True)) == ["one", "two", "three", "fo\ufffdur"]
    other.join()
