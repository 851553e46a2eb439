"""Open unions: `kind: name` finds a class in its package, `kind: path/to/file.py:Class` in a file.

There is no registry to keep in step: every module of the package is imported and every concrete
subclass with a default for `kind` is a choice.
"""

import difflib
import importlib
import importlib.util
import pkgutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema


def _import_file(path: Path) -> ModuleType:
    name = f"loopscope_plugin_{path.stem}_{abs(hash(str(path.resolve()))):x}"
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


def _subclasses(base: type) -> list[type]:
    found = []
    for sub in base.__subclasses__():
        found += [sub, *_subclasses(sub)]
    return found


@cache
def choices(base: type[BaseModel], package: str) -> dict[str, type[BaseModel]]:
    """kind -> class, for every concrete subclass of `base` (or `base` itself) in `package`."""
    root = importlib.import_module(package)
    for module in pkgutil.iter_modules(root.__path__, f"{package}."):
        importlib.import_module(module.name)
    found = {}
    for cls in [base, *_subclasses(base)]:
        inside = cls.__module__.startswith(f"{package}.")
        kind = cls.model_fields["kind"].default if "kind" in cls.model_fields else None
        if inside and isinstance(kind, str):
            found[kind] = cls
    return dict(sorted(found.items()))


def load_class(base: type[BaseModel], kind: str) -> type[BaseModel]:
    """The class behind `path/to/file.py:ClassName`.

    Raises:
        PydanticCustomError: the file or the class is missing or is not a `base`.
    """
    file, _, name = kind.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise PydanticCustomError("plugin", "there is no file {path}", {"path": str(path)})
    try:
        cls = getattr(_import_file(path), name, None)
    except Exception as error:
        raise PydanticCustomError(
            "plugin",
            "{path} cannot be imported: {error}",
            {"path": str(path), "error": f"{type(error).__name__}: {error}"},
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise PydanticCustomError(
            "plugin",
            "{path} has no class {name} derived from {base}",
            {"path": str(path), "name": name, "base": base.__name__},
        )
    return cls


@dataclass(frozen=True)
class OpenUnion:
    """Annotation `Annotated[SerializeAsAny[Base], OpenUnion("package")]` for a field of kinds."""

    base: type[BaseModel]
    package: str

    def resolve(self, value: Any) -> BaseModel:
        """The object that a mapping with `kind` describes; an object passes through.

        Raises:
            PydanticCustomError: no mapping, no kind, or an unknown one (with the nearest name).
            ValidationError: the fields are wrong.
        """
        if isinstance(value, self.base):
            return value
        if not isinstance(value, dict):
            raise PydanticCustomError(
                "kind", "needed a mapping with `kind`, got {value}", {"value": repr(value)}
            )
        known = choices(self.base, self.package)
        kind = value.get("kind")
        if not isinstance(kind, str):
            raise PydanticCustomError(
                "kind", "`kind` is missing; it is one of {known}", {"known": ", ".join(known)}
            )
        if ":" in kind:
            cls = load_class(self.base, kind)
            return cls.model_validate({k: v for k, v in value.items() if k != "kind"})
        if kind not in known:
            nearest = difflib.get_close_matches(kind, known, 1, 0.5)
            hint = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise PydanticCustomError(
                "kind",
                "unknown kind {kind}; {hint}known: {known}",
                {"kind": repr(kind), "hint": hint, "known": ", ".join(known)},
            )
        return known[kind].model_validate(value)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        inner = handler(source)
        return core_schema.no_info_plain_validator_function(
            self.resolve, serialization=inner.get("serialization")
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        known = choices(self.base, self.package).values()
        return {"oneOf": [cls.model_json_schema() for cls in known]}
