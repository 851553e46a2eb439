"""Cells of known results: runs of two arms in pairs by seed, what failed, what ended early."""

import json
from math import inf
from pathlib import Path

import pytest
from paired_cells import NOISE, SEEDS
from scipy import stats
from synthetic_results import accuracies, bits, config, write_run
from typer.testing import CliRunner

from experiments.analysis.verdicts.cells import cells
from experiments.analysis.verdicts.claims import HYPOTHESES
from experiments.analysis.verdicts.text import as_data, report
from experiments.analysis.verdicts.verdicts import judge
from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.notebook import compare
from experiments.results.long_table import read_results
from experiments.results.row_filter import parse
from experiments.runs.output import prepare_output


def test_cells_pair_by_seed_whatever_the_learning_rate(out: Path) -> None:
    (found,) = cells(read_results(out), "capacity", between=("1⊗4", "1⊗2"))
    assert (found.name, found.a, found.b) == ("stored", "1⊗4", "1⊗2")
    assert found.seeds == tuple(SEEDS) and found.alone == ()
    assert found.b_values == pytest.approx([1.5 + 0.1 * s for s in SEEDS])
    assert found.a_values == pytest.approx([1.5 + 0.1 * s + NOISE[s] for s in SEEDS])
    assert found.ceilings == (3.0, 3.0)
    two, three = cells(read_results(out), "manipulation")
    assert (two.name, three.name) == ("asked, 2 hops", "asked, 3 hops")
    assert three.floor == pytest.approx(0.2)


def test_solved_cells_are_of_accuracies(out: Path) -> None:
    two, three = cells(read_results(out), "solved")
    assert set(three.a_values) == {0.0} and set(three.b_values) == {1.0}
    assert set(two.a_values) == set(two.b_values) == {1.0}, ".95 is enough"


def test_a_condition_on_the_loop_chooses_another_than_the_last(out: Path) -> None:
    results = read_results(out)
    two, _ = cells(results, "manipulation", conditions=parse(["loop=1"]))
    assert set(two.a_values) == set(two.b_values) == {0.01}, "what earlier loops read"
    (two, _) = cells(results, "manipulation", filters={"loop": 1})
    assert set(two.a_values) == {0.01}, "as a filter of a notebook too"
    with pytest.raises(LoopscopeError, match="condition on loop leaves 2 loops; choose one"):
        cells(results, "manipulation", conditions=parse(["loop<=2"]))


def failing(folder: Path, lost: dict[int, tuple[int, ...]]) -> Path:
    """Four seeds of 1⊗1, which solves nothing, and of 1⊗4; the seeds given failed."""
    prepare_output(folder)
    for loops, value in ((1, 0.3), (4, 0.97)):
        for seed in range(4):
            value_of_seed = {2: value + 0.001 * seed}
            rows = accuracies(loops, value_of_seed, 0.1)
            ended = seed in lost.get(loops, ())
            lines = [{"step": 100, "measurements": accuracies(loops, {2: 0.1}, 0.1)}]
            lines += [] if ended else [{"step": 1000, "measurements": rows}]
            run = write_run(
                folder,
                f"{loops}-{seed}",
                config("multihop", loops, seed),
                None if ended else rows,
                metrics=lines,
            )
            if ended:
                run.fail("the loss is nan\nat step 120")
    return folder


def test_failed_seeds_are_told_and_count_as_not_solved(tmp_path: Path) -> None:
    results = read_results(failing(tmp_path, {4: (3,)}))
    claim = HYPOTHESES["manipulation-better"]
    (found,) = judge(cells(results, "manipulation"), claim)
    assert found.cell.seeds == (0, 1, 2) and found.cell.failed == ((), (3,))
    assert [(s.count, s.n) for s in found.solved] == [(0, 4), (3, 4)]
    said = report("x", claim, [found])
    assert "over 3 seeds (1 without a partner left out); 1 of 1⊗4 failed: 1⊗1 0.301" in said
    assert "eeds that reach 0.95: 1⊗1 0/4" in said and "1⊗4 3/4" in said
    assert as_data(found, claim)["seeds_failed"] == ((), (3,))
    (kept,) = cells(results, "manipulation", filters={"seed": [0, 1, 2]})
    assert kept.failed == ((), ()), "a seed that was not asked for is not missing"


def test_steps_count_a_failed_seed_as_never(tmp_path: Path) -> None:
    claim = HYPOTHESES["needs-fewer-steps"]
    results = read_results(failing(tmp_path, {4: (3,)}))
    (found,) = judge(cells(results, "steps"), claim)
    assert found.p == pytest.approx(stats.fisher_exact([[0, 4], [3, 1]]).pvalue)
    said = report("x", claim, [found])
    assert "1⊗1 in 0 of 4 seeds, by 1⊗4 in 3 of 4 seeds (median step 1k); 1 of 1⊗4 failed" in said


def test_an_arm_of_which_every_run_failed_is_no_verdict_and_not_nothing(tmp_path: Path) -> None:
    results = read_results(failing(tmp_path, {4: (0, 1, 2, 3)}))
    claim = HYPOTHESES["manipulation-better"]
    for between in (None, ("1⊗1", "1⊗4")):
        (found,) = judge(cells(results, "manipulation", between=between), claim)
        assert (found.outcome, found.reason) == ("no verdict", "no seed finished in both arms")
        assert "4 of 1⊗4 failed" in report("x", claim, [found])
        json.dumps(as_data(found, claim), allow_nan=False)


