"""The contract of a figure: results in, the data behind it and the picture out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator

from experiments.config.chosen_probes import measures
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.results.code_versions import refuse_mixed
from experiments.results.row_filter import parse
from experiments.results.row_filter import select as chosen
from experiments.results.selection import joined, last_loop, where
from generators.plugins import OpenUnion

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas as pd

    from experiments.results import long_table

# what figures take and give; names that a grid can read without paying for pandas and matplotlib
Rows: TypeAlias = "pd.DataFrame"
Results: TypeAlias = "long_table.Results"
Picture: TypeAlias = "matplotlib.figure.Figure"
#: 20,000 dots, as figures are written: more takes minutes and gigabytes
Inches = Annotated[float, Field(gt=0, le=100)]
Parts = str | tuple[str, ...] | None
#: points of a grid: part and run
Points = Sequence[tuple[str, RunConfig]]


@dataclass(frozen=True)
class Need:
    """What one run that a figure draws has to have, or else there is nothing to draw.

    Attributes:
        told: what is missing, and what to write into the grid.
        met: whether a run has it, from its config alone.
        part: of the grid; None: any.
    """

    told: str
    met: Callable[[RunConfig], bool]
    part: Parts = None

    def met_in(self, points: Points) -> bool:
        parts = (self.part,) if isinstance(self.part, str) else self.part
        return any(self.met(config) for part, config in points if parts is None or part in parts)


def measured(
    *kinds: str,
    split: str | None = None,
    difficulty: int | tuple[int, ...] | None = None,
    part: Parts = None,
) -> Need:
    """That a probe of one of these kinds measures a run at its end."""
    on = [f"split {split}"] if split is not None else []
    on += [f"difficulty {difficulty}"] if difficulty is not None else []
    told = f"is measured by {' or '.join(kinds)}{' on ' if on else ''}{' and '.join(on)}"
    ask = f"set observe.probes to [{{kind: {kinds[0]}}}] or more, of a task that it applies to"
    return Need(
        f"{told}; {ask}",
        lambda config: measures(config, *kinds, split=split, difficulty=difficulty),
        part,
    )


def leaves_by_a_gate(part: Parts = None) -> Need:
    """That a run has a distribution over exits, which is logged while it trains."""
    return Need(
        "has an exit gate and several loops; set objective to {kind: entropy} or another with a "
        "gate",
        lambda config: config.canonical().objective.uses_gate and config.max_loops > 1,
        part,
    )


class Figure(BaseModel, ABC):
    """A frozen configuration that draws. A subclass declares `kind: Literal["its-name"]`.

    A new kind of figure is one new file in this package, or `kind: path/to/file.py:ClassName`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: kinds of probes of which one has to have measured the runs; none: any results will do
    probes: ClassVar[tuple[str, ...]] = ()
    kind: str
    name: str | None = Field(
        None, pattern=r"^[^/\\]+$", description="of the files; None: the kind and its parts"
    )
    title: str | None = Field(None, description="printed above the picture; None: no title")
    part: Parts = Field(None, description="parts of the grid to draw; None: all that measure it")
    where: dict[str, Any] = Field({}, description="column -> value or values of the rows drawn")
    conditions: tuple[str, ...] = Field(
        (), description="on the rows drawn, as --where takes them: [width>=64, loop!=1]"
    )

    formats: tuple[Literal["png", "svg", "pdf"], ...] = Field(
        ("png", "svg"), min_length=1, description="files to write, beside the CSV"
    )
    size: tuple[Inches, Inches] | None = Field(
        None, description="width and height in inches; None: as large as its panels need"
    )
    font: str | None = Field(None, description="family of the letters; None: DejaVu Sans")
    font_size: float | None = Field(
        None, gt=0, le=200, description="of the text, in points; None: 9"
    )

    @field_validator("conditions")
    @classmethod
    def _readable(cls, conditions: tuple[str, ...]) -> tuple[str, ...]:
        try:
            parse(conditions)
        except LoopscopeError as error:
            raise ValueError(str(error)) from error
        return conditions

    @abstractmethod
    def data(self, results: Results) -> Rows:
        """What is drawn, one row per point.

        Raises:
            LoopscopeError: the results have no such rows; the message says what they have.
        """

    @abstractmethod
    def plot(self, data: Rows) -> Picture:
        """The picture of `data`."""

    def needs(self) -> Sequence[Need]:
        """What runs have to have, so that a grid is told before hours of training what it lacks."""
        asked = self.model_dump(include={"split", "difficulty", "part"})
        return (measured(*self.probes, **asked),) if self.probes else ()

    def missing(self, points: Points) -> Iterator[str]:
        """What the points of a grid lack for this figure, a sentence each."""
        for need in self.needs():
            if not need.met_in(points):
                parts = (need.part,) if isinstance(need.part, str) else need.part or ()
                where = f" of part {' or '.join(parts)}" if parts else ""
                yield f"no run{where} {need.told}"

    @property
    def file_name(self) -> str:
        """Stem of the files."""
        if self.name is not None:
            return self.name
        parts = (self.part,) if isinstance(self.part, str) else self.part or ()
        return "-".join([self.kind, *parts])

    def select(self, runs: Rows, hint: str = "", **wanted: Any) -> Rows:
        """Rows of this figure's parts and filter with the wanted columns, at least one.

        Args:
            hint: what the message ends with.
            wanted: column -> value or values; None leaves the column to the filter.

        Raises:
            LoopscopeError: there are none.
        """
        given = {name: value for name, value in wanted.items() if value is not None}
        asked = {"part": self.part, **self.where, **given}
        rows = chosen(where(runs, **asked), parse(self.conditions))
        rows = rows[rows["value"].notna()]
        if rows.empty:
            measured = runs[runs["value"].notna()]
            have = measured.groupby(["part", "metric"], sort=False).size().index
            told = [f"{k} {v}" for k, v in asked.items() if v not in (None, "")]
            text = ", ".join([*told, *self.conditions])
            known = "; ".join(f"{metric} in {part or 'all'}" for part, metric in have)
            raise LoopscopeError(
                f"figure {self.kind}: no results with {text}; measured are {known or 'none yet'}"
                f"{hint}"
            )
        for part, of_part in rows.groupby("part", sort=False):
            refuse_mixed(of_part, f"figure {self.kind}{f' of {part}' if part else ''}")
        return rows


