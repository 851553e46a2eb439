"""The gallery: every kind of figure with what it shows, the line that draws it, and its picture.

    python -m experiments.analysis.gallery experiments/FIGURES.md

writes the page, and the pictures into `figures` beside it.
"""

import sys
from pathlib import Path
from typing import Any

from experiments.analysis.figures import Figure, picture
from experiments.analysis.report.grids import in_order
from experiments.results.source import open_source
from experiments.runs.output import OUTPUT_FILE
from generators.plugins import choices

#: results that come along, beside the page
REFERENCE = "reference"
#: kind -> what it is drawn from, whatever records list it; others that none lists from `headline`
CHOSEN = {"capacity_versus_people": "load", "seeds_solved": "headline"}
DPI = 60


def places(reference: Path) -> dict[str, tuple[Path, str, dict[str, Any]]]:
    """kind -> results, their grid, and the fields with which its record lists the figure."""
    there = {path.stem: path for path in sorted(reference.iterdir()) if is_results(path)}
    found: dict[str, tuple[Path, str, dict[str, Any]]] = {
        kind: (there[grid], grid, {"kind": kind}) for kind, grid in CHOSEN.items()
    }
    for grid in in_order(there):
        for fields in (open_source(there[grid]).grids.get(grid) or {}).get("figures", ()):
            found.setdefault(fields["kind"], (there[grid], grid, fields))
    for kind in choices(Figure, "experiments.analysis.figures"):
        found.setdefault(kind, (there["headline"], "headline", {"kind": kind}))
    return found


def is_results(path: Path) -> bool:
    return path.suffix == ".zip" or (path / OUTPUT_FILE).is_file()


def page(reference: Path) -> str:
    """The page in Markdown, as it stands beside the folder of reference results."""
    lines = [
        "# Figures",
        "",
        "Every kind of figure on results that come with the project, made by "
        "`python -m experiments.analysis.gallery experiments/FIGURES.md`. "
        "[CONFIGURATION.md](CONFIGURATION.md) has their fields; in Python "
        '`loopscope.figure("KIND", runs)` draws any rows of `load_runs`.',
    ]
    found = places(reference)
    for kind, cls in choices(Figure, "experiments.analysis.figures").items():
        out, grid, fields = found[kind]
        about = " ".join((cls.__doc__ or "").partition("\n\n")[0].split())
        name = fields.get("name") or kind
        place = f"experiments/{REFERENCE}/{out.name}"
        line = f"loopscope figure {name} {place}"
        lines += ["", f"## {kind}", "", about, "", f"```bash\n{line}\n```", ""]
        lines += [f"![{kind} of the grid {grid}](figures/{kind}.png)"]
    return "\n".join([*lines, ""])


def write(path: Path) -> None:
    """The page and its pictures."""
    reference = path.parent / REFERENCE
    path.write_text(page(reference), encoding="utf-8")
    (path.parent / "figures").mkdir(exist_ok=True)
    for kind, (out, grid, fields) in places(reference).items():
        made = picture(out=out, grid=grid, **fields)
        made.savefig(path.parent / "figures" / f"{kind}.png", dpi=DPI)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
