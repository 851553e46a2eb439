"""What a notebook needs beside the long table: figures, tables and charts that need no network,
verdicts as text, and probes of a trained run on the spot.

    from experiments.notebook import compare, probe_run, reference, show, table

    show("plane", reference("headline"))
    table(load_runs(reference("quick")))

Nothing here writes into the results.
"""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution, requires
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from experiments.errors import LoopscopeError
from experiments.runs.reference import PREFIX, REFERENCE, place_of  # noqa: F401 of notebooks
from probes.probe import Probe

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import Image

    from experiments.results.long_table import Data

#: pixels of a figure's width on the page, of the two per pixel that it has
WIDTH = 760


def reference(name: str) -> Path:
    """The folder or archive of results that come with loopscope under this name.

    Raises:
        LoopscopeError: there is none; with those there are.
    """
    return place_of(f"{PREFIX}{name}")


def show(kind: str, out: Path | str, grid: str | None = None, **options: Any) -> "Image":
    """A figure of the results in `out`, for a cell's last line or `display`.

    Args: as `experiments.analysis.figures.draw`, whose files are made elsewhere and thrown away.

    Raises:
        LoopscopeError: an unknown kind or option, or results that lack what is to be drawn.
    """
    from IPython.display import Image

    from experiments.analysis.figures import draw

    with TemporaryDirectory() as folder:
        png, *_ = draw(kind, out, grid, folder, **options)
        data = png.read_bytes()
    pixels = int.from_bytes(data[16:20], "big")  # from the header of the file
    return Image(in_few_colours(data), format="png", width=min(WIDTH, pixels // 2))


def in_few_colours(png: bytes) -> bytes:
    """The same picture on white in 256 colours: charts look alike, at a third of the bytes.

    Notebooks keep their pictures, and come along with every installation.
    """
    from PIL import Image, PngImagePlugin

    with PngImagePlugin.PngImageFile(BytesIO(png)) as picture:
        shown = picture.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
        small, packed = flat.convert("RGB").quantize(256, dither=Image.Dither.NONE), BytesIO()
    small.save(packed, "png", optimize=True)
    return packed.getvalue()


def compare(
    out: "Data",
    claim: str,
    between: tuple[str, str] | Sequence[tuple[str, str]] | None = None,
    *,
    by: str = "arm",
    grid: str | None = None,
    **filters: Any,
) -> str:
    """What the results say about a claim, as `loopscope compare` prints it.

    Args:
        out: a folder or an archive of runs, or rows of `load_runs` that you chose.
        claim: such as `capacity-equal`, `manipulation-better` or `needs-fewer-steps`.
        between: A and B, values of `by`, or several such pairs; None: the first against each of
            the others. The p values of one call are corrected together.
        filters: column -> value or values, such as `part="functions"`.

    Raises:
        LoopscopeError: an unknown claim, or results that lack what is to be compared.
    """
    from experiments.analysis.verdicts.cells import cells
    from experiments.analysis.verdicts.claims import HYPOTHESES
    from experiments.analysis.verdicts.text import report
    from experiments.analysis.verdicts.verdicts import judge
    from experiments.results.long_table import read_results
    from generators.plugins import nearest

    if claim not in HYPOTHESES:
        known = ", ".join(HYPOTHESES)
        raise LoopscopeError(f"claim {claim!r}{nearest(claim, HYPOTHESES)}: it is one of {known}")
    asked = HYPOTHESES[claim]
    results = read_results(out, grid)
    pairs = [between] if between is None or isinstance(between[0], str) else between
    paired = [
        cell
        for pair in pairs
        for cell in cells(
            results, asked.ability, between=pair and (pair[0], pair[1]), by=by, filters=filters
        )
    ]
    return report(claim, asked, judge(paired, asked))


#: modules that the notebooks need beside those that loopscope does
EXTRA = {"altair": "altair", "vl_convert": "vl-convert-python"}


def notebook_files() -> list[Path]:
    """The notebooks of a checkout, or of an installation.

    Raises:
        LoopscopeError: this installation came without them.
    """
    found = sorted(Path(__file__).parents[2].glob("notebooks/*.ipynb"))
    if not found:
        with suppress(PackageNotFoundError):
            listed = distribution("loopscope").files or ()
            places = (Path(str(f.locate())) for f in listed if f.suffix == ".ipynb")
            found = sorted(place.resolve() for place in places if place.exists())
    if not found:
        raise LoopscopeError("this installation of loopscope came without notebooks")
    return found


def copy_notebooks(folder: Path) -> Iterator[str]:
    """Copies the notebooks into a folder, a line about each; none is ever overwritten."""
    files = notebook_files()
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        target = folder / file.name
        try:
            with target.open("xb") as copy:
                copy.write(file.read_bytes())
            yield str(target)
        except FileExistsError:
            yield f"{target} is there already and stays as it is"


def lacking() -> str:
    """What the notebooks need and is not installed, with the command that installs it; or ""."""
    missing = [package for module, package in EXTRA.items() if find_spec(module) is None]
    if not missing:
        return ""
    wanted = [re.split(r"[ ;]", text)[0] for text in requires("loopscope") or ()]
    named = [w for w in wanted if re.split(r"[<>=!~]", w)[0] in missing] or missing
    return (
        f"their charts need {' and '.join(missing)}, not installed here: "
        f"{shlex.join([sys.executable, '-m', 'pip', 'install', *named])}"
    )


def probe_run(out: Path | str, run_id: str, *probes: Probe) -> "pd.DataFrame":
    """Measures a trained run now: a row per `Measurement`, in its columns.

    Args:
        run_id: or the start of one; the run needs its weights.

    Raises:
        LoopscopeError: no such run, or it has no weights.
        ValueError: a probe that does not fit the run's task or model.
    """
    from dataclasses import asdict, fields

    import pandas as pd

    from experiments.measuring.load import load_subject
    from experiments.measuring.measure import measure
    from probes.probe import Measurement

    rows = measure(load_subject(out, run_id), probes)
    return pd.DataFrame(map(asdict, rows), columns=[f.name for f in fields(Measurement)])


@dataclass(frozen=True)
class SortableTable:
    """A table that a reader sorts and filters: HTML where the front end can, else text."""

    text: str
    markup: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.markup


def table(frame: "pd.DataFrame", digits: int = 3) -> SortableTable:
    """A table that sorts at a click on its head and shows the rows that hold the words typed.

    Its index is shown where it has names. Without JavaScript it is a plain table.
    """
    named = any(name is not None for name in frame.index.names)
    rows = (frame.reset_index() if named else frame).rename_axis(columns=None)
    options: dict[str, Any] = {
        "index": False,
        "na_rep": "–",
        "float_format": lambda value: f"{value:.{digits}f}",
    }
    body = rows.to_html(border=0, **options)
    name = "t" + sha256(body.encode()).hexdigest()[:12]
    hint = f'placeholder="filter {len(rows)} rows"'
    box = f'<input type="search" {hint} data-lm-suppress-shortcuts="true">'
    script = f"<script>{SCRIPT.replace('NAME', name)}</script>"
    markup = f'<div data-table="{name}">{box}\n{body}\n{script}</div>'
    return SortableTable(rows.to_string(**options), markup)


#: idempotent: a page may hold the same table twice
SCRIPT = """
document.querySelectorAll('[data-table="NAME"]').forEach(box => {
  const body = box.querySelector("tbody"), rows = [...body.rows];
  box.querySelector("input").oninput = event => {
    const words = event.target.value.toLowerCase().split(" ");
    rows.forEach(row => {
      const text = row.textContent.toLowerCase();
      row.style.display = words.every(word => text.includes(word)) ? "" : "none";
    });
  };
  box.querySelectorAll("thead th").forEach((head, i) => {
    let up = false;
    head.style.cursor = "pointer";
    head.onclick = () => {
      up = !up;
      const key = row => row.cells[i].textContent, sign = up ? 1 : -1;
      rows.sort((a, b) => sign * (key(a) - key(b) || key(a).localeCompare(key(b))));
      body.append(...rows);
    };
  });
});
"""


def offline_charts() -> None:
    """Makes altair's charts show without network.

    JupyterLab draws them itself, so that they answer to the mouse; a page that only shows
    results, such as a repository's, has a picture.

    Raises:
        LoopscopeError: altair or its converter is missing.
    """
    try:
        import altair
        import vl_convert  # noqa: F401  what altair makes pictures with
        from altair.utils.mimebundle import spec_to_mimebundle
    except ImportError as error:
        raise LoopscopeError(
            f"{error.name} is missing; `pip install 'loopscope[notebooks]'` brings it"
        ) from error

    altair.renderers.enable("mimetype")
    drawn_by_jupyter: Any = altair.renderers.get()

    def bundle(spec: dict[str, Any], **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        picture, size = spec_to_mimebundle(spec, format="png", mode="vega-lite", scale_factor=1.5)
        picture["image/png"] = in_few_colours(picture["image/png"])
        told, about = drawn_by_jupyter(spec)
        return {**told, **picture, "text/plain": "<a chart>"}, {**about, **size}

    altair.renderers.register("offline", bundle)
    altair.renderers.enable("offline")