def test_steps_of_curves(out: Path) -> None:
    (found,) = cells(read_results(out), "steps")
    assert set(found.a_values) == {2000.0} and set(found.b_values) == {1000.0}
    assert judge([found], HYPOTHESES["needs-fewer-steps"])[0].outcome == "supported"


def test_a_skill_after_the_other_arm_has_ended_says_nothing(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    for loops, last in ((1, 1000), (2, 3000)):
        for seed in range(2):
            value = 0.95 if loops == 2 else 0.1
            lines = [{"step": last, "measurements": accuracies(loops, {2: value}, 0.1)}]
            rows = accuracies(loops, {2: value}, 0.1)
            write_run(
                tmp_path, f"{loops}-{seed}", config("multihop", loops, seed), rows, metrics=lines
            )
    (found,) = cells(read_results(tmp_path), "steps")
    assert set(found.b_values) == {inf}


def test_seeds_without_partner_are_named_and_twins_refused(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    for loops, seed in ((1, 0), (1, 1), (1, 5), (2, 0), (2, 1)):
        write_run(tmp_path, f"{loops}-{seed}", config("bios", loops, seed), bits(loops, 1.0))
    (found,) = cells(read_results(tmp_path), "capacity")
    assert (found.seeds, found.alone) == ((0, 1), (5,))
    assert "(1 without a partner left out)" in report(
        "x", HYPOTHESES["capacity-different"], judge([found], HYPOTHESES["capacity-different"])
    )
    write_run(tmp_path, "twin", config("bios", 2, 0, lr=5e-3), bits(2, 1.2))
    with pytest.raises(LoopscopeError, match=r"several runs of 1⊗2 share a seed.*lr"):
        cells(read_results(tmp_path), "capacity")
    assert cells(read_results(tmp_path), "capacity", filters={"lr": 1e-3})


def test_several_pairs_are_one_family(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    for loops, value in ((1, 0.2), (2, 0.5), (4, 1.0)):
        for seed in range(6):
            rows = accuracies(loops, {2: value}, 0.1)
            write_run(tmp_path, f"{loops}-{seed}", config("multihop", loops, seed), rows)

    def compared(*arguments: str) -> str:
        asked = ["compare", str(tmp_path), "--claim", "manipulation-better", *arguments]
        return CliRunner().invoke(app, asked, catch_exceptions=False).output

    one = compared("--between", "1x2", "1x4")
    assert "supported in 1 of 1 cell" in one and "p 0.031" in one and "Holm" not in one
    two = compared("--between", "1x1", "1x2", "--pair", "1x2:1x4")
    assert "undecided in 2 of 2 cells" in two
    assert two.count("p 0.031, 0.062 after Holm over 2 cells") == 2
    assert two == compared("--pair", "1x1:1x2", "--pair", "1⊗2:1⊗4")
    own = compared("--pair", "1x1:1x2:difficulty=2", "--pair", "1x2:1x4:seed<6")
    assert own == two, "each has conditions of its own"
    with pytest.raises(LoopscopeError, match="has no rows with"):
        compared("--pair", "1x1:1x2:difficulty=3")
    pairs = [("1⊗1", "1⊗2"), ("1⊗2", "1⊗4")]
    assert compare(tmp_path, "manipulation-better", pairs) in two


def test_more_than_arms_can_be_compared(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    for kind, shift in (("last_loop", 0.0), ("entropy", 0.2)):
        for loops in (1, 2):
            for seed in range(3):
                run = config("bios", loops, seed)
                run["objective"] = {"kind": kind}
                value = 1.0 + shift + NOISE[seed]
                write_run(tmp_path, f"{kind}-{loops}-{seed}", run, bits(loops, value))
    found = cells(
        read_results(tmp_path), "capacity", by="objective", between=("last_loop", "entropy")
    )
    assert [c.name for c in found] == ["bios, 1⊗1", "bios, 1⊗2"]
    assert {
        round(b - a, 9) for c in found for a, b in zip(c.a_values, c.b_values, strict=True)
    } == {0.2}


@pytest.mark.parametrize(
    ("longer", "converged"), [({}, None), ({1: 1.51, 2: 1.49}, True), ({1: 1.51, 2: 1.6}, False)]
)
def test_a_cell_has_converged_where_both_of_its_arms_have(
    tmp_path: Path, longer: dict[int, float], converged: bool | None
) -> None:
    prepare_output(tmp_path)
    for exposures in (100, 200):
        for loops, value in {1: 1.5, 2: 1.5}.items() if exposures == 100 else longer.items():
            for seed in range(2):
                run = config("bios", loops, seed, phases=[{"until_exposure": exposures}])
                name = f"{loops}-{exposures}-{seed}"
                write_run(tmp_path, name, run, bits(loops, value), exposures=exposures)
    (found,) = cells(read_results(tmp_path), "capacity", filters={"exposures": 100})
    assert found.converged is converged
