"""One folder and two grid files of the same name."""

import json
from pathlib import Path

import pytest
from command import TOY, command


@pytest.mark.usefixtures("work_here")
def test_two_grid_files_of_one_name_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / folder / "sweep.yaml" for folder in "ab"]
    for file, width in zip(files, (16, 32), strict=True):
        file.parent.mkdir()
        text = TOY.replace("width: 16", f"width: {width}").replace("[1, 2]", "[1]")
        file.write_text(text.replace("until_step: 12", "until_step: 2"), encoding="utf-8")
    out = tmp_path / "runs"
    assert command(monkeypatch, "run", files[0], "--out", out, "--workers", 1) == 0
    record = json.loads((out / "grids" / "sweep.json").read_text(encoding="utf-8"))
    assert record["file"] == str(files[0].resolve())
    capsys.readouterr()
    for asked in (["plan"], ["run"], ["run", "--dry-run"]):
        assert command(monkeypatch, *asked, files[1], "--out", out) == 2
        told = capsys.readouterr().err
        assert str(files[0]) in told and str(files[1]) in told and "--out" in told
    assert json.loads((out / "grids" / "sweep.json").read_text(encoding="utf-8")) == record
    with files[0].open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    assert command(monkeypatch, "run", files[0], "--out", out, "--workers", 1) == 0
    assert len(list(out.glob("*/config.json"))) == 1
