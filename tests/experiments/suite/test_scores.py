"""Scores against numbers computed by hand, from rows written by hand."""

from typing import Any

import pandas as pd
import pytest

from experiments.results.long_table import Results
from experiments.suite.axes import axes
from experiments.suite.score import Score, at_best_rate

EMPTY = {
    "run_id": "r",
    "part": "p",
    "arm": "model",
    "metric": "",
    "value": 0.0,
    "split": "test",
    "item": "",
    "difficulty": float("nan"),
    "loop": float("nan"),
    "n_loops": 4,
    "seed": 0,
    "lr": 0.004,
    "step": 0,
    "floor": float("nan"),
    "ceiling": 1.0,
}


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([EMPTY | row for row in rows], columns=None if rows else list(EMPTY))


def score(axis: str, *rows: dict[str, Any], curves: tuple[dict[str, Any], ...] = ()) -> Score:
    def no_config(run_id: str) -> Any:
        raise AssertionError("a score reads rows alone")

    return axes()[axis].score(Results(frame(*rows), lambda: frame(*curves), no_config))


def bits(seed: int, value: float, ending: str = "", **more: Any) -> dict[str, Any]:
    metric = f"bits_per_parameter{ending}"
    row = {"metric": metric, "item": "total", "split": "train", "loop": 4, "floor": 0.0}
    return {**row, "seed": seed, "value": value, "ceiling": 2.5, **more}


def right(seed: int, difficulty: int, value: float, **more: Any) -> dict[str, Any]:
    row = {"metric": "accuracy", "seed": seed, "difficulty": difficulty, "loop": 4, "floor": 0.125}
    return {**row, "value": value, **more}


def test_ceiling_is_the_mean_of_the_last_loop() -> None:
    names = bits(0, 9.0) | {"item": "name"}
    found = score("ceiling", bits(0, 1.0), bits(1, 2.0), bits(0, 0.1, loop=1), names)
    assert (found.value, found.floor, found.ceiling, found.seeds) == (1.5, 0.0, 2.5, 2)
    assert found.per_seed == {0: 1.0, 1: 2.0}
    assert found.normalised == pytest.approx(1.5 / 3.83), "of what is known to be held, not of 2.5"
    # t of one degree of freedom at .975 is 12.7, so that both ends are those of what can be
    assert (found.low, found.high) == (0.0, 2.5)


def test_layered_questions_are_those_held_out_with_what_was_seen_on_the_way() -> None:
    rows = [right(0, 3, 0.4), right(1, 3, 0.6), right(0, 3, 0.9, split="train")]
    curves = (right(0, 3, 0.1, step=2500), right(1, 3, 0.3, step=2500), right(0, 3, 0.4, step=5000))
    found = score("layered", *rows, curves=curves)
    assert (found.value, found.floor, found.ceiling) == (0.5, 0.125, 1.0)
    assert (found.along, found.curve) == ("step", pytest.approx({"2500": 0.2, "5000": 0.4}))


def test_bits_of_models_of_any_size_are_normalised_alike() -> None:
    """Equal bits per parameter are equal, whatever there is to store for each parameter."""
    for axis in ("ceiling", "speed"):
        small, large = (
            score(axis, bits(0, 0.9, ceiling=top), curves=(bits(0, 0.9, ceiling=top),))
            for top in (0.95, 3.5)
        )
        assert small.normalised == large.normalised == pytest.approx(0.9 / 3.83), axis
        assert (small.ceiling, large.ceiling) == (0.95, 3.5)
    beyond = score("ceiling", bits(0, 4.0, ceiling=6.0))
    assert beyond.normalised == 1.0, "cut, as ever"