class ByDifficulty(Figure):
    """A figure of what is measured at every difficulty of a task."""

    difficulty: int | tuple[int, ...] | None = Field(None, description="None: all")


class OfQuestions(ByDifficulty):
    """A figure of accuracies of questions."""

    probes = ("accuracy",)
    split: str = Field("test", description="split of the questions")

    def accuracies(self, runs: Rows) -> Rows:
        """Its rows of `runs`, by difficulty.

        Raises:
            LoopscopeError: there are none.
        """
        asked = {"split": self.split, "difficulty": self.difficulty}
        rows = self.select(runs, metric="accuracy", item="", **asked)
        return rows.sort_values("difficulty", kind="stable")


class OfBits(Figure):
    """A figure of stored bits."""

    probes = ("capacity", "capacity_biod", "capacity_sequences")
    item: str | tuple[str, ...] = Field(
        "total", description="which bits: total, name, values or one attribute"
    )

    def bits(self, results: Results, metric: str | list[str] = "bits_per_parameter") -> Rows:
        """The bits of the trained loops, or these metrics of them.

        Raises:
            LoopscopeError: there are none.
        """
        return self.select(last_loop(results.runs), metric=metric, item=self.item)

    @staticmethod
    def with_items(told: list[str], rows: Rows) -> list[str]:
        """What is told of every row, and its item where rows are of several."""
        return joined(told, rows["item"]) if rows["item"].nunique() > 1 else told


AnyFigure = Annotated[SerializeAsAny[Figure], OpenUnion(Figure, "experiments.analysis.figures")]
