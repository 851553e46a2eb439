"""The figures of a page: pictures and the numbers behind them, inside the page."""

import base64
import io
from dataclasses import dataclass
from typing import Any

from experiments.analysis.report.markup import Html, element
from experiments.errors import LoopscopeError
from experiments.results.long_table import Results

#: tried where a grid lists no figures
USUAL = ("capacity_versus_loops", "accuracy_versus_loops", "plane", "learning_curves")


@dataclass(frozen=True)
class Drawn:
    """One figure; without a picture, why not.

    Attributes:
        kind: or name: what the command line calls it.
        svg: with letters as outlines, so that it looks the same everywhere.
        width: CSS pixels.
        csv: the data drawn.
        about: what the kind shows, in a sentence or two.
    """

    kind: str
    name: str
    svg: bytes = b""
    width: int = 0
    csv: bytes = b""
    about: str = ""
    reason: str = ""


def drawn(results: Results, listed: tuple[dict[str, Any], ...]) -> list[Drawn]:
    """The figures that a grid lists, else the usual ones that its results allow."""
    found = [_draw(results, fields) for fields in listed or [{"kind": k} for k in USUAL]]
    return found if listed else [figure for figure in found if figure.svg]


def _draw(results: Results, fields: dict[str, Any]) -> Drawn:
    from matplotlib import rc_context

    from experiments.analysis.drawing.style import style
    from experiments.analysis.figures import figure_of

    kind = str(fields.get("kind", ""))
    try:
        figure = figure_of(**fields)
        data = figure.data(results)
    except (LoopscopeError, TypeError) as error:
        return Drawn(kind, kind, reason=str(error))
    buffer = io.BytesIO()
    with style(), rc_context({"svg.fonttype": "path"}):
        picture = figure.plot(data)
        picture.savefig(buffer, format="svg", metadata={"Date": None})
    about = (type(figure).__doc__ or "").strip().partition("\n\n")[0]
    return Drawn(
        str(fields.get("name") or kind),
        figure.file_name,
        buffer.getvalue(),
        round(96 * picture.get_figwidth()),
        data.to_csv(index=False).encode(),
        " ".join(about.split()).replace("`", ""),
    )


def figure_html(figure: Drawn, command: str) -> Html:
    """The picture with what it shows, its numbers as a file and the command that draws it."""
    name = figure.name.replace("_", " ").replace("-", ", ")
    if not figure.svg:
        return element("p", f"{name} was not drawn: {figure.reason}", class_="note")
    picture, numbers = _data("image/svg+xml", figure.svg), _data("text/csv", figure.csv)
    image = element("img", src=picture, alt=f"{name}: {figure.about}", width=figure.width)
    region = element(
        "div", image, class_="scroll", tabindex=0, role="region", aria_label=f"figure {name}"
    )
    link = element("a", "The numbers drawn (CSV)", href=numbers, download=f"{figure.name}.csv")
    caption = element("figcaption", figure.about, " ", link)
    line = element("pre", element("code", command))
    return element("figure", element("h4", name), region, caption, line)


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
