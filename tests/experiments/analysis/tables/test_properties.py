"""Accuracy by a latent of the questions as a table, and what is said where no table is."""

from pathlib import Path

import pytest
from synthetic_results import accuracies, config, write_run

from experiments.analysis.tables.tables import markdown_table
from experiments.runs.output import prepare_output

DEPTHS = {(2, 2): 0.9, (3, 2): 0.7, (3, 3): 0.5}


def by_depth(loops: int, more: float = 0.0, split: str = "test") -> list[dict]:
    """Rows as the probe `accuracy_by` writes them, floors a tenth of the values."""
    return [
        {
            "metric": "accuracy",
            "split": split,
            "item": f"depth {depth}",
            "difficulty": operators,
            "loop": loops,
            "value": value + more,
            "floor": value / 10,
            "ceiling": 1.0,
            "n_items": 200,
        }
        for (operators, depth), value in DEPTHS.items()
    ]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_column_for_each_value_of_a_difficulty_with_its_floor(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    for seed, more in enumerate((0.0, 0.05)):
        whole = accuracies(2, {2: 0.9, 3: 0.6}, 0.2)
        write_run(tmp_path, f"r{seed}", config("mano", 2, seed), whole + by_depth(2, more))
    questions, depths = markdown_table(tmp_path).split("\n\n**", 1)[0], markdown_table(tmp_path)
    assert "depth" not in questions.partition("by depth")[0], "the usual table is as it was"
    lines = depths[depths.index("accuracy by depth") :].splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("|"))
    names = ["2 operators, depth 2", "3 operators, depth 2", "3 operators, depth 3"]
    assert cells(lines[head]) == ["arm", "seeds", *names]
    row, floor = (cells(line) for line in lines[head + 2 : head + 4])
    assert row[:2] == ["1⊗2", "2"]
    assert [text.split()[0] for text in row[2:]] == ["0.925", "0.725", "0.525"]
    assert floor == ["floor", "", "0.090", "0.070", "0.050"]


def test_other_splits_say_so(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    cached = by_depth(2)[0] | {"item": "exit all, cache full, prefill full"}
    rows = [*by_depth(2), *by_depth(2, split="train"), *by_depth(2, split="ood"), cached]
    write_run(tmp_path, "r", config("mano", 2, 0), rows)
    text = markdown_table(tmp_path)
    for name in ("depth 3 |", "depth 3, seen |", "depth 3, ood |"):
        assert f"3 operators, {name}" in text
    assert "prefill" not in text.partition("accuracy by depth")[2].partition("**")[0]


@pytest.mark.parametrize("measured", [True, False])
def test_where_no_table_is_it_says_what_there_is(tmp_path: Path, measured: bool) -> None:
    prepare_output(tmp_path)
    if not measured:
        assert markdown_table(tmp_path) == f"{tmp_path} has no runs yet"
        return
    row = {"metric": "lens_rank", "split": "test", "loop": 2, "value": 3.0, "n_items": 9}
    write_run(tmp_path, "r", config("mano", 2, 0), [row])
    text = markdown_table(tmp_path)
    assert text.startswith(f"no table shows what the runs in {tmp_path} measured (lens_rank);")
