"""What `plan` and `sample` warn of: settings with which the numbers mean less than they seem to."""

from pathlib import Path

import pytest

from experiments.cli.main import main
from experiments.export.documents import describe_task
from experiments.grid.grid import load_grid
from experiments.planning.plan import caveats
from generators.biod import BioD


def test_plan_and_sample_warn_once_of_shapes_outside_the_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (warning,) = caveats(load_grid("saturation", ["task.alphabet=65"]))  # 27 runs of one task
    assert "people 250 are fewer" in warning
    assert caveats(load_grid("quick")) == caveats(load_grid("headline")) == []
    inside = {"people": 600, "diversity": 16, "length": 2, "alphabet": 16}
    for fields in ({"alphabet": 65}, inside):
        changes = [part for name, n in fields.items() for part in ("--set", f"task.{name}={n}")]
        argv = ["loopscope", "plan", "saturation", "--out", str(tmp_path / "runs"), *changes]
        monkeypatch.setattr("sys.argv", argv)
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        assert ("outside the range" in capsys.readouterr().err) == (fields is not inside)
    told = describe_task("biod", BioD(alphabet=65).bind(0), n=1, split="train", difficulty=None)
    assert "outside the range" in told and "occur in this world" not in told
    told = describe_task("biod", BioD(**inside).bind(0), n=1, split="train", difficulty=None)
    assert "outside the range" not in told


def test_sample_says_how_many_words_occur() -> None:
    task = BioD(people=3).bind(0)
    told = describe_task("biod", task, n=1, split="train", difficulty=None)
    assert f"{task.occurring.sum()} of the tokens occur in this world" in told
