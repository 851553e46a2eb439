"""Architectures scored by us, each a folder: its model, card, grid and the numbers of its runs.

`records/NAME/` holds `model.yaml` and, for every size at which it is scored, a folder `SIZE/` with
`card.json`, `score.yaml` and `runs.zip`.
"""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.errors import LoopscopeError
from experiments.execution.runner import run_grid
from experiments.grid.grid import Grid, GridPoint
from experiments.results.archive import write_archive
from experiments.results.long_table import read_results
from experiments.results.selection import last_loop, where
from experiments.runs.json_files import parse_json, replacing, sealed
from experiments.suite.axes import SIZES, chosen
from experiments.suite.card import Card
from experiments.suite.comparison import CARD, CARDS, STANDING, STANDING_NOTE, standing_cells
from experiments.suite.entry import RECORDS, find_entry, shipped
from experiments.suite.grid import NAME, name_of, write_grid
from experiments.suite.recorded import RUNS
from experiments.suite.references import MODEL
from experiments.text import NumberText, TextTable, number
from generators.plugins import nearest

if TYPE_CHECKING:
    import pandas as pd

#: what is told apart in a run's measurements
PLACE = ["metric", "component", "split", "item", "difficulty", "loop"]
#: what is compared: what most axes are made of
COMPARED = ["accuracy", "bits_per_parameter"]
#: by how much a number may lie outside of what the seeds of the record span
BEYOND = 0.05


@dataclass(frozen=True)
class Checked:
    """One run of a record, trained again.

    Attributes:
        outside: numbers that lie outside of what the seeds of the record span.
    """

    run_id: str
    table: TextTable
    outside: int


def sizes_of(record: Path) -> list[str]:
    """The sizes at which the record in a folder is scored, from the smallest."""
    return [size for size in SIZES if (record / size / CARD).is_file()]


def folder_of(name: str) -> Path:
    """The folder of a record.

    Raises:
        LoopscopeError: there is no such record.
    """
    known = shipped()
    if name not in known:
        told = f"there is no record {name!r}{nearest(name, known)}; there are {', '.join(known)}"
        raise LoopscopeError(told)
    return known[name].parent


def cards_of(name: str) -> list[Card]:
    """The cards of a record, from the smallest size.

    Raises:
        LoopscopeError: there is no such record.
    """
    folder = folder_of(name)
    return [_read_card(folder / size / CARD) for size in sizes_of(folder)]


def scored(size: str | None = None) -> list[Card]:
    """The cards of all records at a size, by name; at that of most records where none is named.

    Raises:
        LoopscopeError: none is scored at that size, or there is no such size.
    """
    if size is not None:
        chosen(None, size)
    cards = [card for name in shipped() for card in cards_of(name)]
    found = {s: [card for card in cards if card.size == s] for s in ([size] if size else SIZES)}
    most = max(found.values(), key=len)
    if not most:
        at = f" at size {size}" if size else ""
        raise LoopscopeError(
            f"no record is scored{at} yet; `loopscope score NAME --out OUT` does it"
        )
    return most


def records_table(size: str | None = None) -> TextTable:
    """A row for each record and size: how it compares, or that it is not scored yet.

    Raises:
        LoopscopeError: there is no such size.
    """
    if size is not None:
        chosen(None, size)
    rows: list[tuple[str, ...]] = []
    for name in shipped():
        cards = [card for card in cards_of(name) if size in (None, card.size)]
        for card in cards:
            *numbers, so_far = standing_cells(card)
            rows.append((name, _size(card), *numbers, so_far.replace("; ", "\n")))
        if not cards:
            rows.append((name, "not scored yet", *("–",) * len(STANDING)))
    heads = ("record", "size", *STANDING)
    whose = {card.references or card.name for name in shipped() for card in cards_of(name)}
    shared = (
        f"The references are those of {', '.join(sorted(whose)) or 'the record'}, with its "
        "parameters and not the record's: costs on the cards."
    )
    notes = (STANDING_NOTE, shared)
    return TextTable("Records of the score card", heads, tuple(rows), notes, STANDING[-2::-1])


def _read_card(path: Path) -> Card:
    return Card.model_validate_json(path.read_text(encoding="utf-8"))


def _size(card: Card) -> str:
    """The size of a card, and how many axes of that size it has where it lacks some."""
    of = len(chosen(None, card.size))
    return card.size if len(card.axes) == of else f"{card.size}, {len(card.axes)} of {of} axes"


def add_record(name: str, out: Path, folder: Path = RECORDS) -> Path:
    """Copies card, grid and numbers of a finished score from `out` to a record.

    Runs of references that are those of another model stay with the record of that one.

    Raises:
        LoopscopeError: there is no such record, no card in `out`, runs are not done, the card is
            that of another model or of other grids than the suite has now, or the record has a
            card of that size with more axes.
    """
    made, record = out / CARDS / name, folder / name
    card_file = made / CARD
    if not (record / "model.yaml").is_file():
        raise LoopscopeError(f"{record} has no model.yaml; write it first, as other records have")
    if not card_file.is_file():
        raise LoopscopeError(f"{made} has no {CARD}; `loopscope score {name} --out {out}` makes it")
    card = _read_card(card_file)
    if card.unfinished:
        raise LoopscopeError(f"{card.unfinished} runs of {out} are not done; score it to the end")
    if card.name != name:
        raise LoopscopeError(f"{card_file} is the card of {card.name}, not of {name}")
    if set(card.run_ids) != _asked(card, record):
        raise LoopscopeError(
            f"{card_file} is of other runs than {record / 'model.yaml'} and the suite ask for, "
            "which were changed since, or by --set; "
            f"`loopscope score {name} --out {out} --size {card.size}` scores them"
        )
    target = record / card.size
    _refuse_less(card, target)
    runs = read_results(out, name_of(name)).runs
    kept = runs[runs["arm"] == MODEL] if card.references else runs
    target.mkdir(exist_ok=True)
    write_archive(out, target / RUNS, set(kept["run_id"]))
    _keep_grid(target / RUNS, name, card.size)
    for file in (CARD, f"{NAME}.yaml"):
        shutil.copyfile(made / file, target / file)
    return target


