"""What scores at one size foretell of another: against what can be counted by hand."""

import itertools

import numpy as np
import pytest
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.suite import foretold as suite_foretold
from experiments.suite.card import AxisText, Card, Column
from experiments.suite.foretold import foretold, foretold_table, rank_correlation
from experiments.suite.score import Score


def card(name: str, size: str, **seeds: tuple[float, ...] | str) -> Card:
    """A card of axes with these values of their seeds, or the reason why there is none."""
    scores = {
        axis: Score.none(values)
        if isinstance(values, str)
        else Score.of(dict(enumerate(values)), "share", floor=0, ceiling=1)
        for axis, values in seeds.items()
    }
    column = Column(label="model", about="", scores=scores, costs={})
    axes = {axis: AxisText(title=axis.upper(), tag="looping", about="") for axis in seeds}
    return Card(
        loopscope="0", name=name, title=name, size=size, label="1⊗4", model={}, axes=axes,
        columns=[column], run_ids=[],
    )  # fmt: skip


LOW = [
    card("loop", "tiny", a=(0.5, 0.5), b=(0.5, 0.5), c="no gate"),
    card("up", "tiny", a=(0.6, 0.7), b=(0.4, 0.6), c=(0.1, 0.2)),  # on b the seeds disagree
    card("down", "tiny", a=(0.4, 0.1), b=(0.2, 0.3), c=(0.2, 0.2)),
    card("more", "tiny", a=(0.9, 0.8), b=(0.6, 0.5), c=(0.3, 0.2)),  # on b one seed is equal
    card("alone", "tiny", a=(0.0, 0.0), b=(0.0, 0.0), c=(0.0, 0.0)),  # not scored at small
]
HIGH = [
    card("loop", "small", a=(0.5, 0.6, 0.7), b=(0.5, 0.5, 0.5), c=(0.5, 0.5, 0.5), d=(1.0, 1.0)),
    card("up", "small", a=(0.9, 0.9, 0.1), b=(0.1, 0.1, 0.1), c=(0.2, 0.2, 0.2), d=(1.0, 1.0)),
    card("down", "small", a=(0.8, 0.7, 0.6), b=(0.5, 0.4, 0.6), c=(0.1, 0.1, 0.1), d=(1.0, 1.0)),
    card("more", "small", a=(0.8, 0.9, 1.0), b=(0.9, 0.9, 0.9), c=(0.3, 0.3, 0.3), d=(1.0, 1.0)),
]


def test_signs_and_ranks_are_those_counted_by_hand() -> None:
    a, b, c = foretold(LOW, HIGH, "loop")  # d is not at tiny
    assert [row.axis for row in (a, b, c)] == ["A", "B", "C"]
    assert (a.records, b.records, c.records) == (4, 4, 3)
    # up: + and mean .633 above .6; down: - and .7 above it; more: + and +
    assert (a.same, a.opposite, a.none) == (2, 1, 0)
    # up and more have no sign of both seeds; down: - and the same mean as the plain loop
    assert (b.same, b.opposite, b.none) == (0, 0, 1)
    assert (c.same, c.opposite, c.none) == (0, 0, 0), "the plain loop has no value"
    # ranks of a: 2 3 1 4 and 1 2 3 4
    assert a.correlation == pytest.approx(1 - 6 * (1 + 1 + 4) / (4 * 15))
    assert c.correlation is None and c.p is None, "three records"


def test_the_p_is_that_of_all_permutations() -> None:
    a, b = [0.1, 0.4, 0.2, 0.9, 0.5], [0.3, 0.2, 0.1, 0.8, 0.9]
    found = rank_correlation(a, b)
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    every = [np.corrcoef(ranks[0], p)[0, 1] for p in itertools.permutations(ranks[1])]
    mine = np.corrcoef(*ranks)[0, 1]
    assert found is not None and found[0] == pytest.approx(mine)
    above = np.mean(np.array(every) >= mine - 1e-12)
    below = np.mean(np.array(every) <= mine + 1e-12)
    assert found[1] == pytest.approx(min(1, 2 * min(above, below)))
    assert rank_correlation(a, [0.5] * 5) is None
    assert rank_correlation(a[:3], b[:3]) is None


def test_many_records_without_a_relation_are_not_called_related() -> None:
    rng = np.random.default_rng(0)
    found = [rank_correlation(*rng.random((2, 12)).tolist()) for _ in range(40)]
    assert np.mean([pair is not None and pair[1] < 0.05 for pair in found]) < 0.15


def test_the_command_prints_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    by_size = {"tiny": LOW, "small": HIGH}
    monkeypatch.setattr(suite_foretold, "scored", lambda size: by_size[size])
    rows = foretold_table("tiny", "small").rows
    assert rows[0][:3] == ("A", "4", "0.4") and rows[-1] == ("all axes", "", "", "", "2", "1", "1")
    shown = CliRunner().invoke(app, ["records", "foretold"])
    assert shown.exit_code == 0 and "had one sign at tiny" in " ".join(shown.output.split())
    with pytest.raises(LoopscopeError, match="two sizes are compared, got tiny twice"):
        foretold_table("tiny", "tiny")
    with pytest.raises(LoopscopeError, match="alone and another record.*: loop, up, down, more;"):
        foretold_table("tiny", "small", beside="alone")
