"""Training: the loop against a plain one, and the promise that a stopped run is the same run."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from experiments.config import Observe, Phase, RunConfig, Span, Training, spans
from experiments.errors import LoopscopeError
from experiments.files import read_json, write_json
from experiments.journal import Diverged
from experiments.optimiser import build_optimiser, learning_rate, parameter_groups
from experiments.remeasure import measure_again
from experiments.store import RunFolder
from experiments.train import train
from experiments.trained import load_model
from experiments.trainer import Trainer, model_inputs
from generators.multihop import MultiHop
from generators.streams import Stream, generator
from generators.task import Batch, Task
from generators.vocabulary import Vocabulary
from models.config import LoopedConfig
from models.counts import forward_flops
from models.objectives.entropy import Entropy
from models.objectives.last_loop import LastLoop
from models.objectives.objective import Loss
from probes.accuracy import Accuracy
from probes.capacity import Capacity

STEPS = 40
TRAINING = Training(batch=32, lr=4e-3, phases=(Phase(until_step=STEPS, warmup=5, decay="sqrt"),))
TINY_PROBE = Accuracy(items=16)


def config(**changes: Any) -> RunConfig:
    fields = {
        "task": MultiHop(entities=8, relations=4, hops=2),
        "model": LoopedConfig(width=16, heads=2, loops=2),
        "training": TRAINING,
        "observe": Observe(probes=(TINY_PROBE,), log_every=7, checkpoint_seconds=1000),
    }
    return RunConfig.model_validate(fields | changes)


def stop_after(steps: int) -> Callable[[], bool]:
    """True from the `steps`-th time it is asked."""
    calls = iter(range(1, 1_000_000))
    return lambda: next(calls) >= steps


def trained(path: Path, run: RunConfig, *stops: int, **options: Any) -> RunFolder:
    """A finished run that was stopped after so many steps of each sitting."""
    folder = RunFolder(path / run.run_id)
    for steps in stops:
        assert not train(run, folder, stop=stop_after(steps), **options)
    assert train(run, folder, **options)
    return folder


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return torch.load(folder.checkpoint_path, weights_only=True)["model"]


def science(folder: RunFolder) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Result and metrics without timings."""
    result = folder.result()
    assert result is not None
    lines = [{k: v for k, v in line.items() if k != "seconds"} for line in folder.metrics()]
    return {k: v for k, v in result.items() if k != "timings"}, lines


def assert_same_run(one: RunFolder, other: RunFolder) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert science(one) == science(other)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return trained(tmp_path_factory.mktemp("straight"), config())


# --- learning rate and optimiser


def span(phase: Phase, first: int = 100, last: int = 200) -> Span:
    return Span(phase=phase, first_step=first, last_step=last, first_document=0, last_document=0)


@pytest.mark.parametrize(
    ("decay", "quarter", "end"),
    [
        ("constant", 1.0, 1.0),
        ("linear", 0.75, 0.0),
        ("cosine", (1 + math.cos(math.pi / 4)) / 2, 0.0),
        ("sqrt", 0.5, 0.0),
    ],
)
def test_learning_rate_warms_up_and_decays(decay: str, quarter: float, end: float) -> None:
    phase = Phase.model_validate({"until_step": 1, "warmup": 20, "decay": decay})
    rates = [learning_rate(span(phase), TRAINING, step) for step in range(100, 200)]
    assert rates[:20] == pytest.approx([4e-3 * (i + 1) / 20 for i in range(20)])
    assert rates[20] == pytest.approx(4e-3)
    assert rates[40] == pytest.approx(4e-3 * quarter)
    assert rates[-1] == pytest.approx(4e-3 * end, abs=4e-3 * 0.02)
    assert min(rates) > 0, "the last step still learns"


@pytest.mark.parametrize("decay", ["linear", "cosine", "sqrt"])
def test_learning_rate_ends_at_its_floor(decay: str) -> None:
    phase = Phase.model_validate({"until_step": 1, "decay": decay, "final": 0.1, "lr": 1.0})
    rates = [learning_rate(span(phase), TRAINING, step) for step in range(100, 200)]
    assert min(rates) == pytest.approx(0.1, abs=0.01)
    assert min(rates) >= 0.1
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("tied", [False, True])
def test_every_parameter_is_in_one_group_and_only_matrices_decay(tied: bool) -> None:
    model = LoopedConfig(width=16, heads=2, tied=tied).build(9, gate=True, seed=0)
    groups = parameter_groups(model, 0.5)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted({id(p) for p in model.parameters()})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = build_optimiser(model, Training(lr=0.1, weight_decay=0.5, phases=TRAINING.phases))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, parameter in model.named_parameters():
        factor = 0.95 if parameter.dim() >= 2 else 1.0
        assert torch.allclose(parameter, before[name] * factor), name


