"""What is scored: a model and how it is trained, from a class, a YAML file or a record."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from experiments.config.frozen import Frozen
from experiments.config.phases import Phase
from experiments.config.run import AnyModel, AnyObjective
from experiments.errors import LoopscopeError
from experiments.grid.changes import command_line_changes, with_value
from experiments.grid.located_yaml import Location, Mark, load_yaml
from experiments.grid.validation import validate
from generators.plugins import nearest
from models.model import ModelConfig
from models.objectives.last_loop import LastLoop
from models.objectives.objective import Objective

RECORDS = Path(__file__).parents[1] / "records"
#: loops of a class named without any, where it does not say itself
LOOPS = 4
#: width at which a model is checked before the suite gives it one
WIDTH = 32
#: characters of a name, so that its grid `score-NAME` is not too long for one
LONGEST = 100
#: fields of a phase that a model has no say in
SUITE_ALONE = ("until_step", "until_exposure", "until_accuracy", "weights")


class EntryFile(Frozen):
    """A YAML file with a model to score."""

    title: str = Field("", description="what it is called on the card")
    source: str = Field("", description="paper, section")
    model: dict[str, Any] = Field(description="the `model` of a grid; the suite gives the width")
    objective: dict[str, Any] = Field({}, description="the `objective` of a grid")
    phase: dict[str, Any] = Field(
        {}, description="what every phase of training has besides, such as `draw`"
    )

    @field_validator("phase")
    @classmethod
    def _leaves_lengths_alone(cls, phase: dict[str, Any]) -> dict[str, Any]:
        if given := [name for name in SUITE_ALONE if name in phase]:
            raise ValueError(
                f"{', '.join(given)}: how long phases last and what they ask is the suite's to "
                "say, so that cards are compared at equal training; leave it out"
            )
        return phase


class _Parts(Frozen):
    model: AnyModel
    objective: AnyObjective = LastLoop()
    phase: Phase


@dataclass(frozen=True)
class Entry:
    """A model to score, checked.

    Attributes:
        name: short, for files.
        model, objective: as a grid says them; the model without its width.
        config: the model at some width.
        notes: sentences for people about what was changed.
    """

    name: str
    title: str
    source: str
    model: dict[str, Any]
    objective: dict[str, Any]
    phase: dict[str, Any]
    config: ModelConfig
    loss: Objective
    notes: tuple[str, ...] = ()

    @property
    def trained(self) -> dict[str, dict[str, Any]]:
        """What tells models apart: the fields of an entry's file that decide its runs."""
        return {"model": self.model, "objective": self.objective, "phase": self.phase}

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """`trained` with every default filled in: what a title may promise and a file not say."""
        model = self.config.model_dump(mode="json", exclude={"width"})
        objective = self.loss.model_dump(mode="json")
        return {"model": model, "objective": objective, "phase": self.phase}


def shipped() -> dict[str, Path]:
    """Name -> file of the models that come with loopscope."""
    return {path.parent.name: path for path in sorted(RECORDS.glob("*/model.yaml"))}


def find_entries(named: Sequence[str], changes: Sequence[str] = ()) -> list[Entry]:
    """The entries behind several names, in order.

    Raises:
        LoopscopeError: as `find_entry`, or two have the same name, which names their cards.
    """
    found = [find_entry(name, changes) for name in named]
    names = [entry.name.casefold() for entry in found]
    if twice := next((entry.name for entry in found if names.count(entry.name.casefold()) > 1), ""):
        raise LoopscopeError(
            f"two models are called {twice} and would share a card; score them with different "
            "--out, or give one file another name (capitals make no other name)"
        )
    return found


def find_entry(named: str, changes: Sequence[str] = ()) -> Entry:
    """The entry behind `path.py:Class`, a YAML file with a `model`, or the name of a record.

    Args:
        changes: `path=value`, such as `model.loops=6`.

    Raises:
        LoopscopeError: there is none, or it is wrong.
    """
    path, folder = Path(named), Path()
    if ".py:" in named:
        file, _, cls = named.rpartition(":")
        name, source = cls, named
        data: dict[str, Any] = {"title": cls, "model": {"kind": f"{Path(file).resolve()}:{cls}"}}

        def find(location: Location, key: bool) -> Mark:
            return Mark(source)
    else:
        if path.suffix == ".py":
            raise LoopscopeError(f"{named}: name its class as well, {named}:MyModel")
        if not path.is_file():
            known = shipped()
            if named not in known:
                raise LoopscopeError(
                    f"there is no file and no record {named!r}{nearest(named, known)}; MODEL is "
                    "path.py:Class, a YAML file with `model:`, or a record: "
                    f"{', '.join(known) or 'none'}"
                )
            path = known[named]
        name, folder = (path.parent.name if path.name == "model.yaml" else path.stem), path.parent
        data, marks = load_yaml(path)

        def find(location: Location, key: bool) -> Mark:
            return marks.find(location, key=key)

    for change in command_line_changes(changes):
        data = with_value(data, change.path, change.value)
    return _checked(name, data, find, folder)


def _checked(name: str, data: Any, find: Any, folder: Path) -> Entry:
    """The entry of some data.

    Raises:
        ConfigError: a field, the model or the objective is wrong, with its place.
    """
    file = validate(EntryFile, data, find, folders=(folder,))
    notes = []
    model = {k: v for k, v in file.model.items() if k != "width"}
    if "width" in file.model:
        notes.append("the width is left out: every grid of the suite has its own")
    fields = {"model": {**model, "width": WIDTH}, "phase": {"until_step": 1, **file.phase}}
    if file.objective:
        fields["objective"] = file.objective
    parts = validate(_Parts, fields, find, folders=(folder,))
    config = parts.model
    if config.loops == 1 and "loops" not in model and ":" in str(model.get("kind", "")):
        model["loops"] = LOOPS
        notes.append(f"{LOOPS} loops, since nothing else is said; --set model.loops=N says so")
        fields["model"] = {**model, "width": WIDTH}
        config = validate(_Parts, fields, find, folders=(folder,)).model
    model, objective = (_from_anywhere(part, folder) for part in (model, file.objective))
    title = file.title or name
    return Entry(
        file_name(name),
        title,
        file.source,
        model,
        objective,
        file.phase,
        config,
        parts.objective,
        tuple(notes),
    )


def file_name(name: str) -> str:
    """A name that files and grids everywhere may have, of one that they may not.

    Marks over letters are dropped. What has no letter or digit of ASCII at all is told apart by a
    hash.

    >>> file_name("ä b"), file_name("Ouro-1.4B"), file_name("循环")
    ('a-b', 'Ouro-1.4B', 'model-ad3221dd')
    """
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:LONGEST]
    return short or f"model-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _from_anywhere(part: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A part whose class, if it lies in a file of its own, is named by its whole path."""
    file, colon, cls = str(part.get("kind", "")).rpartition(":")
    if not colon:
        return part
    path = folder / file if (folder / file).is_file() else Path(file)
    return {**part, "kind": f"{path.resolve()}:{cls}"}
