"""What a person can mend: printed without a traceback, exit status 2."""

import traceback


class LoopscopeError(Exception):
    """Bad input or a state of the disk that needs a decision; the message says what to do."""


def wrap_plugin_error(what: str, error: Exception) -> LoopscopeError:
    """The message for an error in code that may be a plugin's, with its place."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return LoopscopeError(
        f"{what} failed in {place.filename}:{place.lineno}: {type(error).__name__}: {error}"
    )
