"""The task of a run is the same world from a folder, an archive and results that come along."""

from pathlib import Path

import pytest
from synthetic_results import write_toy

import loopscope
from experiments.errors import LoopscopeError
from experiments.measuring.load import load_model
from experiments.measuring.load import load_task as of_folder
from experiments.results import load_task
from experiments.results.archive import write_archive
from experiments.runs.reference import place_of
from generators.streams import Stream, generator


def test_an_archive_holds_the_task_of_its_folder(tmp_path: Path) -> None:
    out = write_toy(tmp_path / "runs", seeds=2)
    archive = tmp_path / "runs.zip"
    write_archive(out, archive)
    one, other = "functions-1x2-0", "functions-1x2-1"

    def tokens(task: object) -> bytes:
        return task.sample(generator(0, Stream.EVALUATION), 16).tokens.tobytes()  # type: ignore[attr-defined]

    from_folder = tokens(of_folder(out, one))
    assert tokens(load_task(archive, one)) == tokens(load_task(out, one)) == from_folder
    assert tokens(load_task(archive, other)) != from_folder, "the control: another seed"
    assert loopscope.load_task is load_task


def test_what_comes_along_is_read_by_its_short_name() -> None:
    for name in ("inside", "exits"):  # a folder and an archive
        runs = loopscope.load_runs(f"reference:{name}")
        task = load_task(f"reference:{name}", runs["run_id"].iloc[0])
        assert task.kind == "multihop" and place_of(f"reference:{name}").exists()


@pytest.mark.parametrize(
    ("run_id", "message"),
    [
        ("functions-1x2-7", "has no run functions-1x2-7"),
        ("functions-1x2", "is the start of 2 runs in .*functions-1x2-0, functions-1x2-1"),
        ("", "is the start of"),
    ],
)
def test_a_run_that_is_not_there_is_told(tmp_path: Path, run_id: str, message: str) -> None:
    out = write_toy(tmp_path / "runs", seeds=2)
    archive = tmp_path / "runs.zip"
    write_archive(out, archive)
    for place in (out, archive):
        with pytest.raises(LoopscopeError, match=message):
            load_task(place, run_id)
    with pytest.raises(LoopscopeError, match=r"nowhere is no folder of runs"):
        load_task(tmp_path / "nowhere", run_id)
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(LoopscopeError, match="text.zip is no archive of results"):
        load_task(tmp_path / "text.zip", run_id)


def test_an_archive_has_no_weights_and_says_so(tmp_path: Path) -> None:
    archive = tmp_path / "runs.zip"
    write_archive(write_toy(tmp_path / "runs", seeds=1), archive)
    with pytest.raises(LoopscopeError, match="an archive holds their numbers and not their weig"):
        load_model(archive, "functions-1x2-0")