def test_what_holds_nearly_all_there_is_may_hold_more_and_has_no_value() -> None:
    full = score("ceiling", bits(0, 2.4), bits(1, 2.4))
    assert full.value is None
    assert full.reason == (
        "nearly all there is to store, 2.40 of 2.50 bits/parameter: it may hold more"
    )
    assert score("ceiling", bits(0, 2.3), bits(1, 2.4)).value == pytest.approx(2.35), ".94 of 2.5"
    early = score("speed", bits(0, 2.5), curves=(bits(0, 2.4),))
    assert early.value == 2.4, "how fast it came to be full is seen"


def test_an_interval_is_that_of_t_and_ends_where_values_can_not_be() -> None:
    near = Score.of({0: 0.99, 1: 1.01}, "u", floor=0.0, ceiling=2.5)
    assert near.high == pytest.approx(1.0 + 12.7062 * 0.01, rel=1e-4)
    below = Score.of({0: -0.5, 1: 2.0}, "u", floor=0.0, ceiling=2.5)
    assert below.low is not None and below.low < -1 and below.high == 2.5
    share = Score.of({0: 0.2, 1: 0.9}, "u", floor=0.5, ceiling=1.0)
    assert share.low is not None and 0 < share.low < 0.2, "a floor is no bound of an accuracy"


def test_one_seed_has_no_interval() -> None:
    found = score("ceiling", bits(3, 1.0))
    assert (found.seeds, found.low, found.high) == (1, None, None)


def test_speed_reads_the_first_evaluation() -> None:
    curves = (bits(0, 0.25, step=300), bits(0, 1.0, step=600), bits(1, 0.75, step=300))
    assert score("speed", bits(0, 2.0), curves=curves).value == 0.5
    assert score("speed", bits(0, 2.0)).reason == "no bits were measured during training"


def test_rounded_is_the_mean_share_kept() -> None:
    rows = (bits(0, 2.0), bits(0, 1.8, "_int8"), bits(0, 1.0, "_int4"))
    assert score("rounded", *rows).value == pytest.approx(0.7)
    worse = (bits(0, 2.0), bits(0, 1.8, "_int8"), bits(0, -3.0, "_int4"))
    assert score("rounded", *worse).value == pytest.approx(0.45), "no less than none is kept"
    few = (bits(0, 0.05), bits(0, 0.05, "_int8"), bits(0, 0.01, "_int4"))
    assert "nothing to lose" in score("rounded", *few).reason


def test_recall_by_loop_is_the_share_read_after_the_best_loop_but_the_last() -> None:
    read = {0: {1: -0.5, 2: 0.25, 3: 1.0, 4: 2.0}, 1: {1: 0.5, 2: 0.25, 3: 1.0, 4: 1.0}}
    rows = [bits(s, v, loop=n) for s, of in read.items() for n, v in of.items()]
    found = score("recall_by_loop", *rows)
    assert found.per_seed == {0: 0.5, 1: 1.0} and found.value == 0.75
    assert found.unit == "share of the bits, after loop 3" and found.ceiling == 1.0
    assert found.curve == {"1": 0.0, "2": 0.25, "3": 1.0, "4": 1.5}
    assert found.along == "loop, bits/parameter"
    # a head that is sure of what is wrong reads nothing
    low = score("recall_by_loop", bits(0, -0.5, loop=1, n_loops=2), bits(0, 2.0, loop=2, n_loops=2))
    assert low.value == 0.0 and low.curve == {"1": -0.5, "2": 2.0}
    once = score("recall_by_loop", bits(0, 1.0, loop=1, n_loops=1))
    assert once.reason == "one loop: there is none before the last"
    assert "before the last loop" in score("recall_by_loop", bits(0, 1.0)).reason
    few = score("recall_by_loop", bits(0, 0.05, loop=3), bits(0, 0.09))
    assert few.reason == "less than 0.1 bits per parameter are stored: nothing to read"


