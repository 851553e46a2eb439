"""Documents of a task as Parquet, with a card that says what they are."""

import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.errors import LoopscopeError, wrap_plugin_error
from experiments.runs.json_files import replacing
from generators.streams import Stream, generator
from generators.task import Batch, Task

if TYPE_CHECKING:
    import pyarrow

Result = TypeVar("Result")

#: training documents generated at once, one step of the training stream
CHUNK = 8192


def export_dataset(
    task: Task, path: Path, *, n: int, split: str = "train", difficulty: int | None = None
) -> tuple[Path, Path]:
    """Writes n documents of a bound task to `path` (.parquet) and a card beside it (.md).

    Columns: `tokens` (without padding), `text`, `scored` (is this token predicted), `difficulty`,
    `spans` and `latents` (a field each; null where absent). Of a held-out split and difficulty
    with fewer than n documents all are written, once each.

    Returns:
        The two files. Neither is ever half written.

    Raises:
        LoopscopeError: a path that is no .parquet, or a split or difficulty that the task lacks.
    """
    import pyarrow.parquet as parquet

    if path.suffix != ".parquet" or n < 1:
        raise LoopscopeError(f"needed FILE.parquet and 1 document or more, got {path} and {n}")
    try:
        task.check_arguments(split, difficulty)
        batches = _batches(task, n, split, difficulty)
        first = next(batches)
    except ValueError as error:
        raise LoopscopeError(str(error)) from error
    except Exception as error:  # whatever a plugin does wrong
        raise wrap_plugin_error(f"task {task.kind}: a sample", error) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, documents, tokens = hashlib.sha256(), 0, 0
    with replacing(path, durable=False) as file:
        table = _checked(task, lambda: as_table(task, first))
        with parquet.ParquetWriter(file, table.schema) as writer:
            while table is not None:
                writer.write_table(table)
                for row in table["tokens"].to_pylist():
                    digest.update((" ".join(map(str, row)) + "\n").encode())
                    tokens += len(row)
                documents += len(table)
                table = _checked(task, lambda: _next_table(task, batches, first))
        facts = {
            "split": split,
            "difficulty": "as in training" if difficulty is None else difficulty,
            "documents": documents,
            "tokens": tokens,
            "SHA-256 of the tokens (one document a line, ids in decimal)": digest.hexdigest(),
        }
        text = _checked(task, lambda: card(task, facts, split, difficulty))
    with replacing(path.with_suffix(".md"), durable=False) as file:
        file.write(text.encode())
    return path, path.with_suffix(".md")


def _checked(task: Task, work: Callable[[], Result]) -> Result:
    """The result of `work`.

    Raises:
        LoopscopeError: the task raised something, whatever a plugin does wrong.
    """
    try:
        return work()
    except Exception as error:
        raise wrap_plugin_error(f"task {task.kind}: a sample", error) from error


def _next_table(task: Task, batches: Iterator[Batch], first: Batch) -> "pyarrow.Table | None":
    batch = next(batches, None)
    return None if batch is None else as_table(task, _like(first, batch))


def _batches(task: Task, n: int, split: str, difficulty: int | None) -> Iterator[Batch]:
    """Batches of the documents.

    Training documents come step by step, as a run with batches of CHUNK sees them; others at once.
    """
    if split != "train":
        known = task.difficulties_of(split) if difficulty is None else (difficulty,)
        counts = [task.count(split, d) for d in known]
        there_are = sum(c for c in counts if c is not None)
        most = there_are if counts and None not in counts and difficulty is not None else n
        rng = generator(task.seed, Stream.EVALUATION, 1 + task.splits.index(split))
        yield task.sample(rng, min(n, most), split=split, difficulty=difficulty)
        return
    for step, start in enumerate(range(0, n, CHUNK)):
        rng = generator(task.seed, Stream.TRAIN, step)
        index = start if task.items_per_exposure is not None and difficulty is None else None
        yield task.sample(
            rng, min(CHUNK, n - start), split=split, difficulty=difficulty, index=index
        )


def _like(first: Batch, batch: Batch) -> Batch:
    """`batch` with the spans and latents of `first`, marked absent where it lacks them."""
    import numpy as np

    spans = {name: batch.spans.get(name, np.full((len(batch), 2), -1)) for name in first.spans}
    latents = {name: batch.latents.get(name, np.full(len(batch), -1)) for name in first.latents}
    return replace(batch, spans=spans, latents=latents)


def as_table(task: Task, batch: Batch) -> "pyarrow.Table":
    """A table with one row per document."""
    import numpy as np
    import pyarrow as pa

    lengths = (batch.tokens != 0).sum(axis=1)
    inside = np.arange(batch.tokens.shape[1]) < lengths[:, None]
    offsets = pa.array(np.concatenate([[0], lengths.cumsum()]), pa.int32())

    def fields(values: dict[str, np.ndarray], kind: Any) -> Any:
        arrays = {}
        for name in sorted(values):
            rows = values[name].tolist()
            absent = (values[name].reshape(len(batch), -1).min(axis=1) < 0).tolist()
            kept = [None if gone else row for gone, row in zip(absent, rows, strict=True)]
            arrays[name] = pa.array(kept, kind)
        return pa.StructArray.from_arrays(list(arrays.values()), list(arrays)) if arrays else None

    columns = {
        "tokens": pa.ListArray.from_arrays(offsets, pa.array(batch.tokens[inside], pa.int32())),
        "text": pa.array([task.vocabulary.decode(row) for row in batch.tokens], pa.string()),
        "scored": pa.ListArray.from_arrays(offsets, pa.array(batch.loss_mask[inside], pa.bool_())),
        "difficulty": pa.array(batch.difficulty, pa.int32()),
        "spans": fields(batch.spans, pa.list_(pa.int32(), 2)),
        "latents": fields(batch.latents, pa.int64()),
    }
    return pa.table({name: column for name, column in columns.items() if column is not None})


def card(task: Task, facts: dict[str, Any], split: str, difficulty: int | None) -> str:
    """The card in Markdown: definition, seed, hash, floors, bits and sources."""
    words = inspect.getdoc(type(task)) or ""
    module = inspect.getdoc(sys.modules[type(task).__module__]) or ""
    sources = dict.fromkeys(re.findall(r"\b\d{4}\.\d{5}\b", f"{module}\n{words}"))
    bits = task.information_bits()
    rows = {
        "task": f"{task.kind}, version {task.version}",
        "seed": task.seed,
        **facts,
        "tokens in the vocabulary": len(task.vocabulary),
        "bits about the world": "none are stored" if bits is None else f"{bits:,.1f}",
    }
    known = task.difficulties_of(split) if difficulty is None else (difficulty,)
    floors = [
        f"* {'' if d is None else f'{task.difficulty_name} {d}, '}{name}: {value:.4f}"
        for d in known or (None,)
        for name, value in task.floors(d, split).items()
    ]
    parts = [
        f"# {task.kind}",
        module,
        "\n".join(f"* {name}: {value}" for name, value in rows.items()),
        "## Definition\n\n" + words,
        "```json\n" + task.model_dump_json(indent=1) + "\n```",
        "## Floors\n\n" + ("\n".join(floors) or "None: nothing is asked."),
        "## Sources\n\n" + ("\n".join(f"* https://arxiv.org/abs/{s}" for s in sources) or "None."),
    ]
    return "\n\n".join(parts) + "\n"