def _refuse_less(card: Card, target: Path) -> None:
    """A card takes the place of one that has no axis more."""
    if not (target / CARD).is_file():
        return
    before = _read_card(target / CARD)
    if lost := [name for name in before.axes if name not in card.axes]:
        raise LoopscopeError(
            f"{target} has a card with {len(before.axes)} axes, and this one is without "
            f"{', '.join(lost)}; remove {target / CARD} first if it shall take that place"
        )


def _asked(card: Card, record: Path) -> set[str]:
    """Ids of the runs that a card of a record consists of today."""
    entry = find_entry(str(record / "model.yaml"))
    other = find_entry(card.references) if card.references else None
    with TemporaryDirectory() as folder:
        wanted = chosen(list(card.axes), card.size)
        grid = write_grid(entry, wanted, card.size, Path(folder), other).grid
    return {point.run_id for point in grid.points}


def _keep_grid(archive: Path, name: str, size: str) -> None:
    """Leaves an archive the grid of a model, named by its place in the record."""
    grid, file = f"grids/{name_of(name)}.json", f"{name}/{size}/{NAME}.yaml"
    with zipfile.ZipFile(archive) as before:
        members = {info: before.read(info) for info in before.infolist()}
    with replacing(archive) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as after:
        for info, content in members.items():
            if info.filename.startswith("grids/") and info.filename != grid:
                continue
            if info.filename == grid:
                record = parse_json(content)
                record.pop("checksum", None)
                content = json.dumps(sealed(record | {"file": file}), indent=1).encode()
            after.writestr(info, content)


def check_record(
    name: str,
    out: Path,
    seed: int,
    folder: Path = RECORDS,
    size: str | None = None,
    notify: Callable[[str], None] = lambda message: None,
) -> Checked:
    """Trains one run of a record again, drawn at random, and compares what it measures.

    Args:
        seed: of the draw.
        size: of the score; None: the largest there is.
        notify: told what was drawn, before it is trained.

    Raises:
        LoopscopeError: there is no such record, it is not scored yet, its runs are not here, or
            the run fails.
    """
    if not (folder / name).is_dir():
        folder_of(name)
    there = sizes_of(folder / name)
    if not there or size not in (None, *there):
        at = f"at size {size}, only at {', '.join(there)}" if there else "yet"
        raise LoopscopeError(
            f"record {name} is not scored {at}; `loopscope score {name} --size SIZE` scores it"
        )
    archive = folder / name / (size or there[-1]) / RUNS
    if not archive.is_file():
        raise LoopscopeError(
            f"{archive} is missing: an installed loopscope has the cards of records and not "
            "their runs, which are in the repository; check it in a clone"
        )
    recorded = read_results(archive, name_of(name))
    done = recorded.runs[recorded.runs["status"] == "done"]
    run_id = str(np.random.default_rng(seed).choice(sorted(done["run_id"].unique())))
    config = recorded.config(run_id)
    place = done[done["run_id"] == run_id].iloc[0]
    point = GridPoint(config, config.run_id, str(place["part"]), {"arm": str(place["arm"])})
    took = place["cpu_seconds"]
    told = f", which took {took:.0f} s of processor time" if took == took else ""
    notify(f"{run_id}: {place['part']}, {place['arm']}, seed {place['seed']}{told} (--seed {seed})")
    grid = Grid("check", f"One run of record {name}", (), (point,))
    outcome = run_grid(grid, out)
    if outcome.failed or outcome.interrupted:
        reasons = "; ".join(f.reason for f in outcome.failed) or "stopped"
        raise LoopscopeError(f"{run_id} was not trained to its end: {reasons}")
    now = read_results(out, "check").runs
    cell = done[(done["part"] == place["part"]) & (done["arm"] == place["arm"])]
    rows = list(_compared(now, done[done["run_id"] == run_id], cell))
    heads = ("measured", "now", "record", "difference", "seeds of the record", "")
    lines = tuple(tuple(row[:-1]) + ("outside" if row[-1] else "",) for row in rows)
    return Checked(run_id, TextTable(run_id, heads, lines), sum(bool(row[-1]) for row in rows))


def _compared(
    now: "pd.DataFrame", before: "pd.DataFrame", cell: "pd.DataFrame"
) -> Iterator[tuple[Any, ...]]:
    """(name, now, before, difference, range, outside) of every number compared."""
    keys: list[str] = PLACE
    chosen = [last_loop(where(rows, metric=COMPARED)) for rows in (now, before, cell)]
    mine, theirs, every = (rows.groupby(keys, dropna=False)["value"] for rows in chosen)
    found: Any = mine.mean()  # by places, whose missing parts only pandas finds
    old: Any = theirs.mean()
    low: Any = every.min()
    high: Any = every.max()
    for place, value in found.items():
        name = " ".join(str(p) for p in place if p == p and p != "")
        least, most = float(low[place]), float(high[place])
        outside = not least - BEYOND <= value <= most + BEYOND
        difference = value - old[place]
        change = NumberText(f"{difference:+.4f}", difference)
        span = f"{least:.3f} to {most:.3f}"
        yield name, number(value), number(float(old[place])), change, span, outside