def test_what_is_behind_a_score_is_told_along_its_axis() -> None:
    hops = [right(s, d, v) for d, v in ((2, 1.0), (3, 0.5)) for s in (0, 1)]
    assert score("composition", *hops, right(2, 3, 1.0)).curve == {
        "2": 1.0,
        "3": pytest.approx(1 / 3),
    }, "of three seeds one"
    depths = [right(0, 1, 0.9), right(1, 1, 0.7), right(0, 3, 0.2)]
    assert score("procedure", *depths).curve == {"1": pytest.approx(0.8), "3": 0.2}
    assert score("in_context", *depths).along == "pairs"
    rows = (bits(0, 2.0), bits(0, 1.8, "_int8"), bits(0, 1.0, "_int4"))
    rows += (bits(1, 1.0), bits(1, 1.0, "_int8"), bits(1, 0.0, "_int4"))
    found = score("rounded", *rows)
    assert found.curve == {"8": pytest.approx(0.95), "4": 0.25}
    assert found.value == pytest.approx((0.95 + 0.25) / 2)


def test_reliability_names_the_rates_at_which_every_seed_works() -> None:
    share = {0.002: (1.0, 1.0), 0.004: (1.0, 1.0), 0.008: (0.96, 0.94), 0.016: (0.1, 0.2)}
    rows = [right(s, 2, v, lr=lr) for lr, of in share.items() for s, v in enumerate(of)]
    found = score("reliability", *rows)
    assert found.unit.endswith("every seed at 0.002 and 0.004")
    assert found.curve == {"0.002": 1.0, "0.004": 1.0, "0.008": 0.5, "0.016": 0.0}
    assert score("reliability", *rows[6:]).unit.endswith("every seed at no rate")


def test_composition_counts_hops_solved_at_the_rate_that_validation_chooses() -> None:
    slow = [right(s, d, 0.96, lr=0.002) for s in (0, 1) for d in (2, 3)]
    fast = [right(0, 2, 1.0), right(0, 3, 0.94), right(1, 2, 1.0), right(1, 3, 0.95)]
    one_hop = [right(0, 1, 1.0, split="train")]
    chosen = [right(0, 2, v, split="validation", lr=lr) for lr, v in ((0.002, 0.5), (0.004, 0.6))]
    rates = {"training.lr": "x"}
    rows = [row | rates for row in (*slow, *fast, *one_hop, *chosen)]
    found = score("composition", *rows)
    assert found.per_seed == {0: 0.5, 1: 1.0} and found.value == 0.75
    # without the axis of rates nothing is chosen
    assert score("composition", *slow).value == 1.0
    # reliability takes all of them: two hops in four runs of four
    assert score("reliability", *rows).value == 1.0
    bad = [row | {"value": 0.5} if row.get("lr") == 0.002 else row for row in rows]
    assert score("reliability", *bad).per_seed == {0: 0.5, 1: 0.5}


def test_the_smaller_of_two_rates_that_tie_is_taken() -> None:
    rows = [right(0, 2, 0.9, split="validation", lr=lr) for lr in (0.008, 0.002)]
    runs = frame(*(row | {"training.lr": "x"} for row in rows))
    assert set(at_best_rate(runs)["lr"]) == {0.002}


def test_depth_dial_is_the_mean_at_half_twice_and_four_times_the_loops() -> None:
    loops = {1: 0.1, 2: 0.5, 4: 1.0, 8: 0.9, 16: 0.4}
    rows = [right(0, 2, v, metric="loops_accuracy", loop=n) for n, v in loops.items()]
    assert score("depth_dial", *rows).value == pytest.approx(0.6)
    more = right(0, 2, 0.7, metric="loops_accuracy", loop=3)
    assert score("depth_dial", *rows, more).curve == {"2": 0.5, "4": 1.0, "8": 0.9, "16": 0.4}
    limit = {"metric": "loop_limit", "value": 8.0}
    found = score("depth_dial", *rows[:4], limit)
    assert found.value is None and found.reason == "16 loops cannot be run; there are weights for 8"
    once = [row | {"n_loops": 1} for row in rows]
    assert score("depth_dial", *once).reason.startswith("one loop")


