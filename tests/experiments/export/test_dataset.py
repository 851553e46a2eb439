"""Exported documents are those of the task, and the card says which they are."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.export.dataset import CHUNK, export_dataset
from generators.biographies import Biographies
from generators.multihop import MultiHop
from generators.operations import Operations
from generators.streams import Stream, generator


def test_columns_say_what_the_batch_says(tmp_path) -> None:
    task = MultiHop(entities=8, relations=4, hops=2, held_out=0.3).bind(2)
    file, card = export_dataset(task, tmp_path / "new" / "facts.parquet", n=50)
    table = parquet.read_table(file).to_pylist()
    batch = task.sample(generator(2, Stream.TRAIN, 0), 50)
    assert len(table) == 50
    for i, row in enumerate(table):
        length = int((batch.tokens[i] != 0).sum())
        assert row["tokens"] == batch.tokens[i, :length].tolist()
        assert row["scored"] == batch.loss_mask[i, :length].tolist()
        assert row["text"] == task.vocabulary.decode(batch.tokens[i])
        assert row["spans"]["answer"] == batch.spans["answer"][i].tolist()
        assert row["difficulty"] == batch.difficulty[i]
        hop = int(batch.latents["hop.2"][i])
        assert row["latents"]["hop.2"] == (None if hop < 0 else hop)
    lines = "".join(" ".join(map(str, row["tokens"])) + "\n" for row in table)
    text = card.read_text()
    assert hashlib.sha256(lines.encode()).hexdigest() in text
    for wanted in ("* seed: 2", "* documents: 50", '"held_out": 0.3', "arxiv.org/abs/2405.15071"):
        assert wanted in text
    assert f"* hops 2, relations: {task.floors(2, 'train')['relations']:.4f}" in text
    assert "* bits about the world: 96.0" in text  # 4 relations, 8 entities, 3 bits each
    assert sorted(p.name for p in file.parent.iterdir()) == ["facts.md", "facts.parquet"]


def test_exposures_go_on_from_one_chunk_to_the_next(tmp_path) -> None:
    people = CHUNK // 2 + 100
    task = Biographies(people=people).bind(0)
    file, _ = export_dataset(task, tmp_path / "people.parquet", n=2 * people)
    latents = parquet.read_table(file)["latents"].combine_chunks().field("person").to_numpy()
    assert (np.bincount(latents) == 2).all() and len(latents) == 2 * people > CHUNK


def test_the_last_chunk_may_lack_a_span(tmp_path) -> None:
    task = Operations(operation="day", biographies=Biographies(people=20)).bind(0)
    file, _ = export_dataset(task, tmp_path / "day.parquet", n=CHUNK + 1)
    last = parquet.read_table(file).slice(CHUNK).to_pylist()
    assert len(last) == 1 and last[0]["spans"]["answer"] is None


def test_all_held_out_questions_once(tmp_path) -> None:
    task = MultiHop(entities=8, relations=4, hops=2, held_out=0.3).bind(2)
    file, _ = export_dataset(task, tmp_path / "t.parquet", n=10_000, split="test", difficulty=2)
    texts = parquet.read_table(file)["text"].to_pylist()
    assert len(texts) == len(set(texts)) == task.count("test", 2)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("facts.csv", {}, "needed FILE.parquet and 1 document or more"),
        ("facts.parquet", {"split": "ood"}, "multihop has no split 'ood'"),
        ("facts.parquet", {"difficulty": 9}, "multihop has no difficulty 9"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(tmp_path, name, fields, message) -> None:
    with pytest.raises(LoopscopeError, match=message):
        export_dataset(MultiHop().bind(0), tmp_path / name, n=5, **fields)
    assert not list(tmp_path.iterdir())


def test_command(tmp_path) -> None:
    file = tmp_path / "a.parquet"
    arguments = ["export-data", "layered", str(file), "-n", "5", "--set", "budget=0.025"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 and "a.parquet" in result.output and "a.md" in result.output
    assert '"budget": 0.025' in (tmp_path / "a.md").read_text()


def test_a_task_that_fails_later_leaves_nothing(tmp_path: Path) -> None:
    class Later(MultiHop):
        def sample(self, rng, n, **options):  # type: ignore[no-untyped-def]
            if n < 8192:
                raise KeyError("no")
            return super().sample(rng, n, **options)

    class NoFloors(MultiHop):
        def floors(self, difficulty=None, split="test"):  # type: ignore[no-untyped-def]
            raise KeyError("no")

    for cls, n in ((Later, 8200), (NoFloors, 10)):
        with pytest.raises(LoopscopeError, match="a sample failed in .*KeyError"):
            export_dataset(cls().bind(0), tmp_path / "a.parquet", n=n)
        assert list(tmp_path.iterdir()) == []
