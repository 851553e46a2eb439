"""What an axis says about one architecture: a number between its floor and its ceiling."""

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from experiments.results.selection import last_loop, where
from probes.statistics import SOLVED, summarise_seeds

if TYPE_CHECKING:
    import pandas as pd

#: the axis of a grid that holds learning rates
RATE = "training.lr"
#: bits per parameter that transformers trained in float32 are known to hold (2505.24832, Table 1)
MOST_BITS = 3.83


class Score(BaseModel):
    """One cell of the card. Where there is no value, `reason` says why.

    `value` is the mean over seeds, `low` and `high` its 95 % interval over seeds, None where one
    seed leaves it unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float | None = Field(None, description="mean over seeds; None: see reason")
    floor: float | None = Field(None, description="value without the ability")
    ceiling: float | None = Field(None, description="largest value there can be")
    common: float | None = Field(
        None, description="value that is 1 when normalised, where ceilings differ by model"
    )
    seeds: int = Field(0, ge=0, description="seeds behind the value")
    low: float | None = Field(None, description="lower end of the 95 % interval over seeds")
    high: float | None = Field(None, description="upper end of the 95 % interval over seeds")
    unit: str = Field("", description="what the value counts")
    reason: str = Field("", description="why there is no value")
    per_seed: dict[int, float] = Field({}, description="seed -> its value")
    along: str = Field("", description="what `curve` goes along, such as loop or learning rate")
    curve: dict[str, float] = Field({}, description="place along it -> mean over seeds")

    @classmethod
    def of(cls, per_seed: Mapping[int, float], unit: str, *, floor: float, ceiling: float) -> Self:
        """The score of some seeds.

        Values from 0 to 1 of an axis that ends at 1 are shares, whose interval allows for seeds
        unlike those seen; others have a t interval, which ends at floor and ceiling, see
        `probes.statistics.summarise_seeds`.

        Raises:
            ValueError: no seeds, or a ceiling that is not above the floor.
        """
        if not floor < ceiling:
            raise ValueError(f"a ceiling lies above its floor, got {floor:g} and {ceiling:g}")
        values = list(per_seed.values())
        shares = ceiling == 1 and all(0 <= v <= 1 for v in values)
        ends = (0.0, 1.0) if shares else (floor, ceiling)
        # what lies beyond an end shows that it is none
        bounds = (
            ends[0] if ends[0] <= min(values, default=0.0) else -inf,
            ends[1] if max(values, default=0.0) <= ends[1] else inf,
        )
        mean, low, high, n = summarise_seeds(values, bounds, bimodal=shares)
        return cls(
            value=mean,
            floor=floor,
            ceiling=ceiling,
            seeds=n,
            low=low,
            high=high,
            unit=unit,
            per_seed={int(seed): float(value) for seed, value in per_seed.items()},
        )

    @classmethod
    def none(cls, reason: str) -> Self:
        """No value, and why."""
        return cls(reason=reason)

    def seen_along(self, what: str, means: Mapping[Any, float]) -> Self:
        """The same score with the numbers behind it, each a mean over seeds."""
        curve = {f"{place:g}": float(value) for place, value in means.items()}
        return self.model_copy(update={"along": what, "curve": curve})

    def normal(self, value: float) -> float:
        """(x - floor) / (ceiling - floor), cut to [0, 1]; with `common` in place of the ceiling.

        Of models whose ceilings differ, a small one would be ahead for having little to do.

        Raises:
            ValueError: the score has no value.
        """
        if self.floor is None or self.ceiling is None:
            raise ValueError(f"there is no value: {self.reason}")
        top = self.ceiling if self.common is None else self.common
        return min(max((value - self.floor) / (top - self.floor), 0.0), 1.0)

    @property
    def normalised(self) -> float | None:
        """`value` between its floor, 0, and its ceiling or `common`, 1; None without one."""
        return None if self.value is None else self.normal(self.value)


def each_seed(rows: "pd.DataFrame") -> dict[int, float]:
    """Seed -> mean of its rows' values."""
    return {int(str(s)): float(v) for s, v in rows.groupby("seed")["value"].mean().items()}


def means_along(rows: "pd.DataFrame", column: str) -> dict[float, float]:
    """Place in a column -> mean of the rows there, in order."""
    means = rows.groupby(column)["value"].mean().sort_index()
    return {float(str(place)): float(value) for place, value in means.items()}


def mean_score(rows: "pd.DataFrame", unit: str, missing: str) -> Score:
    """The mean of rows of one metric, with their own floor and ceiling.

    Args:
        missing: the reason where there are no rows.
    """
    if rows.empty:
        return Score.none(missing)
    floor, ceiling = float(rows["floor"].fillna(0.0).mean()), float(rows["ceiling"].mean())
    return Score.of(each_seed(rows), unit, floor=floor, ceiling=ceiling)


def bits_score(rows: "pd.DataFrame", missing: str) -> Score:
    """Bits per parameter; ceiling: all that there is to store, for each parameter of the model."""
    found = mean_score(rows, "bits/parameter", missing)
    return found if found.value is None else found.model_copy(update={"common": MOST_BITS})


def at_best_rate(runs: "pd.DataFrame") -> "pd.DataFrame":
    """The runs of one learning rate: that of the highest mean accuracy on validation questions.

    The smaller of two that tie. Runs of one rate, or without validation questions, stay as they
    are.
    """
    if RATE not in runs or runs["lr"].nunique() < 2:
        return runs
    rows = last_loop(where(runs, metric="accuracy", split="validation", item=""))
    if rows.empty:
        return runs
    means = rows.groupby("lr")["value"].mean().sort_index()
    return runs[runs["lr"] == means.idxmax()]


def held_out(runs: "pd.DataFrame", split: str = "test") -> "pd.DataFrame":
    """Accuracies of the last loop on questions held out, at the best rate."""
    return last_loop(where(at_best_rate(runs), metric="accuracy", split=split, item=""))


def solves(accuracy: Any) -> Any:
    """Whether accuracies count as solved, as everywhere else here."""
    return accuracy >= SOLVED
