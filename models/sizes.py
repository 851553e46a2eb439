"""Named shapes from 10 thousand to 40 million parameters; no torch needed.

A name tells the parameters of the layers in the default block (four attention matrices, SwiGLU
of 8/3 width: about 12·width² a layer), to within a tenth. Embedding and head come on top, since
they depend on the task's vocabulary. Heads have 32 dimensions, from 1.6M on 64.
"""

import difflib
from typing import Any, NamedTuple


class Size(NamedTuple):
    """Shape of a model: width, heads and layers of the core."""

    width: int
    heads: int
    core: int


SIZES: dict[str, Size] = {
    "12k": Size(32, 1, 1),
    "25k": Size(32, 1, 2),
    "50k": Size(64, 2, 1),
    "100k": Size(64, 2, 2),
    "200k": Size(128, 4, 1),
    "400k": Size(128, 4, 2),
    "800k": Size(128, 4, 4),
    "1.6M": Size(256, 4, 2),
    "3M": Size(256, 4, 4),
    "7M": Size(384, 6, 4),
    "13M": Size(512, 8, 4),
    "25M": Size(512, 8, 8),
    "40M": Size(640, 10, 8),
}


def shape_of(name: Any) -> dict[str, int]:
    """`width`, `heads` and `core` of a named size.

    Raises:
        ValueError: there is no such size; with those there are.
    """
    if name not in SIZES:
        near = difflib.get_close_matches(str(name), SIZES, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"there is no size {name}{hint}; there are {', '.join(SIZES)}")
    return SIZES[name]._asdict()
