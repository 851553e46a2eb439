"""Ids leave out fields at their default, so a default must not change behind an id's back."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python

from experiments.config.phases import Phase, Training
from generators.mixture import Component
from generators.plugins import choices
from generators.task import Task
from models.config import LoopedConfig
from models.objectives.objective import Objective

GOLDEN = Path(__file__).with_name("golden_defaults.json")
UNIONS = ((Task, "generators"), (LoopedConfig, "models"), (Objective, "models.objectives"))


def classes() -> dict[str, type[BaseModel]]:
    """Everything whose fields enter a run id."""
    found: dict[str, type[BaseModel]] = {"training": Training, "phase": Phase}
    found["component"] = Component
    for base, package in UNIONS:
        found |= choices(base, package)
    return found


def defaults(cls: type[BaseModel]) -> dict[str, Any]:
    """Version and default of each field; a required field has none to change."""
    fields = {
        name: "required"
        if field.is_required()
        else to_jsonable_python(field.get_default(call_default_factory=True))
        for name, field in cls.model_fields.items()
    }
    assert PydanticUndefined not in fields.values()
    return {"version": getattr(cls, "version", None), "fields": fields}


@pytest.mark.parametrize("name", classes())
def test_a_changed_default_is_a_new_version(name: str) -> None:
    """If this fails because a field is new: its default must keep what older runs did; then
    `python test_defaults.py` writes it down. If a default changed: raise `version` first.
    """
    golden = json.loads(GOLDEN.read_text())
    assert name in golden, f"{name} is new: run python test_defaults.py"
    now, before = defaults(classes()[name]), golden[name]
    if now["version"] == before["version"]:
        changed = {f for f, v in before["fields"].items() if now["fields"].get(f, "gone") != v}
        assert not changed, f"{changed} changed without a new version of {name}"
    assert now == before, f"{name} differs from {GOLDEN.name}: run python test_defaults.py"


if __name__ == "__main__":
    text = json.dumps({name: defaults(cls) for name, cls in classes().items()}, indent=1)
    GOLDEN.write_text(text + "\n")
