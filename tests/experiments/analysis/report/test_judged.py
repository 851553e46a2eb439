"""What the report's table of verdicts must not leave unsaid."""

from pathlib import Path

import pytest
from synthetic_results import accuracies, config, write_run

from experiments.analysis.report.verdicts import judged
from experiments.notebook import compare
from experiments.results.long_table import read_results
from experiments.runs.output import prepare_output
from experiments.text import NumberText


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Four seeds of 1⊗1, which never solves it, and of 1⊗4, of which one failed."""
    prepare_output(tmp_path)
    for loops, value in ((1, 0.3), (4, 1.0)):
        for seed in range(4):
            ended = loops == 4 and seed == 3
            rows = None if ended else accuracies(loops, {2: value}, 0.1)
            lines = [{"step": 400, "measurements": rows}] if rows else []
            run = config("multihop", loops, seed)
            made = write_run(tmp_path, f"{loops}-{seed}", run, rows, metrics=lines)
            if ended:
                made.fail("the loss is nan")
    return tmp_path


def test_failed_seeds_and_reasons_are_in_the_table_and_in_the_words(out: Path) -> None:
    results = read_results(out)
    found = judged(results, "manipulation-better")
    assert found.table is not None
    row = dict(zip(found.table.columns, found.table.rows[0], strict=True))
    assert row["seeds"] == "3, 1 failed"
    assert row["reason"].startswith("3 pairs of seeds are too few: all going one way have p 0.25")
    assert isinstance(row["95 % interval"], NumberText) and row["95 % interval"].value > -1
    assert row["p (Holm)"] == "0.25" and "1 of 1⊗4 failed" in " ".join(found.words[0])
    steps = judged(results, "needs-fewer-steps")
    assert steps.table is not None
    assert dict(zip(steps.table.columns, steps.table.rows[0], strict=True))["reason"] == ""
    assert "by 1⊗1 in 0 of 4 seeds, by 1⊗4 in 3 of 4 seeds" in " ".join(steps.words[0])


def test_the_notebook_says_the_same(out: Path) -> None:
    said = compare(out, "manipulation-better")
    assert "1 of 1⊗4 failed" in said and "3 pairs of seeds are too few" in said
    assert "< .0001" not in said and "+0.700 to" not in said
    never = compare(out, "needs-fewer-steps", seed=[0, 1])
    assert "2 seeds an arm are too few: all against none has p 0.33" in never
