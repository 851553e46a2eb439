"""HTML put together so that nothing measured or typed by a person can become markup.

Text is escaped wherever it enters; only what `element` made stands as it is.
"""

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

VOID = ("br", "img", "input", "meta")
#: cannot stand in HTML: control characters and halves of surrogate pairs
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Html(str):
    """Markup that needs no escaping."""

    __slots__ = ()


Child: TypeAlias = "Html | str | float | None | Iterable[Child]"


def escaped(value: object) -> Html:
    """Text as HTML; characters that cannot stand in a page become U+FFFD."""
    return Html(html.escape(_UNPRINTABLE.sub("\ufffd", str(value))))


def element(name: str, *children: Child, **attributes: object) -> Html:
    """`<name attribute="…">children</name>`.

    Args:
        children: escaped unless they are `Html`; None is left out, a list is several of them.
        attributes: `class_` is class and `data_sort` data-sort; None leaves one out and True gives
            it without a value.
    """
    given = "".join(
        f" {key}" if value is True else f' {key}="{escaped(value)}"'
        for key, value in ((k.rstrip("_").replace("_", "-"), v) for k, v in attributes.items())
        if value is not None and value is not False
    )
    if name in VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{joined(children)}</{name}>")


def joined(children: Child, separator: str = "") -> Html:
    """Several of them, one behind the other."""
    if children is None:
        return Html("")
    if isinstance(children, Html):
        return children
    if isinstance(children, str | float | int):
        return escaped(children)
    return Html(separator.join(joined(child) for child in children))
