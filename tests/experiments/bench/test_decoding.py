"""The generation benchmark says what it measured: loops and accuracy beside every speed."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from experiments.bench.decoding import _questions, measure_cache, measure_exits, rules_of
from experiments.cli.main import app
from experiments.config.phases import Phase, Training
from experiments.config.run import Observe, RunConfig
from experiments.errors import LoopscopeError
from experiments.measuring.load import load_subject
from experiments.runs.folder import RunFolder
from experiments.training.train import train
from generators.multihop import MultiHop
from generators.random_sequences import RandomSequences
from models.config import LoopedConfig
from models.objectives.entropy import Entropy
from probes.accuracy import Accuracy
from probes.questions import before, questions


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One trained run with a gate, and one of a task that asks nothing."""
    folder = tmp_path_factory.mktemp("runs")
    for task in (
        MultiHop(entities=8, relations=4, hops=2),
        RandomSequences(sequences=16, length=6, alphabet=5),
    ):
        run = RunConfig(
            task=task,
            model=LoopedConfig(width=16, heads=2, loops=3),
            objective=Entropy(),
            training=Training(batch=16, phases=(Phase(until_step=3),)),
            observe=Observe(probes=(Accuracy(items=8),) if task.kind == "multihop" else ()),
        )
        assert train(run, RunFolder(folder / run.run_id))
    return folder


def test_every_rule_is_measured_beside_all_loops(out: Path) -> None:
    subject = load_subject(out, "multihop")
    rows = list(measure_exits(subject, items=32, seconds=0.01))
    assert len(rows) == len(rules_of(subject))
    by_rule = {row[0]: row for row in rows}
    assert by_rule["all"][1:4] == ("3.00", by_rule["all"][2], "+0.0")
    assert by_rule["static loop 2"][1] == "2.00"
    batch = questions(subject.task, subject.seed, "test", 2, 32)
    tokens, at, wanted = before(batch, "answer")
    with torch.no_grad():
        outputs = subject.model(tokens)
    for loop in (1, 2, 3):
        right = (outputs.logits(loop, at).argmax(-1) == wanted).double().mean()
        name = "all" if loop == 3 else f"static loop {loop}"
        assert float(by_rule[name][2]) == pytest.approx(100 * float(right), abs=0.06)


def test_the_cache_is_measured_on_the_same_tokens(out: Path) -> None:
    row = measure_cache(
        load_subject(out, "multihop"), documents=2, prompt=4, new_tokens=6, seconds=0.01
    )
    assert row[:3] == ("2", "4", "6") and float(row[5]) > 0


def test_a_task_without_questions_is_refused(out: Path) -> None:
    with pytest.raises(LoopscopeError, match="asks questions"):
        list(measure_exits(load_subject(out, "random"), items=4, seconds=0.01))


def test_questions_of_training_have_every_difficulty(out: Path) -> None:
    subject = load_subject(out, "multihop")
    prompts, _ = _questions(subject, 8, "train")
    hops = subject.task.difficulties
    assert len(prompts) == 8 * len(hops) > 8 * len(subject.task.difficulties_of("test"))
    with pytest.raises(LoopscopeError, match="no split trian; it has train, validation, test"):
        list(measure_exits(subject, items=4, seconds=0.01, split="trian"))


def test_command(out: Path) -> None:
    arguments = ["bench", "generate", "multihop", "--out", str(out), "--items", "8"]
    arguments += ["--seconds", "0.01", "--new-tokens", "4", "--documents", "2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "static loop 1" in result.output and "uncached" in result.output
