"""The task of a run, from wherever its results are read."""

from pathlib import Path

from experiments.results.archive import is_archive
from experiments.results.source import open_source
from experiments.runs.output import find_run, one_called
from experiments.runs.reference import place_of
from generators.task import Task


def load_task(out: Path | str, run_id: str) -> Task:
    """The task that a run was trained on, with its world; needs no weights.

    Args:
        out: a folder or an archive of runs, or `reference:NAME`.
        run_id: or the start of one.

    Raises:
        LoopscopeError: no such run, or its config is damaged.
    """
    place = place_of(out)
    if not is_archive(place):
        return find_run(place, run_id).config().bound_task()
    source = open_source(place)
    names = [] if source.tables is None else sorted(source.tables.run_ids)
    return source.config(one_called(run_id, names, place)).bound_task()