# --- what the model reads and predicts


def test_a_mask_of_other_tokens_is_refused() -> None:
    batch = Batch(np.ones((2, 3), np.int32), np.ones((2, 4), bool))
    with pytest.raises(ValueError, match=r"need one shape, got \(2, 3\) and \(2, 4\)"):
        model_inputs(batch, torch.device("cpu"))


def test_model_inputs_are_shifted_masked_and_trimmed() -> None:
    tokens = np.array([[5, 6, 7, 0, 0, 0], [5, 8, 9, 4, 0, 0]], np.int32)
    mask = np.array([[0, 0, 1, 0, 0, 0], [0, 1, 0, 1, 0, 0]], bool)
    inputs, (row, column), targets = model_inputs(Batch(tokens, mask), torch.device("cpu"))
    assert inputs.tolist() == [[5, 6, 7], [5, 8, 9]]
    assert list(zip(row.tolist(), column.tolist(), strict=True)) == [(0, 1), (1, 0), (1, 2)]
    assert targets.tolist() == [7, 8, 4]


def test_training_equals_a_plain_loop(tmp_path: Path) -> None:
    """Full logits, masked afterwards, and the default AdamW: nothing shared but the model."""
    run = config(training=TRAINING.model_copy(update={"phases": (Phase(until_step=5),)}))
    task = run.bound_task()
    model = run.build_model(task)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}],
        lr=4e-3,
        betas=(0.9, 0.98),
        weight_decay=0.1,
        foreach=False,
    )
    for step in range(5):
        batch = task.sample(generator(run.seed, Stream.TRAIN, step), 32)
        tokens, mask = torch.tensor(batch.tokens).long(), torch.tensor(batch.loss_mask)
        logits = model(tokens).logits()[:, :-1]
        each = cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        optimiser.zero_grad()
        each[mask[:, 1:]].mean().backward()
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()  # pyrefly: ignore
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad *= min(1.0, float(1 / (norm + 1e-6)))
        optimiser.step()
    found = weights(trained(tmp_path, run))
    for name, parameter in model.state_dict().items():
        assert torch.allclose(found[name], parameter, atol=2e-5), name


class Diary(Task):
    """Writes down what is asked for; documents are all alike."""

    asked: ClassVar[list[tuple[int, int | None]]] = []
    splits: ClassVar[tuple[str, ...]] = ("train",)

    kind: Literal["diary"] = "diary"

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.build(["a", "b"])

    @property
    def context_length(self) -> int:
        return 2

    @property
    def items_per_exposure(self) -> int:
        return 10

    def sample(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        split: str = "train",
        difficulty: int | None = None,
        index: int | None = None,
    ) -> Batch:
        self.asked.append((n, index))
        mask = np.tile([False, True], (n, 1))
        return Batch(np.tile(np.array([1, 2], np.int32), (n, 1)), mask)


def test_every_exposure_is_exact_and_documents_are_numbered_on(tmp_path: Path) -> None:
    phases = (Phase(until_exposure=3), Phase(until_exposure=5))
    run = config(
        task=Diary(), training=Training(batch=8, phases=phases), observe=Observe(probes=())
    )
    Diary.asked.clear()
    folder = trained(tmp_path, run)
    assert Diary.asked == [(8, 0), (8, 8), (8, 16), (6, 24), (8, 30), (8, 38), (4, 46)]
    result = folder.result()
    assert result is not None
    assert (result["exposures"], result["documents"], result["tokens"]) == (5.0, 50, 100)


def test_flops_tokens_and_loops_follow_the_phases(tmp_path: Path) -> None:
    phases = (Phase(until_step=3, loops=1), Phase(until_step=5, loops=3, beta=0.0))
    run = config(training=Training(batch=16, phases=phases), objective=Entropy())
    task, flops, tokens = run.bound_task(), 0, 0
    for step in range(5):
        batch = task.sample(generator(run.seed, Stream.TRAIN, step), 16)
        tokens += int((batch.tokens > 0).sum())
        loops = 1 if step < 3 else 3
        flops += 3 * forward_flops(
            run.model,
            len(task.vocabulary),
            documents=16,
            context=int((batch.tokens > 0).sum(1).max()) - 1,
            predicted=int(batch.loss_mask.sum()),
            n_loops=loops,
            losses=loops,
            gate=True,
        )
    result = trained(tmp_path, run).result()
    assert result is not None
    assert (result["train_flops"], result["tokens"]) == (flops, tokens)


