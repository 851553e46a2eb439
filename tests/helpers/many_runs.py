"""Results of as many runs as are wanted, made of those that come along."""

from dataclasses import replace

import pandas as pd

from experiments.results.long_table import Results, read_results
from experiments.results.source import Source, open_source
from generators.streams import Stream, generator


def many(n: int, place: str = "reference:headline") -> Results:
    """`n` runs, or a few more: copies of real ones with noise on every number."""
    source = open_source(place)
    results = read_results(source)
    real = results.runs["run_id"].nunique()
    copies = -(-n // real)

    def repeated(rows: pd.DataFrame) -> pd.DataFrame:
        parts = []
        for i in range(copies):
            noise = generator(i, Stream.PROBE).uniform(0.97, 1, len(rows))
            ids = rows["run_id"] + f"-{i}"
            parts.append(rows.assign(run_id=ids, seed=i, value=rows["value"] * noise))
        return pd.concat(parts, ignore_index=True)

    runs = repeated(results.runs)
    records = source.records(results.runs["run_id"])
    named = {f"{name}-{i}": replace(r, run_id=f"{name}-{i}") for name, r in records.items()
             for i in range(copies)}  # fmt: skip
    copied = Source(source.path, source.grids, _records=named)
    curves = results.curves
    return Results(runs, lambda: repeated(curves), results.config, find_source=lambda: copied)
