"""The configuration reference holds every field of a grid file, and the committed page is it."""

from pathlib import Path

import pytest
from command import command
from pydantic import BaseModel

from experiments.analysis.figures.figure import Figure
from experiments.config.loop_sampling import LoopDraw
from experiments.config.phases import Phase, Training
from experiments.config.run import Observe, RunConfig
from experiments.grid import reference_page
from experiments.grid.expansion import Block, GridFile
from generators.plugins import choices
from generators.support.components import Component
from models.decoding.cache import CacheSettings

PAGE = Path(reference_page.__file__).parents[1] / "CONFIGURATION.md"
GENERAL = (GridFile, Block, RunConfig, Training, Phase, LoopDraw, Observe, Component, CacheSettings)
KINDS = {
    kind: cls
    for base, (_, package, _) in reference_page.KINDS.items()
    for kind, cls in choices(base, package).items()
}


def test_the_committed_page_is_current() -> None:
    """Run: loopscope schema --markdown > experiments/CONFIGURATION.md"""
    assert reference_page.reference_page() == PAGE.read_text(encoding="utf-8")


def test_the_command_prints_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "schema", "--markdown") == 0
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8")


def test_it_has_a_section_for_every_kind_and_a_row_for_every_field() -> None:
    sections = PAGE.read_text(encoding="utf-8").split("\n##")
    for name, cls in {**{c.__name__: c for c in GENERAL}, **KINDS}.items():
        own = "".join(s for s in sections if s.split("\n")[0].strip("# `") == name)
        assert own, name
        base = next((b for b in reference_page.KINDS if issubclass(cls, b)), BaseModel)
        for field in cls.model_fields.keys() - base.model_fields.keys() - {"kind"}:
            assert f"| `{field}` |" in own, f"{name}.{field}"


@pytest.mark.parametrize("cls", [*GENERAL, *KINDS.values(), Figure], ids=lambda cls: cls.__name__)
def test_every_field_says_what_it_means(cls: type[BaseModel]) -> None:
    silent = [n for n, info in cls.model_fields.items() if n != "kind" and not info.description]
    assert not silent, f"{cls.__name__}: {silent} have no description"