def test_metrics_hold_the_loss_of_their_step(straight: RunFolder) -> None:
    lines = straight.metrics()
    assert [line["step"] for line in lines] == [7, 14, 21, 28, 35, 40]
    run = config()
    trainer = Trainer(run, "cpu")
    losses = [trainer.step(trainer.spans[0]).total.item() for _ in range(STEPS)]
    assert [line["loss"] for line in lines] == [losses[line["step"] - 1] for line in lines]
    (only,) = spans(run.training, run.task)
    rates = [learning_rate(only, run.training, line["step"] - 1) for line in lines]
    assert [line["lr"] for line in lines] == rates


@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # torch has no fused norm of bf16 by fp32
def test_half_precision_trains_fp32_weights(tmp_path: Path, straight: RunFolder) -> None:
    half = trained(tmp_path, config(training=TRAINING.model_copy(update={"precision": "bf16"})))
    a, b = weights(straight), weights(half)
    assert all(tensor.dtype == torch.float32 for tensor in b.values())
    assert not torch.equal(a["embedding.weight"], b["embedding.weight"])
    assert torch.allclose(a["embedding.weight"], b["embedding.weight"], atol=0.05)


# --- the same run, however often it is stopped


def test_the_same_config_twice_is_the_same_run(tmp_path: Path, straight: RunFolder) -> None:
    assert_same_run(straight, trained(tmp_path, config()))
    other = trained(tmp_path, config(seed=1))
    assert not torch.equal(
        weights(straight)["embedding.weight"], weights(other)["embedding.weight"]
    )


@pytest.mark.parametrize("stops", [(1,), (20,), (7, 7, 1), (STEPS,)])
def test_stopped_and_resumed_is_the_same_run(
    tmp_path: Path, straight: RunFolder, stops: tuple[int, ...]
) -> None:
    assert_same_run(straight, trained(tmp_path, config(), *stops))


def test_a_stopped_run_says_so(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert not train(config(), folder, stop=stop_after(12))
    status = folder.status()
    assert status is not None
    assert (status.state, status.step, status.checkpoint_step) == ("stopped", 12, 12)
    assert folder.state() == "resumable" and folder.result() is None


def test_entropy_with_a_gate_resumes_too(tmp_path: Path) -> None:
    run = config(objective=Entropy(beta=0.05))
    one, other = trained(tmp_path / "a", run), trained(tmp_path / "b", run, 15)
    assert_same_run(one, other)
    assert {"exit_entropy", "loss.1", "exit.2"} <= one.metrics()[0].keys()


def test_evaluation_changes_no_weight(tmp_path: Path, straight: RunFolder) -> None:
    observe = Observe(
        probes=(TINY_PROBE,),
        log_every=7,
        evaluate_every=15,
        evaluate_with=(TINY_PROBE,),
        checkpoint_seconds=1000,
    )
    watched = trained(tmp_path, config(observe=observe), 16)
    a, b = weights(straight), weights(watched)
    assert all(torch.equal(a[name], b[name]) for name in a)
    seen = [line for line in watched.metrics() if "measurements" in line]
    assert [line["step"] for line in seen] == [15, 30, 40]
    result = watched.result()
    assert result is not None
    final = [{k: v for k, v in row.items() if k != "probe"} for row in result["measurements"]]
    assert seen[-1]["measurements"] == final


def test_work_after_the_checkpoint_is_done_again(tmp_path: Path, straight: RunFolder) -> None:
    """As after a power failure: the log is ahead of the checkpoint, and its last line is torn."""
    folder = RunFolder(tmp_path / config().run_id)
    assert not train(config(), folder, stop=stop_after(10))
    for step in (14, 21):
        folder.append_metrics({"step": step, "loss": 99.0})
    with folder.metrics_path.open("a") as file:
        file.write('{"step": 28, "lo')
    assert train(config(), folder)
    assert_same_run(straight, folder)


def test_checkpoints_are_written_in_time(tmp_path: Path) -> None:
    observe = Observe(probes=(), checkpoint_seconds=1e-9)
    folder = RunFolder(tmp_path / "run")

    def seen() -> bool:
        state = torch.load(folder.checkpoint_path, weights_only=True)
        return state["step"] == 3

    assert not train(config(observe=observe), folder, stop=seen)
    before = torch.load(folder.previous_checkpoint_path, weights_only=True)
    assert before["step"] == 2, "the one before is kept"
    assert train(config(observe=observe), folder)
    assert not folder.previous_checkpoint_path.exists()


# --- damage


def checkpointed(path: Path, *steps: int) -> RunFolder:
    folder = RunFolder(path / config().run_id)
    for count in steps:
        assert not train(config(), folder, stop=stop_after(count))
    return folder


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(weights_of_a_file(path)) + 5] ^= 1
    path.write_bytes(data)


