"""The score card as data: every architecture on every axis, what it cost, and how they compare."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from experiments.config.costs import shape_of_batch
from experiments.config.run import RunConfig
from experiments.results.long_table import Results
from experiments.runs.schema_version import release
from experiments.suite.aggregate import (
    Estimate,
    Strata,
    interquartile_mean,
    probability_of_improvement,
)
from experiments.suite.axes import Axis
from experiments.suite.entry import Entry
from experiments.suite.grid import CardGrid
from experiments.suite.references import MODEL, REFERENCES
from experiments.suite.score import Score
from models.config import LoopedConfig
from models.model import ModelConfig

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1


class Part(BaseModel):
    """Base of what a card consists of."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Interval(Part):
    """A number with its 95 % interval over seeds, None where it is not known."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, estimate: Estimate) -> "Interval":
        return cls(value=estimate.value, low=estimate.low, high=estimate.high)


class Cost(Part):
    """What the runs of one architecture in one grid of the suite took, each on average."""

    runs: int = Field(description="runs that are done")
    parameters: int
    train_flops: float = Field(description="nominal FLOPs of a run's training")
    cpu_seconds: float | None = Field(None, description="processor time of a run's training")
    forward_flops: int | None = Field(
        None, description="nominal FLOPs of one forward pass over a document of training"
    )
    cache_bytes: int | None = Field(
        None, description="keys and values that decoding keeps of a token, of every block that runs"
    )


class Column(Part):
    """One architecture."""

    label: str = Field(description="`model`, or that of a reference")
    about: str
    scores: dict[str, Score] = Field(description="axis -> score")
    costs: dict[str, Cost] = Field(description="grid of the suite -> cost")
    interquartile_mean: Interval | None = Field(
        None, description="of normalised values on the axes that all architectures have"
    )
    improvement: Interval | None = Field(
        None, description="P(a run of the model is better than one of this), over shared axes"
    )

    def normalised(self, axes: Iterable[str]) -> Strata:
        """Axis -> normalised value of every seed, of those of the axes that it has."""
        known = {name: self.scores[name] for name in axes}
        return {
            name: [score.normal(v) for v in score.per_seed.values()]
            for name, score in known.items()
            if score.value is not None
        }


class AxisText(Part):
    """What an axis is, for readers of a card without the suite."""

    title: str
    tag: str
    about: str


class Card(Part):
    """A score card; `loopscope schema card` prints the JSON schema."""

    version: int = VERSION
    loopscope: str = Field(description="version of the lab")
    name: str
    title: str
    source: str = ""
    size: str
    label: str = Field(description="k⊗n of the model")
    model: dict[str, Any] = Field(description="as a grid says it, without width")
    objective: dict[str, Any] = {}
    settings: dict[str, dict[str, Any]] = Field(
        {}, description="model, objective and phase as they are trained, with every default"
    )
    references: str = Field("", description="whose references these are; empty: the model's own")
    recorded: int = Field(0, description="runs of references that were read from its record")
    axes: dict[str, AxisText]
    columns: list[Column] = Field(description="the model first")
    missing: dict[str, str] = Field({}, description="reference -> why there is none")
    run_ids: list[str]
    unfinished: int = Field(0, description="runs of the grid without a result")

    @property
    def standing(self) -> dict[str, str]:
        """Reference -> `ahead`, `behind`, or `open` where the interval of P has .5 in it.

        Nothing stands while runs are missing: the axes that are there are not those that count.
        """
        return {
            column.label: _side(column.improvement)
            for column in self.columns[1:]
            if column.improvement is not None and not self.unfinished
        }

    @property
    def shared(self) -> list[str]:
        """The axes on which every architecture has a value."""
        return [
            name
            for name in self.axes
            if all(column.scores[name].value is not None for column in self.columns)
        ]


def make_card(
    entry: Entry,
    card_grid: CardGrid,
    wanted: Sequence[Axis],
    size: str,
    results: Results,
    other: Entry | None = None,
) -> Card:
    """The card of what is done so far; the same results give the same card.

    Args:
        results: of the grid of the card.
        other: the model whose references they are; None: this one.
    """
    references = REFERENCES
    if other:
        its = {label: text.replace("same", "its", 1) for label, text in REFERENCES.items()}
        references = {label: f"of {other.title}: {text}" for label, text in its.items()}
    known = ("model", *REFERENCES)
    labels = [label for label in known if label not in card_grid.missing]
    columns = [
        Column(
            label=label,
            about=entry.title if label == MODEL else references[label],
            scores={axis.name: _score(axis, label, results, card_grid.refused) for axis in wanted},
            costs=_costs(label, results.runs[results.runs["arm"] == label], card_grid),
        )
        for label in labels
    ]
    done = results.runs[results.runs["status"] == "done"]["run_id"].unique()
    card = Card(
        loopscope=release(),
        name=entry.name,
        title=entry.title,
        source=entry.source,
        size=size,
        label=entry.config.label,
        model=entry.model,
        objective=entry.objective,
        settings=entry.settings,
        references=other.name if other else "",
        axes={a.name: AxisText(title=a.title, tag=a.tag, about=a.about) for a in wanted},
        columns=columns,
        missing=card_grid.missing,
        run_ids=list(done),
        unfinished=len(card_grid.grid.runs) - len(done),
    )
    return card.model_copy(update={"columns": [_compared(card, c) for c in columns]})


def _score(axis: Axis, label: str, results: Results, refused: dict[str, dict[str, str]]) -> Score:
    """An axis of one architecture; why not, where its probe refused it."""
    for kind, reason in refused.get(label, {}).items():
        if kind in axis.probes:
            return Score.none(reason)

    def of_arm(rows: "pd.DataFrame") -> "pd.DataFrame":
        return rows[(rows["part"] == axis.grid) & (rows["arm"] == label)]

    mine = replace(results, runs=of_arm(results.runs), make_curves=lambda: of_arm(results.curves))
    if not (mine.runs["status"] == "done").any():
        reasons = [text for text in mine.runs["reason"].unique() if text]
        return Score.none(f"no run is done{': ' if reasons else ''}{'; '.join(reasons)}")
    return axis.score(mine)


def _costs(label: str, runs: "pd.DataFrame", card_grid: CardGrid) -> dict[str, Cost]:
    points = [p for p in card_grid.grid.points if p.labels["arm"] == label]
    configs = {point.part: point.config for point in points}
    found = {}
    done = runs[runs["status"] == "done"].drop_duplicates("run_id")
    for part, rows in done.groupby("part", sort=False):
        seconds = rows["cpu_seconds"].mean()
        found[str(part)] = Cost(
            runs=len(rows),
            parameters=int(rows["parameters"].iloc[0]),
            train_flops=float(rows["train_flops"].mean()),
            cpu_seconds=float(seconds) if seconds == seconds else None,
            forward_flops=forward_flops(configs[str(part)]),
            cache_bytes=cache_bytes(configs[str(part)].model),
        )
    return found


def forward_flops(config: RunConfig) -> int:
    """Nominal FLOPs of one forward pass over a document of the last phase of training."""
    task, weights = config.task, config.training.phases[-1].weights
    asked = None if weights is None else tuple(sorted(weights.items()))
    shape = shape_of_batch(type(task), task.model_dump_json(), config.training.part, asked)
    return config.model.forward_flops(
        shape.vocabulary,
        documents=1,
        context=max(round(shape.context), 1),
        predicted=max(round(shape.predicted), 1),
    )


def cache_bytes(model: ModelConfig) -> int | None:
    """Bytes of float32 keys and values that decoding keeps of a token; None where it keeps none.

    Each block that runs keeps its own, so that a loop costs as much as a layer; caches that loops
    share are a matter of decoding, see `models.decoding.cache`.
    """
    if not isinstance(model, LoopedConfig):
        return None
    return 2 * 4 * model.width * (len(model.schedule()) + model.coda)


def _side(better: Interval) -> str:
    # one seed decides nothing, nor do seeds of which no draw differs from another
    if better.low is None or better.high is None or better.low == better.high:
        return "open"
    return "ahead" if better.low > 0.5 else "behind" if better.high < 0.5 else "open"


def _compared(card: Card, column: Column) -> Column:
    """With the aggregates over the axes."""
    update: dict[str, Interval] = {}
    if mine := column.normalised(card.shared):
        update["interquartile_mean"] = Interval.of(interquartile_mean(mine))
    model = card.columns[0]
    if column is not model:
        every = card.axes
        a, b = model.normalised(every), column.normalised(every)
        if a.keys() & b.keys():
            update["improvement"] = Interval.of(probability_of_improvement(a, b))
    return column.model_copy(update=update)
