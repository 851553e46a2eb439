"""The two Parquet tables of an archive: all runs of a folder, ready to be read at once.

index.parquet     a row per run: columns to look at, and its config, result and status
metrics.parquet   a row per line of metrics.jsonl: run_id, step, loss, the line
"""

import hashlib
import json
import os
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from experiments.config.run import SCHEMA_VERSION
from experiments.results.records import Record, Run, curves_left_out, left_out, runs_of
from experiments.runs.integrity import METRICS as METRICS_FILE
from experiments.runs.integrity import lines_problem
from experiments.runs.output import folders_with_results
from experiments.runs.record_checks import is_code, is_line, is_whole
from experiments.runs.repair import lost_text
from experiments.runs.schema_version import check_version
from experiments.text import bytes_text

if TYPE_CHECKING:
    import pyarrow as pa

INDEX, METRICS = "index.parquet", "metrics.parquet"
#: files of a run that results are read from
STAMPED = ("config.json", "result.json", "status.json", "metrics.jsonl")
#: columns of JSON text
TEXTS = ("config", "result", "progress")
#: columns to look at -> their type in Arrow
PLAIN = {
    **dict.fromkeys(("task", "arm", "objective", "status", "reason", "cell"), "string"),
    **dict.fromkeys(("k", "n_loops", "layers", "width", "parameters", "seed", "step"), "int64"),
    **dict.fromkeys(("lr", "exposures", "train_flops", "cpu_seconds"), "float64"),
}
VERSION, BUILD = b"loopscope.schema_version", b"loopscope.build"


def stamp_of(folder: Path) -> str:
    """Times and sizes of the files that a run's results are read from, by which copies differ."""
    found = []
    for name in STAMPED:
        try:
            known = os.stat(folder / name)
            found.append(f"{known.st_mtime_ns}:{known.st_size}")
        except OSError:
            found.append("-")
    return " ".join(found)


@dataclass(frozen=True)
class RunTables:
    """The content of index.parquet and metrics.parquet."""

    runs: "pa.Table"
    lines: "pa.Table"

    @cached_property
    def run_ids(self) -> list[str]:
        return self.runs["run_id"].to_pylist()

    def records(self, run_ids: Iterable[str]) -> dict[str, Record]:
        """The records of these runs, as far as they are here.

        Raises:
            ValueError: a text is damaged.
        """
        wanted, found = set(run_ids), {}
        for row in self.runs.select(["run_id", "status", *TEXTS]).to_pylist():
            if row["run_id"] in wanted:
                config, result, status = (_mapping(row[name]) for name in TEXTS)
                if result and not is_whole(result):
                    raise ValueError(f"the result of {row['run_id']} is damaged")
                code = result.get("own_code") or status.get("code", {})
                if not is_code(code):
                    raise ValueError(f"the code of {row['run_id']} is damaged")
                record = Record(row["run_id"], row["status"], config, result, status, code=code)
                found[row["run_id"]] = record.checked()
        return found

    def metrics(self, run_ids: Iterable[str]) -> dict[str, list[tuple[dict[str, Any], str]]]:
        """run id -> (line, its text) of metrics.jsonl, as of `RunFolder.read_metrics`.

        Raises:
            ValueError: a text is damaged.
        """
        found: dict[str, list[tuple[dict[str, Any], str]]] = {run_id: [] for run_id in run_ids}
        names, texts = (self.lines[column].to_pylist() for column in ("run_id", "line"))
        for name, text in zip(names, texts, strict=True):
            if name in found:
                line = _mapping(text, "step")
                if not is_line(line):
                    raise ValueError(f"a line of {name} is damaged")
                found[name].append((line, text))
        return found


