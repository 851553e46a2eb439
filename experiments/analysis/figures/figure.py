"""The contract of a figure: results in, the data behind it and the picture out."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator

from experiments.errors import LoopscopeError
from experiments.results.row_filter import parse
from experiments.results.row_filter import select as chosen
from experiments.results.selection import where
from generators.plugins import OpenUnion

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Results

Parts = str | tuple[str, ...] | None


class Figure(BaseModel, ABC):
    """A frozen configuration that draws. A subclass declares `kind: Literal["its-name"]`.

    A new kind of figure is one new file in this package, or `kind: path/to/file.py:ClassName`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    @field_validator("conditions")
    @classmethod
    def _readable(cls, conditions: tuple[str, ...]) -> tuple[str, ...]:
        try:
            parse(conditions)
        except LoopscopeError as error:
            raise ValueError(str(error)) from error
        return conditions

    @abstractmethod
    def data(self, results: "Results") -> "pd.DataFrame":
        """What is drawn, one row per point.

        Raises:
            LoopscopeError: the results have no such rows; the message says what they have.
        """

    @abstractmethod
    def plot(self, data: "pd.DataFrame") -> "Picture":
        """The picture of `data`."""

    @property
    def file_name(self) -> str:
        """Stem of the files."""
        if self.name is not None:
            return self.name
        parts = (self.part,) if isinstance(self.part, str) else self.part or ()
        return "-".join([self.kind, *parts])

    def select(self, runs: "pd.DataFrame", hint: str = "", **wanted: Any) -> "pd.DataFrame":
        """Rows of this figure's parts and filter with the wanted columns, at least one.

        Args:
            hint: what the message ends with.

        Raises:
            LoopscopeError: there are none.
        """
        rows = where(runs, **{"part": self.part, **self.where, **wanted})
        rows = chosen(rows, parse(self.conditions))
        rows = rows[rows["value"].notna()]
        if rows.empty:
            measured = runs[runs["value"].notna()]
            have = measured.groupby(["part", "metric"], sort=False).size().index
            asked = {"part": self.part, **self.where, **wanted}
            told = [f"{k} {v}" for k, v in asked.items() if v not in (None, "")]
            text = ", ".join([*told, *self.conditions])
            known = "; ".join(f"{metric} in {part or 'all'}" for part, metric in have)
            raise LoopscopeError(
                f"figure {self.kind}: no results with {text}; measured are {known or 'none yet'}"
                f"{hint}"
            )
        return rows


AnyFigure = Annotated[SerializeAsAny[Figure], OpenUnion(Figure, "experiments.analysis.figures")]
