"""Pages of one file that hold everything and ask nothing of any network."""

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from experiments.errors import LoopscopeError
from experiments.runs.json_files import replacing

#: cannot stand in HTML: control characters and halves of surrogate pairs
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def text_of(package: str, name: str) -> str:
    """The text of a file of a package of pages."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def filled(
    template: str,
    style: str,
    script: str,
    load: Callable[[str], str] | None = None,
    **content: Any,
) -> str:
    """The page around its content; its own style and script are the only ones it allows to run.

    Text is escaped, and characters that cannot stand in a page become U+FFFD.

    Args:
        load: name -> text of the templates that this one names.
    """
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=None if load is None else FunctionLoader(load),
    )
    text = environment.from_string(template).render(content, style=style, script=script, hash=_hash)
    return _UNPRINTABLE.sub("\ufffd", text)


def packed(data: Any) -> str:
    """Data for a script: JSON, compressed (zlib), in base64, so that it cannot become markup."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 9)).decode()


def page_target(path: Path, option: str) -> Path:
    """The path itself, if a page can be written there.

    Raises:
        LoopscopeError: no folder for the file, or a name that is none of a page.
    """
    if not path.parent.is_dir():
        raise LoopscopeError(f"{path.parent} is no folder; make it, or choose another {option}")
    if path.is_dir() or path.suffix not in (".html", ".htm"):
        raise LoopscopeError(f"{option} {path}: needs the name of a file that ends in .html")
    return path


def write_page(text: str, path: Path) -> Path:
    """Writes a page, whole or not at all; its path."""
    with replacing(path, durable=False) as file:
        file.write(text.encode())
    return path


def _hash(text: str) -> str:
    """As a content security policy names what it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