def weights_of_a_file(path: Path) -> bytes:
    state = torch.load(path, weights_only=True)
    return state["model"]["embedding.weight"].numpy().tobytes()


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip_a_bit, cut_in_half, lambda path: path.write_bytes(b"")])
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(
    tmp_path: Path, straight: RunFolder, damage: Callable[[Path], object]
) -> None:
    folder = checkpointed(tmp_path, 10, 10)
    damage(folder.checkpoint_path)
    assert train(config(), folder)
    assert_same_run(straight, folder)
    log = (folder.path / "log.txt").read_text()
    assert "checkpoint.pt is damaged" in log and "resumes at step 10" in log
    assert (folder.path / "checkpoint.pt.corrupt").exists()


def test_without_any_good_checkpoint_the_run_starts_anew(
    tmp_path: Path, straight: RunFolder
) -> None:
    folder = checkpointed(tmp_path, 10, 10)
    cut_in_half(folder.checkpoint_path)
    cut_in_half(folder.previous_checkpoint_path)
    assert train(config(), folder)
    assert_same_run(straight, folder)


def test_a_damaged_result_is_measured_again_without_training(
    tmp_path: Path, straight: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(tmp_path, config())
    (folder.path / "result.json").write_text("{")
    folder.repair()
    monkeypatch.setattr(Trainer, "step", lambda *_: pytest.fail("trained again"))
    assert train(config(), folder)
    assert_same_run(straight, folder)


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, straight: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpointed(tmp_path, 10)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "fsync", full)
        train(config(), folder, stop=stop_after(10))
    assert torch.load(folder.checkpoint_path, weights_only=True)["step"] == 10
    assert not list(folder.path.glob(".*.tmp"))
    assert train(config(), folder)
    assert_same_run(straight, folder)


# --- divergence


class Fails(LastLoop):
    """Not finite at its seventh call."""

    calls: ClassVar[int] = 0

    def loss(self, outputs: Any, at: Any, targets: Any, *, beta: float | None = None) -> Loss:
        type(self).calls += 1
        loss = super().loss(outputs, at, targets, beta=beta)
        loss.total = loss.total * (float("inf") if self.calls == 7 else 1.0)
        return loss


@pytest.mark.parametrize("log_every", [1, 5, 50])
def test_divergence_names_the_first_bad_step(tmp_path: Path, log_every: int) -> None:
    Fails.calls = 0
    folder = RunFolder(tmp_path / "run")
    run = config(objective=Fails(), observe=Observe(probes=(), log_every=log_every))
    with pytest.raises(Diverged, match=rf"loss is inf at step 7 of {STEPS}"):
        train(run, folder)
    assert folder.result() is None and not folder.checkpoint_path.exists()
    assert all(math.isfinite(line["loss"]) for line in folder.metrics())


def test_weights_that_blow_up_in_the_last_step_are_no_result(tmp_path: Path) -> None:
    run = config(training=Training(batch=8, lr=1e39, phases=(Phase(until_step=1),)))
    with pytest.raises(Diverged, match="not finite after step 1"):
        train(run, RunFolder(tmp_path / "run"))


# --- drift


def change_environment(folder: RunFolder, group: str, name: str, digest: str | None) -> None:
    environment = folder.environment()
    assert environment is not None
    environment["sources"][group][name] = digest
    if digest is None:
        del environment["sources"][group][name]
    write_json(folder.path / "environment.json", environment)


@pytest.mark.parametrize(
    ("group", "name", "said"),
    [
        ("models", "models/looped.py", "models: models/looped.py changed"),
        ("training", "experiments/trainer.py", "training: experiments/trainer.py changed"),
        ("pools", "generators/pools/gone.txt", "generators/pools/gone.txt is gone"),
    ],
)
def test_resuming_with_other_code_is_refused(
    tmp_path: Path, group: str, name: str, said: str
) -> None:
    folder = checkpointed(tmp_path, 10)
    before = folder.checkpoint_path.read_bytes()
    change_environment(folder, group, name, "0" * 16)
    with pytest.raises(LoopscopeError, match=said) as refused:
        train(config(), folder)
    assert "--allow-drift" in str(refused.value)
    assert folder.checkpoint_path.read_bytes() == before
    assert train(config(), folder, allow_drift=True)
    result = folder.result()
    assert result is not None and said in result["accepted_drift"][0]


