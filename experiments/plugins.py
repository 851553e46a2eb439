"""Kinds of everything a run is made of, and the message where one of them fails."""

import traceback

from experiments.errors import LoopscopeError
from generators.plugins import IDENTITY, OpenUnion, choices, kind_of, load_class, nearest, path_of

__all__ = (
    "IDENTITY",
    "OpenUnion",
    "blame",
    "choices",
    "kind_of",
    "load_class",
    "nearest",
    "path_of",
)


def blame(what: str, error: Exception) -> LoopscopeError:
    """The message for an error in code that may be a plugin's, with its place."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return LoopscopeError(
        f"{what} failed in {place.filename}:{place.lineno}: {type(error).__name__}: {error}"
    )