def _of_text(table: "pa.Table", names: list[str], file: Path | str, most: int) -> "pa.Table":
    """The table with columns of text in place of dictionaries; raises ValueError beyond `most`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size = 0
    for name in names:
        for chunk in table[name].chunks:
            lengths = pc.call_function("binary_length", [chunk.dictionary]).cast(pa.int64())
            size += pc.call_function("sum", [lengths.take(chunk.indices)]).as_py() or 0
    if size > most:
        raise ValueError(f"{file} unpacks to {bytes_text(size)}, more than {bytes_text(most)}")
    fields = [pa.field(f.name, pa.string()) if f.name in names else f for f in table.schema]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))


def _mapping(text: str | None, *needs: str) -> dict[str, Any]:
    data = json.loads(text or "null")
    if not isinstance(data, dict) or not all(name in data for name in needs):
        raise ValueError("a row is damaged")
    return data


@dataclass(frozen=True)
class Built:
    """The tables and a message for everything wrong with the files they were made of."""

    tables: RunTables
    problems: tuple[str, ...]


def build_tables(out: Path, only: Container[str] | None = None) -> Built:
    """Reads every run folder, or those of some run ids; changes nothing."""
    import pyarrow as pa

    records: dict[str, Record] = {}
    marks: dict[str, tuple[str, str]] = {}
    lines: dict[str, list[Any]] = {"run_id": [], "step": [], "loss": [], "line": []}
    problems: list[str] = []
    for folder in folders_with_results(out):
        if only is not None and folder.run_id not in only:
            continue
        stamp = stamp_of(folder.path)  # before the files are read, so that it is never too new
        record = Record.read(folder)
        read, whole = folder.read_metrics()
        torn = lines_problem(record.result, [text for _, text in read], whole=whole)
        records[folder.run_id], marks[folder.run_id] = record, (stamp, torn)
        for line, text in () if torn else read:
            lines["run_id"].append(folder.run_id)
            lines["step"].append(_number(line["step"], int))
            lines["loss"].append(_number(line.get("loss"), int | float))
            lines["line"].append(text)
        problems += _problems(record, torn, None if whole else len(read))
    found = runs_of(records, lambda record: "")  # together: a cell knows what came before
    rows = [_row(run, *marks[name]) for name, run in found.items()]
    metadata = _metadata(r["run_id"] + r["stamp"] for r in rows)
    text_columns = ("run_id", *TEXTS, "stamp")
    kinds = {"run_id": "string", **PLAIN, **dict.fromkeys(text_columns[1:], "string")}
    runs = pa.Table.from_pylist(rows, schema=_schema(kinds, metadata))
    kinds = {"run_id": "string", "step": "int64", "loss": "float64", "line": "string"}
    return Built(RunTables(runs, pa.table(lines, schema=_schema(kinds, metadata))), tuple(problems))


def joined(tables: Sequence[RunTables]) -> RunTables:
    """Several tables as one; a run that more than one has is that of the first where it is done."""
    import pyarrow as pa

    first: dict[str, int] = {}
    for done in (True, False):
        for i, table in enumerate(tables):
            for name, status in zip(table.run_ids, table.runs["status"].to_pylist(), strict=True):
                if (status == "done") == done:
                    first.setdefault(name, i)

    def chosen(of: "list[pa.Table]") -> "pa.Table":
        kept = [
            table.filter(pa.array([first[name] == i for name in table["run_id"].to_pylist()]))
            for i, table in enumerate(of)
        ]
        return pa.concat_tables([t.select(of[0].column_names).cast(of[0].schema) for t in kept])

    runs = chosen([table.runs for table in tables]).sort_by("run_id")
    lines = chosen([table.lines for table in tables])
    marks = zip(runs["run_id"].to_pylist(), runs["stamp"].to_pylist(), strict=True)
    metadata = _metadata(name + stamp for name, stamp in marks)
    return RunTables(*(table.replace_schema_metadata(metadata) for table in (runs, lines)))


def _metadata(marks: Iterable[str]) -> dict[bytes, bytes]:
    """Of both tables of an archive, so that they are known to belong together."""
    build = hashlib.sha256("\n".join(marks).encode()).hexdigest()
    return {VERSION: str(SCHEMA_VERSION).encode(), BUILD: build.encode()}


def _schema(kinds: dict[str, str], metadata: dict[bytes, bytes]) -> "pa.Schema":
    import pyarrow as pa

    fields = [(name, pa.type_for_alias(kind)) for name, kind in kinds.items()]
    return pa.schema(fields, metadata=metadata)


def _row(run: Run, stamp: str, torn: str) -> dict[str, Any]:
    record, columns = run.record, run.columns
    numeric = {"int64": int, "float64": int | float}
    plain = {n: columns.get(n) for n in PLAIN}
    plain |= {n: _number(plain[n], numeric[kind]) for n, kind in PLAIN.items() if kind in numeric}
    beside = {"code": record.code, "curves": torn}
    progress = record.status | {name: value for name, value in beside.items() if value}
    texts = (record.config, record.result, progress)
    return {
        "run_id": record.run_id,
        **plain,
        **{n: json.dumps(t) for n, t in zip(TEXTS, texts, strict=True)},
        "stamp": stamp,
    }


def _number(value: Any, kind: Any) -> Any:
    """The number; None in place of any other value and of what is too large for a column."""
    fits = isinstance(value, kind) and not isinstance(value, bool)
    return value if fits and -(2**63) <= value < 2**63 or isinstance(value, float) else None


def _problems(record: Record, torn: str, lines: int | None) -> Iterator[str]:
    if record.state == "damaged":
        yield left_out(record.run_id, record.status["reason"])
    lost = record.result.get("lost_metrics")
    if isinstance(lost, list) and lost:
        yield lost_text(record.run_id, lost)
    if torn:
        yield curves_left_out(record.run_id, torn)
    elif lines is not None:
        yield f"{record.run_id}/{METRICS_FILE} is torn after {lines} lines: the rest is left out"


def write_table(table: "pa.Table", file: IO[bytes]) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, file, compression="zstd", compression_level=19)


def read_table(
    source: Path | IO[bytes], name: Path | str, columns: Iterable[str], most: int
) -> "pa.Table":
    """A table with at least these columns, of text.

    Args:
        most: bytes that it may unpack to.

    Raises:
        LoopscopeError: a newer version.
        ValueError: it is damaged, holds something else or unpacks to more than that.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source)
        # equal texts stay one while their size is looked at
        apart = [i for i, field in enumerate(file.schema_arrow) if field.type == pa.string()]
        names = [file.schema_arrow.field(i).name for i in apart]
        file = pq.ParquetFile(source, read_dictionary=names)
        packed = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
        if packed + 8 * len(file.schema_arrow) * file.metadata.num_rows > most:
            raise ValueError(f"{name} unpacks to more than {bytes_text(most)}")
        # a thread of arrow's that still ends while the process does aborts it (apache/arrow#34314)
        table = _of_text(file.read(use_threads=False), names, name, most)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{name} cannot be read ({error})".replace("\n", " ")) from error
    known = table.schema.metadata or {}
    try:
        check_version(int(known.get(VERSION, b"0")), name)
    except ValueError as error:
        raise ValueError(f"{name} was not written by loopscope") from error
    for column in columns:
        if column not in table.column_names or table.schema.field(column).type != pa.string():
            raise ValueError(f"{name} has no column {column} of text")
    return table
