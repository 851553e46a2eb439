"""Training: the loop against a plain one, what it counts, and where it diverges."""

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from toys import trained, weights
from training import STEPS, TRAINING, config

from experiments.config.phases import Phase, Span, Training, spans
from experiments.config.run import Observe
from experiments.runs.folder import RunFolder
from experiments.training.inputs import model_inputs
from experiments.training.optimiser import build_optimiser, learning_rate, parameter_groups
from experiments.training.recorder import Diverged
from experiments.training.train import train
from experiments.training.trainer import Trainer
from generators.multihop import MultiHop
from generators.streams import Stream, generator
from generators.task import Batch, Task
from generators.vocabulary import Vocabulary
from models.config import LoopedConfig
from models.counts import forward_flops
from models.objectives.entropy import Entropy
from models.objectives.last_loop import LastLoop
from models.objectives.objective import Loss


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


def test_wsd_is_stable_and_then_falls_in_its_share_of_every_phase() -> None:
    fields = {"until_step": 1, "warmup": 20, "decay": "wsd", "decay_share": 0.25, "final": 0.1}
    for first, peak in ((100, None), (300, 2e-3)):
        phase = Phase.model_validate(fields | {"lr": peak})
        here, steps = span(phase, first, first + 100), range(first, first + 100)
        rates = [learning_rate(here, TRAINING, step) for step in steps]
        top = peak or 4e-3
        assert rates[:20] == pytest.approx([top * (i + 1) / 20 for i in range(20)])
        assert rates[20:80] == pytest.approx([top] * 60)
        assert rates[80:] == pytest.approx([top * (1 - 0.9 * i / 20) for i in range(20)])
    linear = Phase(until_step=1, warmup=20, decay="linear", final=0.1)
    whole = linear.model_copy(update={"decay": "wsd", "decay_share": 1.0})
    for step in range(100, 200):
        one, other = (learning_rate(span(p), TRAINING, step) for p in (linear, whole))
        assert one == pytest.approx(other)


def test_a_decay_share_that_no_decay_reads_changes_no_id() -> None:
    def run(**fields: Any) -> str:
        phase = Phase.model_validate({"until_step": STEPS} | fields)
        return config(training=TRAINING.model_copy(update={"phases": (phase,)})).run_id

    assert run(decay_share=0.5) == run()
    ids = {run(), run(decay="wsd"), run(decay="wsd", decay_share=0.5), run(decay="linear")}
    assert len(ids) == 4 and run(decay="wsd", decay_share=0.2) == run(decay="wsd")


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
    training = Training(lr=0.1, weight_decay=0.5, phases=TRAINING.phases)
    groups = parameter_groups(model, training)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted({id(p) for p in model.parameters()})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = build_optimiser(model, training)
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


@pytest.mark.parametrize("kinds", [(np.float64, bool), (np.int32, np.float64)])
def test_a_batch_of_fractions_is_refused(kinds: tuple[type, type]) -> None:
    batch = Batch(np.full((2, 3), 1.5).astype(kinds[0]), np.ones((2, 3), kinds[1]))
    with pytest.raises(ValueError, match="need to be int32 and its loss_mask bool, got .*float64"):
        model_inputs(batch, torch.device("cpu"))


class OneTooFew(MultiHop):
    """A task from elsewhere that gives fewer documents than it is asked for."""

    kind: Literal["one-too-few"] = "one-too-few"  # type: ignore[assignment]

    def sample(self, *args: Any, **kwargs: Any) -> Batch:
        found = super().sample(*args, **kwargs)
        return found.rows(np.arange(len(found) - 1))


def test_fewer_documents_than_asked_for_are_refused() -> None:
    task = OneTooFew(entities=8, relations=4, hops=2)
    run = config(task=task, training=TRAINING.model_copy(update={"batch": 4}))
    with pytest.raises(ValueError, match="one-too-few gave 3 documents where 4 were asked for"):
        Trainer(run, "cpu").documents(0)


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
