"""Compiled blocks: the loss and every gradient are those of blocks as written."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.grid.run_checks import problems
from experiments.runs.folder import RunFolder
from experiments.training import joint_step
from experiments.training import trainer as trainer_module
from experiments.training.joint_step import JointRuns
from experiments.training.train import train
from experiments.training.trainer import Trainer
from models.config import LoopedConfig
from models.fast.compiling import as_written, compile_blocks
from models.fast.fused import use_fused
from models.looped import LoopedTransformer
from models.objectives.entropy import Entropy

#: torch's compiler warns of its own doings
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
]
VARIANTS = [
    {"norm": "pre", "mlp": "gelu", "tied": True},
    {"norm": "pre", "mlp": "swiglu", "tied": False},
    {"norm": "sandwich", "mlp": "gelu", "tied": False},
    {"norm": "sandwich", "mlp": "swiglu", "tied": True},
]
DOCUMENTS, TOKENS, VOCABULARY = 6, 9, 13


def built(**fields: object) -> LoopedTransformer:
    """In float64, training, with a gate that is not at its start."""
    fields = {"width": 16, "heads": 2, "core": 2, "loops": 3, "prelude": 1, "coda": 1, **fields}
    model = LoopedConfig(**fields).build(VOCABULARY, gate=True, seed=1).double()  # pyrefly: ignore
    with torch.no_grad():
        model.gate.weight.normal_(generator=torch.Generator().manual_seed(2))  # pyrefly: ignore
    return model


def loss_and_gradients(
    model: LoopedTransformer, tokens: int = TOKENS, **options: object
) -> tuple[float, dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(3)
    inputs = torch.randint(1, VOCABULARY, (DOCUMENTS, tokens), generator=rng)
    at = (torch.arange(DOCUMENTS), torch.randint(0, tokens, (DOCUMENTS,), generator=rng))
    targets = torch.randint(1, VOCABULARY, (DOCUMENTS,), generator=rng)
    model.zero_grad()
    outputs = model(inputs, read=at, **options)  # pyrefly: ignore
    loss = Entropy().loss(outputs, at, targets).total
    loss.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == dict(model.named_parameters()).keys()
    return float(loss.detach()), found


@pytest.mark.slow
@pytest.mark.parametrize("fields", VARIANTS, ids=lambda f: " ".join(map(str, f.values())))
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_the_loss_and_every_gradient_are_those_of_eager(
    fields: dict[str, object], backend: str
) -> None:
    torch.compiler.reset()
    plain = built(**fields)
    compiled = deepcopy(plain)
    if backend == "inductor":
        compile_blocks(compiled)
    else:
        for part in (compiled.prelude, compiled.core, compiled.coda):
            for block in part:
                block.compile(backend=backend, fullgraph=True)
    # more loops, other lengths and recomputed loops find the compiled blocks as they are
    for options in ({}, {"n_loops": 5}, {"tokens": 7}, {"recompute": True}):
        loss, gradients = loss_and_gradients(compiled, **options)  # pyrefly: ignore
        expected, wanted = loss_and_gradients(plain, **options)  # pyrefly: ignore
        assert loss == pytest.approx(expected, rel=1e-12)
        for name, gradient in gradients.items():
            # float64 sums of some hundred terms, in another order
            torch.testing.assert_close(gradient, wanted[name], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_a_compiled_block_is_really_compiled_and_probes_see_it_as_written() -> None:
    torch.compiler.reset()
    seen: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> object:
        seen.append(1)
        return graph.forward

    model = built()
    for block in model.core:
        block.compile(backend=backend)
    with as_written(model):
        loss_and_gradients(model)
    assert not seen
    loss_and_gradients(model)
    assert seen


def test_kernels_written_for_a_cpu_are_left_out_of_a_compiled_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, module = torch.ones(2, requires_grad=True), torch.nn.Linear(2, 2)
    assert use_fused(module, x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not use_fused(module, x)


def config(**observe: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "task": {"kind": "multihop", "entities": 8, "relations": 4, "hops": 2},
            "model": {"width": 8, "heads": 1, "loops": 2},
            "training": {"batch": 8, "phases": [{"until_step": 3}]},
            "observe": {"probes": [{"kind": "accuracy"}], **observe},
        }
    )


def test_a_cpu_is_refused_unless_asked_for(tmp_path: Path) -> None:
    run = config(compile_blocks="gpu")
    assert run.run_id == config().run_id, "how it is computed is not who it is"
    with pytest.raises(LoopscopeError, match="compile_blocks gpu on device cpu"):
        train(run, RunFolder(tmp_path / run.run_id))


@pytest.mark.slow
def test_a_run_with_compiled_blocks_ends_like_one_without(tmp_path: Path) -> None:
    torch.compiler.reset()
    losses = []
    for name, wanted in (("plain", "never"), ("compiled", "anywhere")):
        folder = RunFolder(tmp_path / name / config().run_id)
        assert train(config(compile_blocks=wanted, log_every=1), folder)
        losses.append([line["loss"] for line in folder.metrics() if "loss" in line])
        model = torch.load(folder.checkpoint_path, weights_only=True)["model"]
        assert "core.0.attention.qkv.weight" in model, "names are those of a plain model"
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_experts_are_refused() -> None:
    run = config(compile_blocks="anywhere")
    model = LoopedConfig(width=8, heads=1, loops=2, mlp="moe")
    ((at, message),) = problems(run.model_copy(update={"model": model}))
    assert at == ("observe", "compile_blocks") and "model.mlp moe" in message


def stack_of(*compile_blocks: str) -> JointRuns:
    """In float64, a run for each."""
    trainers = []
    for seed, wanted in enumerate(compile_blocks):
        trainer = Trainer(config(compile_blocks=wanted).model_copy(update={"seed": seed}), "cpu")
        trainer.adopt(trainer.model.double())
        trainers.append(trainer)
    return JointRuns(trainers)


def test_blocks_of_a_stack_are_compiled_where_those_of_all_its_runs_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[torch.nn.Module] = []
    monkeypatch.setattr(trainer_module, "compile_blocks", lambda model: None)
    monkeypatch.setattr(joint_step, "compile_blocks", seen.append)
    for wanted in (("never", "never"), ("anywhere", "never")):
        stack_of(*wanted)
    assert not seen
    stack = stack_of("anywhere", "anywhere")
    assert seen == [stack.model]


@pytest.mark.slow
def test_losses_and_gradients_of_a_compiled_stack_are_those_of_one_as_written() -> None:
    torch.compiler.reset()
    compiled, plain = (stack_of(wanted, wanted, wanted) for wanted in ("anywhere", "never"))
    for _ in range(2):
        found, wanted = compiled.step(0), plain.step(0)
        for loss, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(loss.total, other.total, rtol=1e-12, atol=0)
        for name, weight in plain.weights.items():
            # float64 sums of some hundred terms, in another order
            torch.testing.assert_close(
                compiled.weights[name].grad, weight.grad, rtol=1e-8, atol=1e-11
            )
