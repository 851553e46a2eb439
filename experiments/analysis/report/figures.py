"""The figures of a page: pictures and the numbers behind them, inside the page."""

import base64
import io
from dataclasses import dataclass
from typing import Any

from experiments.errors import LoopscopeError
from experiments.results.long_table import Results

#: tried where a grid lists no figures
USUAL = ("capacity_versus_loops", "accuracy_versus_loops", "plane", "learning_curves")


@dataclass(frozen=True)
class Drawn:
    """One figure; without a picture, why not.

    Attributes:
        kind: or name: what the command line calls it.
        svg: base64; its letters are outlines, so that it looks the same everywhere.
        width: CSS pixels.
        csv: the data drawn, base64.
        about: what the kind shows, in a sentence or two.
    """

    kind: str
    name: str
    svg: str = ""
    width: int = 0
    csv: str = ""
    about: str = ""
    reason: str = ""

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").replace("-", ", ")


def drawn(results: Results, listed: tuple[dict[str, Any], ...]) -> list[Drawn]:
    """The figures that a grid lists, else the usual ones that its results allow."""
    found = [_draw(results, fields) for fields in listed or [{"kind": k} for k in USUAL]]
    return found if listed else [figure for figure in found if figure.svg]


def _draw(results: Results, fields: dict[str, Any]) -> Drawn:
    from matplotlib import rc_context

    from experiments.analysis.drawing.style import style
    from experiments.analysis.figures import draw_figure, figure_of

    kind = str(fields.get("kind", ""))
    try:
        figure = figure_of(**fields)
        data, picture = draw_figure(figure, results)
    except (LoopscopeError, TypeError) as error:
        return Drawn(kind, kind, reason=str(error))
    buffer = io.BytesIO()
    with style(figure.font, figure.font_size), rc_context({"svg.fonttype": "path"}):
        picture.savefig(buffer, format="svg", metadata={"Date": None})
    about = (type(figure).__doc__ or "").strip().partition("\n\n")[0]
    return Drawn(
        str(fields.get("name") or kind),
        figure.file_name,
        base64.b64encode(buffer.getvalue()).decode(),
        round(96 * picture.get_figwidth()),
        base64.b64encode(data.to_csv(index=False).encode()).decode(),
        " ".join(about.split()).replace("`", ""),
    )
