"""The grid of a card: an ordinary grid file with one part for each axis that trains something."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.config.run import RunConfig
from experiments.grid.grid import Grid, load_grid
from experiments.grid.located_yaml import load_yaml
from experiments.runs.json_files import replacing
from experiments.suite.axes import Axis
from experiments.suite.entry import Entry
from experiments.suite.references import MODEL, arms_of
from models.contract import Size
from models.model import ModelConfig
from models.objectives.last_loop import LastLoop
from models.objectives.objective import Objective

#: what a card's grid and its files are called
NAME = "score"


class _Plain(yaml.SafeDumper):
    """YAML without anchors, for people."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@dataclass(frozen=True)
class CardGrid:
    """What has to be trained for a card.

    Attributes:
        missing: label of a reference -> why there is none.
        refused: label of an architecture -> kind of a probe -> why it cannot measure it.
    """

    grid: Grid
    missing: dict[str, str]
    refused: dict[str, dict[str, str]]


def sizes_of(wanted: Iterable[Axis], size: str) -> list[Size]:
    """At which the grids of some axes build a model, each once, from the smallest."""
    found = set()
    for file in {axis.file(size) for axis in wanted}:
        config = load_grid(file).points[0].config
        task = config.task
        found.add(Size(config.model.width, task.vocabulary_size, task.context_length))
    return sorted(found)


def name_of(entry: str) -> str:
    """The name of the grid that scores a model of this name."""
    return f"{NAME}-{entry}"


def write_grid(
    entry: Entry, wanted: Sequence[Axis], size: str, folder: Path, other: Entry | None = None
) -> CardGrid:
    """Writes `score.yaml` into the folder of the card and reads it as a grid.

    Nothing else is needed to train it: `loopscope plan` and `loopscope run` take the file, with
    any back end.

    Args:
        other: the model whose references are trained; None: this one.

    Raises:
        ConfigError: the model does not fit the grids of the suite.
    """
    parts: dict[str, Any] = {}
    missing: dict[str, str] = {}
    refused: dict[str, dict[str, str]] = {}
    for name in dict.fromkeys(axis.grid for axis in wanted):
        source = next(axis.file(size) for axis in wanted if axis.grid == name)
        parts[name], missing, dropped = _part(entry, source, other)
        for label, reasons in dropped.items():
            refused[label] = {**refused.get(label, {}), **reasons}
    data = {
        "name": name_of(entry.name),
        "title": f"Score card of {entry.title}, size {size}",
        "baseline": {"model": {"kind": entry.config.kind, **entry.model}}
        | ({"objective": entry.objective} if entry.objective else {}),
        "parts": parts,
    }
    path = folder / f"{NAME}.yaml"
    write_yaml(data, path)
    return CardGrid(load_grid(path), missing, refused)


def write_yaml(data: Any, path: Path) -> None:
    """Writes a file for people, unless it says the same already; makes its folder."""
    text = yaml.dump(data, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with replacing(path, durable=False) as file:
            file.write(text.encode())


def _refused(run: RunConfig, model: ModelConfig, loss: Objective) -> dict[str, str]:
    """Kind of a probe of a run -> why it cannot measure a model trained by a loss."""
    refused = {}
    for probe in run.observe.probes or ():
        try:
            probe.check_model(model, run.task, loss)
        except ValueError as error:
            refused[probe.kind] = str(error)
    return refused


def _part(
    entry: Entry, source: Path, other: Entry | None
) -> tuple[dict[str, Any], dict[str, str], dict[str, dict[str, str]]]:
    """A part of the grid from a grid of the suite, references missing, probes refused by label.

    An architecture is trained without the probes that refuse it; the others keep them.
    """
    data, _ = load_yaml(source)
    baseline, size = data["baseline"], data["baseline"]["model"]
    has = type(entry.config).model_fields
    sized = {k: v for k, v in size.items() if k in has and k not in entry.model}
    arms, missing = arms_of(entry, baseline["training"]["phases"], size, other)
    run = load_grid(source).points[0].config
    once = (other or entry).config.model_copy(update={"loops": 1})
    refused, labels = {}, []
    for arm in arms:
        model, loss = (entry.config, entry.loss) if arm.label == MODEL else (once, LastLoop())
        changes = dict(arm.changes)
        if reasons := _refused(run, model, loss):
            refused[arm.label] = reasons
            probes = baseline["observe"]["probes"]
            changes["observe.probes"] = [p for p in probes if p["kind"] not in reasons]
        labels.append({"name": arm.label, **changes})
    axes = {**data["axes"], "arm": labels}
    return {"baseline": {**baseline, "model": sized}, "axes": axes}, missing, refused
