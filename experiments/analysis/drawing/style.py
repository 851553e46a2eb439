"""How every figure looks: readable in print, without colour vision, and in a README.

matplotlib is imported inside the functions, so that planning a grid does not pay for it.

A colour means one thing. `arm_looks` are for arms, each of which has one look in all figures of a
results folder; what has an order (loops, hops, exposures) is drawn on a ramp, and other names in
colours that no arm has.
"""

import re
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import LoopscopeError
from experiments.palette import COLOURS as COLOURS
from experiments.runs.json_files import replacing
from generators.plugins import nearest

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

#: value -> (colour, marker)
Looks = dict[Any, tuple[str, str]]

#: of names that are no arms: Paul Tol's muted scheme
NAMED = ("#332288", "#CC6677", "#117733", "#DDCC77", "#882255", "#44AA99", "#999933")
#: ends of the ramp for what has an order
RAMP = ("#b588dc", "#2c0d45")
#: the marker changes along with the colour
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
#: a second distinction; long dashes are kept for floors
LINES: tuple[Any, ...] = ("-", "-.", ":", (0, (1, 1)))
FLOOR: dict[str, Any] = {"linestyle": (0, (6, 3)), "linewidth": 1.0, "zorder": 1}
GREY = "#777777"
#: points, where no other size is asked for
FONT_SIZE = 9.0

RC = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "loopscope",  # the same figure gives the same file
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # letters that publishers accept
}
_SIZES = {"font.size": 1, "legend.fontsize": 0.95, "axes.titlesize": 1.05, "axes.labelsize": 1}
_ARM = re.compile(r"(\d+)⊗(\d+)$")


@contextmanager
def style(font: str | None = None, font_size: float | None = None) -> Iterator[None]:
    """The look of the figures for the time of a `with`.

    Args:
        font: family of the letters; None: matplotlib's own.
        font_size: points.

    Raises:
        LoopscopeError: this machine has no such font.
    """
    import matplotlib

    sizes = {key: share * (font_size or FONT_SIZE) for key, share in _SIZES.items()}
    family = {} if font is None else {"font.family": _known_font(font)}
    with matplotlib.rc_context({**RC, **sizes, **family}):
        yield


def _known_font(name: str) -> str:
    from matplotlib.font_manager import fontManager

    known = {*fontManager.get_font_names(), "serif", "sans-serif", "monospace"}
    if name not in known:
        hint = nearest(name, known)
        raise LoopscopeError(
            f"font {name!r}: this machine has none of that name{hint}; serif, sans-serif and "
            "monospace are always there"
        )
    return name


def points(share: float) -> float:
    """Size of letters as a share of that of the text."""
    import matplotlib

    return share * float(matplotlib.rcParams["font.size"])


def arm_looks(data: "pd.DataFrame") -> Looks:
    """The look of every arm in `data`, the same in all figures of one results folder.

    `data.attrs["arms"]` holds all arms of the folder, see `Results.arms`; without it the look
    follows from the arms that are drawn.
    """
    there = list(dict.fromkeys(data["arm"].dropna()))
    arms = _in_order([*data.attrs.get("arms", ()), *there])
    looks = {
        arm: (_shade(i), MARKERS[i % len(MARKERS)]) for i, arm in enumerate(dict.fromkeys(arms))
    }
    return {arm: look for arm, look in looks.items() if arm in there}


def _in_order(arms: list[str]) -> list[str]:
    """k⊗n by k and n, then names as they come."""

    def key(arm: str) -> tuple[int, int, int]:
        found = _ARM.match(arm)
        return (0, int(found[1]), int(found[2])) if found else (1, 0, 0)

    return sorted(arms, key=key)


def _shade(i: int) -> str:
    """The i-th of 21 colours: each of `COLOURS`, then darker, then paler."""
    from seaborn import blend_palette

    base = COLOURS[i % len(COLOURS)]
    towards, share = ((base, 0), ("#333333", 45), ("white", 50))[i // len(COLOURS) % 3]
    return blend_palette([base, towards], 101).as_hex()[share]


def ramp(values: Iterable[Hashable]) -> Looks:
    """Of what has an order, from pale to dark in the order given."""
    from seaborn import blend_palette

    unique = list(dict.fromkeys(values))
    colours = blend_palette(RAMP, max(2, len(unique))).as_hex()
    if len(unique) < 2:
        colours = colours[1:]
    return {v: (colours[i], MARKERS[i % len(MARKERS)]) for i, v in enumerate(unique)}


def named(values: Iterable[Hashable]) -> Looks:
    """Of names that are no arms, in order of appearance."""
    unique = enumerate(dict.fromkeys(values))
    return {v: (NAMED[i % len(NAMED)], MARKERS[i % len(MARKERS)]) for i, v in unique}


def looks_of(data: "pd.DataFrame", column: str) -> Looks:
    """Of the values of a column: those of arms where each value is one arm, else a ramp."""
    pairs = data[[column, "arm"]].drop_duplicates()
    if pairs[column].is_unique and pairs["arm"].is_unique:
        arms = arm_looks(data)
        return {value: arms[arm] for value, arm in pairs.itertuples(index=False)}
    return ramp(data[column])


def save(
    picture: "Picture", data: "pd.DataFrame", stem: Path, formats: Iterable[str]
) -> list[Path]:
    """Writes stem.FORMAT for each format and stem.csv, each as a whole."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in dict.fromkeys(formats)]
    paths.append(stem.with_name(f"{stem.name}.csv"))
    when = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    for path in paths:
        with replacing(path, durable=False) as file:
            if path.suffix == ".csv":
                data.to_csv(file, index=False)
            else:
                metadata = when.get(path.suffix)
                picture.savefig(file, format=path.suffix[1:], dpi=200, metadata=metadata)
    return paths
