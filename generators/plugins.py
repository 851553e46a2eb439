"""Open unions: `kind: name` finds a class in its package, `kind: path/to/file.py:Class` in a file.

There is no registry to keep in step: every module of the package is imported and every concrete
subclass with a default for `kind` is a choice.
"""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import re
import reprlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import PydanticCustomError, core_schema

#: how modules of plugin files are named, so that their classes are known for what they are
PREFIX = "loopscope_plugin_"
#: serialisation context under which a part says what it is (kind, version), not where it lies
IDENTITY = {"identity": True}
#: validation context of a configuration that was stored, maybe before a field was there
STORED = {"stored": True}


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'width'?)`, empty where nothing known resembles the word."""
    found = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""


def kind_of(cls: type[BaseModel]) -> str | None:
    """The name under which a class is known, None where it is abstract or has none."""
    if inspect.isabstract(cls) or "kind" not in cls.model_fields:
        return None
    kind = cls.model_fields["kind"].default
    return kind if isinstance(kind, str) else None


def path_of(cls: type) -> str | None:
    """`/path/to/file.py:Class` of a class from a plugin file, None for a shipped one."""
    if not cls.__module__.startswith(PREFIX):
        return None
    return f"{sys.modules[cls.__module__].__file__}:{cls.__qualname__}"


def former_values(cls: type[BaseModel]) -> dict[str, Any]:
    """Field -> what all did before the field was there, where its default is something else.

    An identity leaves these values out as it leaves out defaults, and names the new default, so
    that a better default changes no id of what was run before.
    """
    return getattr(cls, "former", {})


def _import_file(path: Path) -> ModuleType:
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    name = f"{PREFIX}{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _inside(base: type[BaseModel], package: str) -> dict[str, type[BaseModel]]:
    """kind -> class, among the classes of `package` that have been imported."""
    found: dict[str, type[BaseModel]] = {}
    waiting = [base]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        kind = kind_of(cls)
        if kind is not None and cls.__module__.startswith(f"{package}."):
            found[kind] = cls
    return dict(sorted(found.items()))


@cache
def choices(base: type[BaseModel], package: str) -> dict[str, type[BaseModel]]:
    """kind -> class, for every concrete subclass of `base` (or `base` itself) in `package`.

    Folders in it are looked into too.
    """
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, f"{package}."):
        importlib.import_module(module.name)
    return _inside(base, package)


def load_class(
    base: type[BaseModel], package: str, kind: str, folders: Iterable[Path] = ()
) -> type[BaseModel]:
    """The class behind `path/to/file.py:ClassName`.

    Args:
        folders: where a relative path is looked for, before the current folder.

    Raises:
        PydanticCustomError: the file or the class is missing, is no concrete `base`, or calls
            itself by a kind that is no name or already taken.
    """
    file, _, name = kind.rpartition(":")
    candidates = [folder / file for folder in (*folders, Path())]
    path = next((p.resolve() for p in candidates if p.is_file()), None)
    if path is None:
        tried = " or ".join(dict.fromkeys(str(p.absolute()) for p in candidates))
        raise PydanticCustomError("plugin", "there is no file {tried}", {"tried": tried})
    try:
        cls = getattr(_import_file(path), name, None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit and GeneratorExit too: the file is not ours
        raise PydanticCustomError(
            "plugin",
            "{path} cannot be imported: {error}",
            {"path": str(path), "error": f"{type(error).__name__}: {error}"},
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, base)) or inspect.isabstract(cls):
        raise PydanticCustomError(
            "plugin",
            "{path} has no class {name} that derives from {base} and defines all it asks for{why}",
            {"path": str(path), "name": name, "base": base.__name__, "why": _why_not(cls, base)},
        )
    own = kind_of(cls)
    taken = own is not None and own in choices(base, package)
    if own is None or taken or not re.fullmatch(r"[a-z][a-z0-9_-]*", own):
        raise PydanticCustomError(
            "plugin",
            "{name} in {path} needs a name of its own, small letters and digits, such as "
            '`kind: Literal["my-{example}"] = "my-{example}"`; it has {own}{taken}',
            {
                "name": name,
                "path": str(path),
                "example": base.__name__.lower(),
                "own": "none" if own is None else repr(own),
                "taken": ", which a shipped class has" if taken else "",
            },
        )
    return cls


def _why_not(cls: Any, base: type[BaseModel]) -> str:
    """What a class lacks that was to be a concrete `base`; empty where there is no class."""
    if not isinstance(cls, type):
        return ""
    if not issubclass(cls, base):
        parents = ", ".join(parent.__name__ for parent in cls.__bases__)
        here = base.__module__.replace(".", "/")
        return f"; {cls.__name__} derives from {parents}, and {here}.py says what is asked of it"
    return f"; it lacks {', '.join(sorted(cls.__abstractmethods__))}"


@dataclass(frozen=True)
class OpenUnion:
    """Annotation `Annotated[Base, OpenUnion(Base, "package")]` for a field of kinds.

    `but` names kinds of the package that cannot stand here; `default` is the kind where none is
    given.
    """

    base: type[BaseModel]
    package: str
    but: tuple[str, ...] = ()
    default: str | None = None

    def class_of(self, value: Any, folders: Iterable[Path] = ()) -> type[BaseModel]:
        """The class that a mapping with `kind` asks for.

        Raises:
            PydanticCustomError: no mapping, no kind, or an unknown one (with the nearest name).
        """
        if not isinstance(value, dict):
            raise PydanticCustomError(
                "kind", "needed a mapping with `kind`, got {value}", {"value": reprlib.repr(value)}
            )
        kind = value.get("kind", self.default or kind_of(self.base))
        if isinstance(kind, str) and ":" in kind:
            return load_class(self.base, self.package, kind, folders)
        # most kinds are imported already; importing every model would cost a second
        if kind is not None and not isinstance(kind, str):
            raise PydanticCustomError(
                "kind", "`kind` needs a name, got {value}", {"value": reprlib.repr(kind)}
            )
        known = _inside(self.base, self.package)
        if kind not in known:
            known = choices(self.base, self.package)
        if isinstance(kind, str) and kind in known and kind not in self.but:
            return known[kind]
        names = ", ".join(name for name in known if name not in self.but)
        if kind in self.but:
            raise PydanticCustomError(
                "kind",
                "{kind} cannot stand here; it is one of {known}",
                {"kind": str(kind), "known": names},
            )
        if kind is None:
            raise PydanticCustomError(
                "kind", "`kind` is missing; it is one of {known}", {"known": names}
            )
        raise PydanticCustomError(
            "kind",
            "unknown kind {kind}{hint}; known: {known}, or path/to/file.py:ClassName",
            {"kind": reprlib.repr(kind), "hint": nearest(str(kind), known), "known": names},
        )

    def resolve(self, value: Any, info: ValidationInfo) -> BaseModel:
        """The object that a mapping with `kind` describes; an object passes through.

        Raises:
            PydanticCustomError: see `class_of`.
            ValidationError: the fields are wrong.
        """
        if isinstance(value, self.base):
            return value
        context = info.context or {}
        cls = self.class_of(value, context.get("folders", ()))
        fields = {k: v for k, v in value.items() if k != "kind"}
        if context.get("stored"):
            fields = {**former_values(cls), **fields}
        return cls.model_validate(fields, context=info.context)

    @staticmethod
    def dump(value: BaseModel, info: Any) -> dict[str, Any]:
        """Fields and kind, from which the object can be made again wherever it came from."""
        cls = type(value)
        if info.context == IDENTITY:
            fields = value.model_dump(mode=info.mode, context=IDENTITY, exclude_defaults=True)
            for name, former in former_values(cls).items():
                if getattr(value, name) == former:
                    fields.pop(name, None)
                else:
                    fields[name] = getattr(value, name)
            return {**fields, "kind": kind_of(cls), "version": getattr(cls, "version", None)}
        fields = value.model_dump(mode=info.mode, context=info.context)
        return {**fields, "kind": path_of(cls) or kind_of(cls)}

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self.resolve,
            serialization=core_schema.plain_serializer_function_ser_schema(
                self.dump, info_arg=True
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        found = choices(self.base, self.package)
        known = [cls for kind, cls in found.items() if kind not in self.but]
        plugin = {
            "type": "object",
            "properties": {"kind": {"type": "string", "pattern": r"\.py:\w+$"}},
            "required": ["kind"],
        }
        return {"anyOf": [*(handler(cls.__pydantic_core_schema__) for cls in known), plugin]}
