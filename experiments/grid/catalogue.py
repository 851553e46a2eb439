"""What there is to name in a grid or to a command, and skeletons of what can be added."""

import inspect
import keyword
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from textwrap import fill

from experiments.errors import LoopscopeError
from experiments.grid.grid import SHIPPED
from experiments.grid.located_yaml import load_yaml
from experiments.grid.reference_page import KINDS
from generators.plugins import choices

#: columns of a line
LINE = 80
HOUSE = Path(__file__).parents[1]
#: what is listed -> the heading of its kinds in the reference
LISTED = {heading.lower(): base for base, (heading, *_) in KINDS.items()}
#: what can be begun -> file in the guide, class in it, kind in it
SKELETONS = {
    "task": ("addition.py", "Addition", "addition"),
    "model": ("looped_gru.py", "LoopedGRU", "looped-gru"),
    "objective": ("mean_loss.py", "MeanLoss", "mean-loss"),
    "probe": ("confidence.py", "Confidence", "confidence"),
    "figure": ("seeds.py", "Seeds", "seeds"),
}
#: how a skeleton is tried at once; {file} is the file, {cls} the class
TRIED = {
    "grid": "loopscope plan {file}",
    "task": "loopscope sample {file}:{cls}",
    "model": "in a grid, `model: {{kind: {file}:{cls}, width: 16}}`",
    "objective": "in a grid, `objective: {{kind: {file}:{cls}}}`",
    "probe": "loopscope probe OUT --probe '{{kind: {file}:{cls}}}'",
    "figure": "loopscope figure {file}:{cls} OUT",
}


def listing(what: str) -> str:
    """A name, one line and the options of all tasks, probes, models, objectives, figures or grids.

    Lines have at most 80 columns.
    """
    if what == "grids":
        entries = [(path.stem, *_of_grid(path)) for path in sorted(SHIPPED.glob("*.yaml"))]
    else:
        base = LISTED[what]
        common = set(base.model_fields) - {"width", "core", "loops"}
        entries = [
            (kind, _first_line(cls), ", ".join(n for n in cls.model_fields if n not in common))
            for kind, cls in choices(base, KINDS[base][1]).items()
        ]
    return "\n".join(entry_text(*entry) for entry in entries)


def entry_text(name: str, line: str, options: str) -> str:
    """
    >>> print(entry_text("copy", "Say it again.", "length, words"))
    copy: Say it again.
        length, words
    """
    told = fill(f"{name}: {line}", LINE, subsequent_indent="    ", break_on_hyphens=False)
    if not options:
        return told
    indent = "    "
    wrapped = fill(
        options, LINE, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return f"{told}\n{wrapped}"


def _first_line(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _of_grid(path: Path) -> tuple[str, str]:
    """Title and axes of a shipped grid, without expanding it."""
    data, _ = load_yaml(path)
    parts = data.get("parts", {})
    axes = dict.fromkeys(
        [*data.get("axes", ()), *(a for p in parts.values() for a in p.get("axes", ()))]
    )
    told = f"axes: {', '.join(axes)}" if axes else ""
    of_parts = f"parts: {', '.join(parts)}" if parts else ""
    return data.get("title", ""), "; ".join(filter(None, (told, of_parts)))


def begin(what: str, name: str, folder: Path) -> tuple[Path, str]:
    """Writes a commented skeleton that runs as it is, and never over another file.

    Args:
        what: grid, or one of `SKELETONS`.
        name: of the file; the class and the kind are called after it.

    Returns:
        The file, and how to try it.

    Raises:
        LoopscopeError: the name cannot be one, or the file is there already.
    """
    stem = name.removesuffix(".yaml").removesuffix(".py").replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", stem) or keyword.iskeyword(stem):
        raise LoopscopeError(
            f"{name!r} cannot name a {what}: it needs small letters, digits and _, first a letter"
        )
    path = folder / f"{stem}{'.yaml' if what == 'grid' else '.py'}"
    cls = "".join(word.capitalize() for word in stem.split("_"))
    kind = stem.replace("_", "-")
    if what == "grid":
        text = (HOUSE / "examples" / "new-grid.yaml").read_text(encoding="utf-8")
    else:
        _check_kind(what, kind)
        text = "".join(_skeleton(what, cls, kind))
        if not path.exists() and find_spec(stem) is not None:
            raise LoopscopeError(
                f"{path.name} would hide the Python module {stem} beside it; choose another name"
            )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text.replace("NAME", stem) if what == "grid" else text)
    except FileExistsError as error:
        raise LoopscopeError(f"{path} is there already and is not replaced") from error
    return path, TRIED[what].format(file=path, cls=cls)


def _check_kind(what: str, kind: str) -> None:
    base = LISTED[f"{what}s"]
    if kind in choices(base, KINDS[base][1]):
        raise LoopscopeError(f"there is a {what} {kind!r} already; choose another name")


def _skeleton(what: str, cls: str, kind: str) -> Iterator[str]:
    """The file of the guide under another name, behind comments on what to change."""
    file, old_cls, old_kind = SKELETONS[what]
    guide = (HOUSE / "EXTENDING.md").read_text(encoding="utf-8")
    found = re.search(rf"```python\n# {re.escape(file)}\n(.*?)```", guide, re.DOTALL)
    if found is None:
        raise LoopscopeError(f"the guide of this installation holds no {file}")
    if keyword.iskeyword(cls) or cls != old_cls and re.search(rf"\b{cls}\b", found[1]):
        raise LoopscopeError(
            f"a class {cls} would hide what a {what} needs under that name; choose another name"
        )
    text = re.sub(rf"\b{old_cls}\b(?! modulo)", cls, found[1])
    text = text.replace(f'"{old_kind}"', f'"{kind}"')
    yield f"# A {what} that works as it stands, from `loopscope new {what}`. What to change:\n"
    yield "# - the docstrings, which `loopscope list` and the documentation show;\n"
    yield "# - the fields, which are the options of a grid, each with bounds and a description;\n"
    yield f"# - {METHODS[what]}, where the work is done.\n"
    if what in ("task", "model", "objective"):
        yield "# Raise `version: ClassVar[int]` whenever the same fields would give another one.\n"
    yield "# The contract and what a test has to show: experiments/EXTENDING.md.\n"
    yield text


#: the methods of a skeleton that do the work
METHODS = {
    "task": "`sample`",
    "model": "`Module.forward`",
    "objective": "`per_position`",
    "probe": "`measure`",
    "figure": "`data` and `plot`",
}
