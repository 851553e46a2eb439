"""The configuration reference as Markdown: every field of a grid file, read from the models."""

import inspect
import json
from collections.abc import Iterable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from experiments.analysis.figures.figure import Figure
from experiments.config.run import RunConfig
from experiments.grid.expansion import GridFile
from generators.plugins import OpenUnion, choices
from generators.task import Task
from models.model import ModelConfig
from models.objectives.objective import Objective
from probes.probe import Probe

HEAD = """\
# Every field of a grid file

`loopscope schema --markdown` prints this page from the code, and a test compares the two. \
`loopscope schema` prints the same as a JSON schema, with which an editor completes and checks.

A field may be written nested (`model: {width: 64}`) or dotted (`model.width: 64`). An unknown key \
is an error with its line and the nearest right name. *required* stands where there is no default.
"""
#: base class -> heading, package, what stands below the heading
KINDS: dict[type[BaseModel], tuple[str, str, str]] = {
    Task: ("Tasks", "generators", "`task: {kind: …}`, the data."),
    ModelConfig: ("Models", "models", "`model: {…}`; without a `kind` it is `looped`."),
    Objective: (
        "Objectives",
        "models.objectives",
        "`objective: {kind: …}`, the loss; without one it is `last_loop`.",
    ),
    Probe: (
        "Probes",
        "probes",
        "`observe: {probes: [{kind: …}]}`, what is measured of a trained model.",
    ),
    Figure: ("Figures", "experiments.analysis.figures", "`figures: [{kind: …}]`, at the top."),
}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
NAMES = {int: "integer", float: "number", bool: "true or false", str: "text", Any: "anything"}


def reference_page() -> str:
    """The whole page."""
    sections = [HEAD]
    shown: set[type[BaseModel]] = set()
    sections += _models([GridFile, RunConfig], "## {}", shown)
    for base, (heading, package, about) in KINDS.items():
        own_file = "Any `kind` may be `path/to/file.py:ClassName` instead."
        sections.append(f"## {heading}\n\n{about} {own_file}\n")
        if common := _own_fields(base, ()):
            sections.append(f"Every one has:\n\n{_table(common)}")
        nested: list[type[BaseModel]] = []
        for kind, cls in choices(base, package).items():
            fields = _own_fields(cls, base.model_fields if base is not ModelConfig else ())
            sections.append(f"### `{kind}`\n\n{_summary(cls)}\n\n{_table(fields)}")
            nested += [model for info in fields.values() for model in _inside(info)]
        sections += _models(nested, "### {}", shown)
    return "\n".join(sections).rstrip() + "\n"


def _models(
    waiting: Iterable[type[BaseModel]], heading: str, shown: set[type[BaseModel]]
) -> Iterator[str]:
    """A section for each model and each that its fields hold, none of them twice."""
    for cls in waiting:
        if cls in shown or cls in _all_kinds():
            continue
        shown.add(cls)
        fields = _own_fields(cls, ())
        yield f"{heading.format(cls.__name__)}\n\n{_summary(cls)}\n\n{_table(fields, True)}"
        inner = [model for info in fields.values() for model in _inside(info)]
        yield from _models(inner, heading, shown)


def _all_kinds() -> set[type[BaseModel]]:
    return {
        cls for base, (_, package, _) in KINDS.items() for cls in choices(base, package).values()
    }


def _own_fields(cls: type[BaseModel], known: Iterable[str]) -> dict[str, FieldInfo]:
    """The fields of a class but those that stand elsewhere, and `kind` where it names the class."""
    return {
        name: info
        for name, info in cls.model_fields.items()
        if name not in known and (name != "kind" or info.annotation is not str)
    }


def _summary(cls: type[BaseModel]) -> str:
    """The first paragraph of the docstring."""
    paragraph = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def _table(fields: dict[str, FieldInfo], with_kind: bool = False) -> str:
    rows = [
        f"| `{name}` | {_type(info)} | {_default(info)} | {_cell(info.description or '')} |"
        for name, info in fields.items()
        if with_kind or name != "kind"
    ]
    if not rows:
        return "No fields.\n"
    return "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")


def _default(info: FieldInfo) -> str:
    if info.default_factory is not None:
        return "its defaults"
    if info.default is PydanticUndefined:
        return "*required*"
    value = info.default
    if isinstance(value, BaseModel):
        kind = getattr(value, "kind", None)
        return "its defaults" if kind is None else f"`{{kind: {kind}}}`"
    text = json.dumps(to_jsonable_python(value), ensure_ascii=False)
    return f"`{_cell('none' if value is None else text)}`"


def _type(info: FieldInfo) -> str:
    return _cell(_words(info.annotation, info.metadata))


def _words(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """A type in words, such as `integer ≥ 1 or none`."""
    metadata = list(metadata)
    union = next((m for m in metadata if isinstance(m, OpenUnion)), None)
    if union is not None:
        heading = KINDS[union.base][0] if union.base in KINDS else union.base.__name__
        return f"one of [{heading}](#{heading.lower()})"
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(inner[0], [*inner[1:], *metadata])
    if origin in (Union, UnionType):
        told = [_words(arg, metadata) for arg in inner if arg is not NoneType]
        return " or ".join([*dict.fromkeys(told), *(["none"] if NoneType in inner else [])])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is dict:
        return f"mapping of names to: {_words(inner[1])}"
    if origin in (list, tuple):
        if origin is tuple and Ellipsis not in inner:
            return f"list of {len(inner)}: {_words(inner[0])}"
        return f"list of: {_words(inner[0])}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        kind = annotation.model_fields.get("kind")
        if annotation in _all_kinds() and kind is not None:
            return f"fields of [{kind.default}](#{kind.default})"
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return " ".join([NAMES.get(annotation, str(annotation)), *_bounds(metadata)])


def _bounds(metadata: Iterable[Any]) -> Iterator[str]:
    told = []
    for item in metadata:
        for source in (item, *getattr(item, "metadata", ())):
            told += [
                f"{sign} {bound:g}" if isinstance(bound, float) else f"{sign} {bound}"
                for name, sign in BOUNDS.items()
                if (bound := getattr(source, name, None)) is not None
            ]
    yield from [", ".join(told)] if told else []


def _inside(info: FieldInfo) -> Iterator[type[BaseModel]]:
    """The models of configuration that a field may hold, those of open unions left out."""
    if any(isinstance(m, OpenUnion) for m in info.metadata):
        return
    waiting = [info.annotation]
    while waiting:
        annotation = waiting.pop(0)
        if any(isinstance(m, OpenUnion) for m in getattr(annotation, "__metadata__", ())):
            continue
        if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
            yield annotation
        waiting += [arg for arg in get_args(annotation) if not isinstance(arg, str)]
