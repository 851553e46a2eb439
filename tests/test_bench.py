"""The plain versions write valid documents of the same tasks; times are not tested."""

import random

import numpy as np
import pytest
from typer.testing import CliRunner

from experiments.bench import plain_bios, plain_mano, plain_multihop
from experiments.cli import app
from generators.biographies import Biographies
from generators.multihop import MultiHop


def test_plain_multihop_writes_training_questions() -> None:
    task = MultiHop(entities=6, relations=4, hops=2, held_out=0.3).bind(0)
    write, rng = plain_multihop(task), random.Random(0)
    allowed = task.documents(np.full(task.count("train", 2), 2), task.listed("train", 2)).tokens
    allowed = {tuple(row) for row in allowed.tolist()}
    found = [write(rng) for _ in range(2000)]
    two = {tuple(tokens) for tokens, _, _ in found if len(tokens) == 5}
    assert two == allowed
    assert all(sum(mask) == 1 and mask[start] for _, mask, (start, _) in found)


def test_plain_biographies_are_biographies() -> None:
    task = Biographies(people=3, templates=2, permute=False).bind(0)
    write, rng = plain_bios(task), random.Random(0)
    # the same facts: over many texts both use the same tokens equally often
    plain = np.zeros(len(task.vocabulary))
    for _ in range(4000):
        np.add.at(plain, write(rng)[0], 1)
    ours = np.bincount(
        task.sample(np.random.default_rng([0, 3, 0]), 4000).tokens.ravel(), minlength=len(plain)
    )
    ours[0] = 0
    assert ((ours > 0) == (plain > 0)).all()
    assert np.abs(ours - plain).max() < 6 * np.sqrt(2 * 4000)


def test_plain_mano_writes_prefix_expressions() -> None:
    class Sizes:
        difficulties = (1, 2, 3)

    def value(tokens: list[int]) -> int:
        token = tokens.pop(0)
        if token >= 100:
            return token - 100
        first, second = value(tokens), value(tokens)
        return [first + second, first - second, first * second][token] % 23

    write, rng = plain_mano(Sizes()), random.Random(0)
    for _ in range(50):
        tokens, mask, _ = write(rng)
        expression = tokens[2:-2]
        assert value(expression) == tokens[-1] - 100 and not expression
        assert len(mask) == len(tokens)


def test_command() -> None:
    arguments = ["bench", "generators", "multihop", "layered", "--batch", "64", "--seconds", "0.01"]
    result = CliRunner().invoke(app, arguments)
    lines = result.output.splitlines()
    assert result.exit_code == 0 and "batches of 64" in lines[0]
    assert [line.split()[0] for line in lines[2:]] == ["multihop", "layered"]


def test_unknown_task() -> None:
    result = CliRunner().invoke(app, ["bench", "generators", "multihopp"])
    assert "did you mean 'multihop'?" in str(result.exception) and result.exit_code == 1


@pytest.mark.parametrize("batch", [1, 7])
def test_any_batch(batch: int) -> None:
    from experiments.bench import measure

    length, speed = measure(MultiHop().bind(0), batch=batch, seconds=0.01)
    assert 4 <= length <= 6 and speed > 0