def rule(item: str, accuracy: float, loops: float) -> tuple[dict[str, Any], ...]:
    where = {"item": item, "difficulty": 2}
    return (
        {**where, "metric": "exit_accuracy", "value": accuracy, "floor": 0.1},
        {**where, "metric": "exit_loops", "value": loops, "floor": 1.0, "ceiling": 4.0},
    )


def test_economy_takes_the_rule_of_fewest_loops_at_equal_accuracy() -> None:
    gate = {"item": "gate", "difficulty": 2, "metric": "exit_loops", "value": 1.0}
    rules = (*rule("all", 0.99, 4), *rule("static loop=3", 0.985, 3), *rule("entropy", 0.97, 1.5))
    found = score("economy", *rules, gate)
    assert found.value == 0.25 and found.ceiling == 0.75
    assert found.normalised == 0.25, "of all loops, not of the three that can be saved"
    half = [
        row | {"n_loops": 2} for row in (*rule("all", 0.99, 2), *rule("static loop=1", 0.99, 1))
    ]
    twice = (*rule("all", 0.99, 4), *rule("static loop=2", 0.99, 2))
    assert score("economy", *half).normalised == score("economy", *twice).normalised == 0.5
    floor = (*rule("all", 0.2, 4), *rule("static loop=1", 0.2, 1))
    assert "nothing to save" in score("economy", *floor).reason


def test_insides_are_read_before_the_last_loop() -> None:
    read = {"metric": "lens_accuracy", "item": "hop.1", "difficulty": 2, "floor": 0.2}
    loops = {1: 0.3, 2: 0.6, 4: 0.9}
    rows = [read | {"loop": n, "value": v} for n, v in loops.items()]
    found = score("bridge", *rows)
    assert "halfway to all from loop 2," in found.unit, "(.2 + 1) / 2 = .6"
    assert found.curve == {"1": 0.3, "2": 0.6, "4": 0.9} and found.along == "loop"
    unread = score("bridge", *(row | {"value": 0.59} for row in rows))
    assert "halfway to all after no loop," in unread.unit
    assert found.value == 0.6 and found.unit.endswith("after loop 2")
    assert found.normalised == pytest.approx(0.5)
    swapped = {"metric": "follows_donor", "item": "answer", "difficulty": 2, "floor": 0.1}
    rows = [swapped | {"loop": n, "value": v} for n, v in {0: 1.0, 1: 0.2, 3: 0.7, 4: 1.0}.items()]
    found = score("interchange", *rows)
    assert found.value == 0.7 and found.unit.endswith("after loop 3")
    assert score("interchange", *rows[:1]).value is None


def test_the_hardest_questions_count() -> None:
    rows = (right(0, 2, 1.0), right(0, 4, 0.6), right(1, 4, 0.8))
    for axis in ("procedure", "in_context"):
        assert score(axis, *rows).value == pytest.approx(0.7)


def test_ood_reads_its_own_split() -> None:
    found = score("out_of_distribution", right(0, 2, 1.0), right(0, 2, 0.3, split="ood"))
    assert found.value == 0.3


@pytest.mark.parametrize("axis", axes())
def test_without_rows_every_axis_says_why(axis: str) -> None:
    other = {"metric": "nothing"}
    found = score(axis, other, curves=(other,))
    assert found.value is None and found.reason and found.normalised is None


def test_normalising_is_cut_to_its_ends() -> None:
    found = Score.of({0: 3.0, 1: 5.0}, "u", floor=2.0, ceiling=4.0)
    assert [found.normal(v) for v in (1.0, 2.0, 3.0, 4.0, 9.0)] == [0, 0, 0.5, 1, 1]
    with pytest.raises(ValueError, match="above its floor"):
        Score.of({0: 1.0}, "u", floor=1.0, ceiling=1.0)
    with pytest.raises(ValueError, match="no exits"):
        Score.none("no exits").normal(0.5)
