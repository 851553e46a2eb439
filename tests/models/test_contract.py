"""The check of a model from elsewhere: good ones pass, each bad one is told what is wrong."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

import experiments
from generators.plugins import load_class
from models.adapter import ForeignModel
from models.config import LoopedConfig
from models.contract import Finding, Size, check_contract
from models.interface import LoopedModel
from models.model import ModelConfig
from models.outputs import LoopOutputs

EXAMPLES = Path(experiments.__file__).parent / "examples"
PUBLISHED = ("universal_transformer.py:UniversalTransformer", "residual_scaled.py:ResidualScaled")
PUBLISHED = (*PUBLISHED, "gated_loop.py:GatedLoop")

#: (module, tokens, state, loop) -> the state after it
Step = Callable[["Module", Tensor, Tensor, int], Tensor]


class Module(nn.Module):
    """A causal mean over the tokens, looped, unless a step says otherwise."""

    def __init__(self, width: int, vocabulary: int, step: Step, spare: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.mix = nn.Linear(width, width)
        self.step = step
        if spare:
            self.spare = nn.Linear(width, width)

    def forward(self, tokens: Tensor, n_loops: int) -> list[Tensor]:
        x, states = self.embedding(tokens), []
        for loop in range(n_loops):
            x = self.step(self, tokens, x, loop)
            states.append(x)
        return states


def past(module: Module, tokens: Tensor, x: Tensor, loop: int) -> Tensor:
    counts = torch.arange(1, x.shape[1] + 1)[:, None]
    return x + torch.tanh(module.mix(x.cumsum(1) / counts))


def whole(module: Module, tokens: Tensor, x: Tensor, loop: int) -> Tensor:
    return x + module.mix(x.mean(1, keepdim=True).expand_as(x))


def noisy(module: Module, tokens: Tensor, x: Tensor, loop: int) -> Tensor:
    return past(module, tokens, x + 0.1 * torch.randn_like(x), loop)


def idle(module: Module, tokens: Tensor, x: Tensor, loop: int) -> Tensor:
    return past(module, tokens, module.embedding(tokens), loop)


def late(module: Module, tokens: Tensor, x: Tensor, loop: int) -> Tensor:
    return past(module, tokens, x, loop) * (torch.inf if loop == 5 else 1)


def short(module: Module, tokens: Tensor, x: Tensor, loop: int) -> Tensor:
    return past(module, tokens, x, loop)[:, : x.shape[1] - loop % 2]


def endless(module: Module, tokens: Tensor, x: Tensor, loop: int) -> Tensor:
    return past(module, tokens, x, loop) / 0


def of_length(module: Module, tokens: Tensor, x: Tensor, loop: int) -> Tensor:
    return past(module, tokens, x, loop) + x.shape[1]


def of_batch(module: Module, tokens: Tensor, x: Tensor, loop: int) -> Tensor:
    return past(module, tokens, x - x.mean(0), loop)


def in_place(module: Module, tokens: Tensor, x: Tensor, loop: int) -> Tensor:
    return x.mul_(0.5) if loop else past(module, tokens, x, loop)


def whole_numbers(module: Module, tokens: Tensor, x: Tensor, loop: int) -> Tensor:
    return past(module, tokens, x, loop).long()


class Toy(ModelConfig):
    kind: Literal["toy-contract"] = "toy-contract"
    loops: int = 3
    how: str = "past"
    head: int = 0
    gated: bool = True
    spare: bool = False

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        step: Step = globals()[self.how]
        module = Module(self.width, vocabulary_size, step, self.spare)
        head = nn.Linear(self.width, self.head or vocabulary_size, bias=False)
        exits = nn.Linear(self.width, 1) if gate and self.gated else None
        return ForeignModel(module, self, head=head, gate=exits)


def wrong(found: list[Finding]) -> dict[str, str]:
    return {one.what: one.message for one in found if one.outcome == "wrong"}


def test_a_good_model_passes_everything() -> None:
    *found, last = check_contract(Toy(width=8))
    assert {one.outcome for one in found} == {"ok"}
    assert last.what == "hooks" and last.outcome == "note"
    names = ["shapes", "determinism", "loops", "causality", "padding", "batch", "gradients", "seed"]
    assert [one.what for one in found] == [*names, "hidden matrices", "parameters", "FLOPs", "gate"]
    assert found[-4].message == "Muon, which trains the suite's stores, moves module.mix.weight"
    # 17 words and 8 wide: embedding 136, mix 72, head 136
    assert "344 for 17 words (module 208, head 136)" in found[-3].message


@pytest.mark.parametrize(
    ("how", "what", "message"),
    [
        ("whole", "causality", "what is said at position 0 hangs on position"),
        ("noisy", "determinism", "if self.training"),
        ("idle", "loops", "the state after loop 2 is that after loop 1"),
        ("short", "shapes", "need [B, T, V] = [3, 9, 17]"),
        ("endless", "shapes", "not finite"),
        ("whole_numbers", "runs", "gave torch.int64 for a loop and not float numbers"),
        ("of_length", "padding", "change it by"),
        ("of_batch", "batch", "a document says other things beside others"),
    ],
)
def test_a_bad_model_is_told_what_is_wrong(how: str, what: str, message: str) -> None:
    found = wrong(check_contract(Toy(width=8, how=how)))
    assert message in found[what]
    # who reads the whole document reads its padding too, and noise differs behind it: not told
    assert set(found) == {what}


def test_a_state_that_is_changed_in_place_is_told_as_that() -> None:
    with torch.no_grad():
        found = wrong(check_contract(Toy(width=8, how="in_place")))
    assert "after loops 1 and 2 are one and the same: it is changed in place" in found["loops"]


def test_more_loops_than_trained_that_overflow_are_told() -> None:
    note, _ = [f for f in check_contract(Toy(width=8, how="late")) if f.outcome == "note"]
    assert "after 6 loops, more than trained, numbers are not finite" in note.message


def test_an_objective_that_reads_a_gate_needs_one() -> None:
    assert "gate" not in wrong(check_contract(Toy(width=8), needs_gate=True))
    found = wrong(check_contract(Toy(width=8, gated=False), needs_gate=True))
    assert found == {
        "gate": "its objective reads an exit gate, and `build` makes none where `gate` is true"
    }


def test_other_sizes_are_built_and_run() -> None:
    sizes = [Size(8, 17, 9), Size(12, 60, 40)]
    *_, last = check_contract(Toy(width=8), sizes=sizes)
    said = "built and run at 2 sizes: width 8 to 12, 17 to 60 words, 9 to 40 tokens"
    assert last == Finding("sizes", "ok", said)
    found = wrong(check_contract(Toy(width=8, head=17), sizes=sizes))
    assert found == {"sizes": "at width 12, 60 words, 40 tokens: logits to 17 words"}
    found = wrong(check_contract(FewPlaces(width=8), sizes=sizes))
    assert found["sizes"].startswith("at width 12, 60 words, 40 tokens: IndexError: index out of")
    assert __file__ in found["sizes"], "the line of the model's own code"


def test_a_head_of_the_wrong_size_is_told_the_right_one() -> None:
    message = wrong(check_contract(Toy(width=8, head=5)))["shapes"]
    assert "[3, 9, 5]" in message and "[3, 9, 17]" in message


def test_a_gate_is_optional_and_parameters_without_gradient_are_told() -> None:
    found = {one.what: one for one in check_contract(Toy(width=8, gated=False, spare=True))}
    assert found["gate"].outcome == found["gradients"].outcome == "note"
    assert "module.spare.weight, module.spare.bias have no gradient" in found["gradients"].message


def test_a_gate_that_nobody_asked_for_is_told() -> None:
    class Config(Toy):
        kind: Literal["toy-gate"] = "toy-gate"

        def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
            return super().build(vocabulary_size, gate=True, seed=seed)

    notes = [f.message for f in check_contract(Config(width=8)) if f.outcome == "note"]
    assert "gate.weight, gate.bias have no gradient" in notes[0]
    assert "build makes a gate where `gate` is false" in notes[1] and len(notes) == 3


@pytest.mark.parametrize("how", ["past", "whole"])
def test_branches_that_start_at_zero_hide_nothing(how: str) -> None:
    class Config(Toy):
        kind: Literal["toy-zero"] = "toy-zero"

        def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
            model = super().build(vocabulary_size, gate=gate, seed=seed)
            for part in model.module.mix.parameters():
                nn.init.zeros_(part)
            return model

    assert ("causality" in wrong(check_contract(Config(width=8, how=how)))) == (how == "whole")


class OtherSeed(Toy):
    kind: Literal["toy-seed"] = "toy-seed"

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        torch.seed()
        return super().build(vocabulary_size, gate=gate, seed=seed)


class OneSeed(Toy):
    kind: Literal["toy-one-seed"] = "toy-one-seed"

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        torch.manual_seed(0)
        return super().build(vocabulary_size, gate=gate, seed=seed)


class FewPlaces(Toy):
    """A table of positions for twelve tokens."""

    kind: Literal["toy-places"] = "toy-places"

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        model = super().build(vocabulary_size, gate=gate, seed=seed)
        module, plain = model.module, model.module.forward
        module.places = nn.Embedding(12, self.width)

        def forward(tokens: Tensor, n_loops: int) -> list[Tensor]:
            at = module.places(torch.arange(tokens.shape[1]))
            return [state + at for state in plain(tokens, n_loops)]

        module.forward = forward
        return model


class ThreeLoops(Toy):
    kind: Literal["toy-three"] = "toy-three"

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        model = super().build(vocabulary_size, gate=gate, seed=seed)
        plain = model.module.forward
        model.module.forward = lambda tokens, n_loops: plain(tokens, 3)
        return model


class NoLinear(Toy):
    kind: Literal["toy-no-linear"] = "toy-no-linear"

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        model = super().build(vocabulary_size, gate=gate, seed=seed)
        module = model.module
        module.weight = nn.Parameter(module.mix.weight.detach())
        del module.mix
        module.mix = lambda x: x @ module.weight
        return model


class NoArgument(Toy):
    kind: Literal["toy-argument"] = "toy-argument"

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        return ForeignModel(nn.Embedding(vocabulary_size, self.width), self)


class OneTensor(Toy):
    kind: Literal["toy-one"] = "toy-one"

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        model = super().build(vocabulary_size, gate=gate, seed=seed)
        module = model.module
        model.module = last = nn.Module()
        last.kept = module
        last.forward = lambda tokens, n_loops: module(tokens, n_loops)[-1]
        return model


class NoModel(Toy):
    kind: Literal["toy-none"] = "toy-none"

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        return nn.Linear(2, 2)  # pyrefly: ignore


class NoGate(Toy):
    kind: Literal["toy-nogate"] = "toy-nogate"

    def build(self, vocabulary_size: int, *, seed: int) -> ForeignModel:  # pyrefly: ignore
        return super().build(vocabulary_size, gate=False, seed=seed)


class OtherConfig(Toy):
    kind: Literal["toy-config"] = "toy-config"

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        size = SimpleNamespace(width=self.width)
        return ForeignModel(nn.Embedding(2, 2), size)  # pyrefly: ignore


class Bare(LoopedModel):
    def forward(self, tokens: Tensor, n_loops: int | None = None, **_: object) -> LoopOutputs:
        raise NotImplementedError

    def count_parameters(self) -> dict[str, int]:
        raise NotImplementedError


class NoAttributes(Toy):
    kind: Literal["toy-bare"] = "toy-bare"

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> LoopedModel:  # pyrefly: ignore
        return Bare()


@pytest.mark.parametrize(
    ("cls", "what", "message"),
    [
        (NoGate, "runs", "is called as build(vocabulary_size, *, gate, seed): got an unexpected"),
        (OtherConfig, "runs", "which has its width, core and loops; got a SimpleNamespace"),
        (NoAttributes, "runs", "made a Bare without config and gate; every LoopedModel has"),
        (OtherSeed, "seed", "draw weights from torch's global generator"),
        (OneSeed, "seed", "seeds 0 and 1 make the same weights"),
        (
            ThreeLoops,
            "parameters and FLOPs",
            "gave 3 tensors when called with n_loops 1; it runs as",
        ),
        (NoLinear, "hidden matrices", "there is no linear map in the module for Muon"),
        (NoArgument, "runs", "Embedding.forward is called as forward(tokens, n_loops)"),
        (OneTensor, "runs", "gave one tensor of shape [3, 9, 8]"),
        (NoModel, "runs", "made a Linear and has to make a LoopedModel"),
    ],
)
def test_what_cannot_be_run_says_what_is_missing(cls: type[Toy], what: str, message: str) -> None:
    assert message in wrong(check_contract(cls(width=8)))[what]


def test_an_error_is_told_with_the_line_of_the_models_own_code() -> None:
    class Config(Toy):
        kind: Literal["toy-raises"] = "toy-raises"

        def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
            return ForeignModel(nn.Linear(2, 2).bfloat16(), self, gate=nn.Linear(2, 1))  # here

    lines = Path(__file__).read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if text.endswith("# here"))
    assert wrong(check_contract(Config(width=8)))["runs"].endswith(f"({__file__}:{line})")
    assert __file__ not in wrong(check_contract(Toy(width=8, how="whole_numbers")))["runs"]


def test_without_an_embedding_causality_is_tested_by_other_tokens() -> None:
    class OneHot(nn.Module):
        def __init__(self, ahead: bool) -> None:
            super().__init__()
            self.matrix, self.ahead = nn.Linear(17, 8), ahead

        def forward(self, tokens: Tensor, n_loops: int) -> list[Tensor]:
            x = self.matrix(nn.functional.one_hot(tokens, 17).float())
            x = x + x.roll(-1, 1) if self.ahead else x
            return [x * (loop + 1) for loop in range(n_loops)]

    class Config(Toy):
        kind: Literal["toy-one-hot"] = "toy-one-hot"
        ahead: bool = False

        def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
            return ForeignModel(OneHot(self.ahead), self, head=nn.Linear(8, 17))

    found = {one.what: one for one in check_contract(Config(width=8))}
    assert found["causality"].message.startswith("other tokens at later positions change nothing")
    assert (
        "other tokens there change it"
        in wrong(check_contract(Config(width=8, ahead=True)))["causality"]
    )


class Hooked(Toy):
    """Hooks as they are asked for, or each wrong in another way."""

    hooks: ClassVar[bool] = True
    kind: Literal["toy-hooked"] = "toy-hooked"
    fault: str = ""

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        model = super().build(vocabulary_size, gate=gate, seed=seed)
        module, fault = model.module, self.fault

        def forward(
            tokens: Tensor, n_loops: int, hook: Callable[[int, Tensor], Tensor] | None = None
        ) -> list[Tensor]:
            ask = hook or (lambda loop, x: x)
            x, states = module.embedding(tokens), []
            x = x if fault == "no start" else ask(0, x)
            for loop in range(1, n_loops + 1):
                x = past(module, tokens, x, loop)
                given = ask(loop, x)
                x = x if fault == "deaf" else given
                x = x + 1 if fault == "louder" and hook else x
                states.append(x)
            return states

        module.forward = forward
        return model


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no start", "loop.0 of loop.0 to loop.3 never came"),
        ("deaf", "another state at loop.1 changes nothing"),
        ("louder", "a hook that gives the state back changes what is said"),
    ],
)
def test_hooks_are_asked_in_every_loop_and_heard(fault: str, message: str) -> None:
    assert message in wrong(check_contract(Hooked(width=8, fault=fault)))["hooks"]
    *_, last = check_contract(Hooked(width=8))
    assert last == Finding("hooks", "ok", "states can be read and replaced at loop.0 to loop.3")


def test_a_config_that_promises_hooks_needs_them_in_the_module() -> None:
    class Config(Toy):
        hooks: ClassVar[bool] = True
        kind: Literal["toy-promise"] = "toy-promise"

    assert "unexpected keyword argument 'hook'" in wrong(check_contract(Config(width=8)))["hooks"]


@pytest.mark.parametrize("named", PUBLISHED)
def test_published_models_are_short_files_that_pass(named: str, tmp_path: Path) -> None:
    """Anywhere: a file of a stranger's has nothing beside it."""
    file, _, cls = named.partition(":")
    path = shutil.copyfile(EXAMPLES / file, tmp_path / file)
    config = load_class(ModelConfig, "models", f"{path}:{cls}").model_validate({"width": 16})
    assert not wrong(check_contract(config))
    text = path.read_text()
    assert len(text.splitlines()) < 100 and "experiments" not in text
    assert re.search(r"\d{4}\.\d{5}", text), "it names its paper"


def test_variants_of_the_looped_transformer_pass() -> None:
    config = LoopedConfig(width=16, loops=3, tied=True, injection="add")
    assert not wrong(check_contract(config))