def test_resuming_with_another_torch_is_refused(tmp_path: Path) -> None:
    folder = checkpointed(tmp_path, 10)
    environment = folder.environment()
    assert environment is not None
    environment["versions"]["torch"] = "1.0"
    write_json(folder.path / "environment.json", environment)
    with pytest.raises(LoopscopeError, match="torch was 1.0 and is"):
        train(config(), folder)


def test_a_new_file_or_another_machine_is_no_drift(tmp_path: Path, straight: RunFolder) -> None:
    folder = checkpointed(tmp_path, 10)
    change_environment(folder, "generators", "generators/hashing.py", None)
    environment = folder.environment()
    assert environment is not None
    write_json(folder.path / "environment.json", environment | {"machine": {}})
    assert train(config(), folder)
    assert_same_run(straight, folder)


# --- results and trained models


def test_a_result_says_what_was_trained_and_what_it_cost(straight: RunFolder) -> None:
    result = straight.result()
    assert result is not None
    run = config()
    told = {
        "run_id": run.run_id,
        "task": "multihop",
        "k": 1,
        "n_loops": 2,
        "layers": 1,
        "width": 16,
        "objective": "last_loop",
        "steps": STEPS,
        "documents": STEPS * 32,
        "exposures": None,
        "seed": 0,
        "lr": 4e-3,
        "accepted_drift": [],
    }
    assert {name: result[name] for name in told} == told
    parts = dict(result["parameters"])
    assert parts.pop("total") == sum(parts.values())
    timings = result["timings"]
    assert timings["wall_seconds"] == pytest.approx(
        timings["train_seconds"] + timings["evaluate_seconds"] + timings["probe_seconds"]
    )
    assert all(seconds >= 0 for seconds in timings.values())
    (file,) = (straight.path / "probes").iterdir()
    record = json.loads(file.read_text())
    assert file.stem == record["id"] and record["step"] == STEPS
    rows = [{"probe": record["id"], **row} for row in record["measurements"]]
    assert result["measurements"] == rows and len(rows) == 4


def test_a_trained_model_is_loaded_by_the_start_of_its_id(straight: RunFolder) -> None:
    model, task = load_model(straight.path.parent, straight.run_id[:-4])
    assert not model.training
    assert all(torch.equal(t, weights(straight)[name]) for name, t in model.state_dict().items())
    assert task.seed == 0 and task.kind == "multihop"
    with pytest.raises(LoopscopeError, match="no run bios"):
        load_model(straight.path.parent, "bios")


def test_measuring_again_replaces_the_rows_of_its_kind(tmp_path: Path) -> None:
    folder = trained(tmp_path, config())
    before = folder.result()
    assert before is not None
    assert measure_again(tmp_path) == [folder.run_id]
    assert folder.result() == before, "the same probes give the same rows"
    measure_again(tmp_path, [folder.run_id], (Accuracy(items=8, splits=("test",)),))
    after = folder.result()
    assert after is not None
    assert {row["split"] for row in after["measurements"]} == {"test"}
    assert after["timings"] == before["timings"]
    assert len(list((folder.path / "probes").iterdir())) == 2


def test_measuring_again_needs_a_result(tmp_path: Path) -> None:
    folder = checkpointed(tmp_path, 3)
    assert measure_again(tmp_path) == []
    with pytest.raises(LoopscopeError, match="has no result yet"):
        measure_again(tmp_path, [folder.run_id])


def test_measuring_again_with_what_does_not_fit(tmp_path: Path) -> None:
    folder = trained(tmp_path, config())
    before = folder.result()
    assert measure_again(tmp_path, None, (Capacity(),)) == [], "capacity is for biographies"
    with pytest.raises(LoopscopeError, match="no difficulty 9"):
        measure_again(tmp_path, None, (Accuracy(difficulties=(9,)),))
    assert folder.result() == before


def test_status_is_readable_at_the_end(straight: RunFolder) -> None:
    status = read_json(straight.path / "status.json")
    assert status is not None
    assert (status["state"], status["step"], status["last_step"]) == ("done", STEPS, STEPS)
