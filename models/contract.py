"""What a looped model from elsewhere has to be, and a check that says what is missing.

A model comes as two classes in one file.

1. A torch module with `forward(tokens, n_loops)`: tokens int64[B, T], padded with 0 on the right,
   to a list of `n_loops` tensors, one after every loop: states [B, T, D], or logits [B, T, V] where
   there is no head. It is causal: what it says at a position hangs on no later one, and on no other
   document of the batch. In eval mode the same tokens give the same numbers. A loop changes the
   state, and leaves the tensors of the loops before as they are. It runs any number of loops and
   words, and documents as long as a task writes.
2. A `ModelConfig` whose fields are the options of a grid. `width`, `core` (layers that are looped)
   and `loops` are inherited; `kind: Literal["my-model"] = "my-model"` names it; `build` makes the
   module, with every weight drawn from torch's global generator (which is seeded before) or from
   `seed`, and wraps it:

       def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
           module = MyModule(self.width, self.core, vocabulary_size)
           head = nn.Linear(self.width, vocabulary_size, bias=False)
           exits = nn.Linear(self.width, 1) if gate else None
           return ForeignModel(module, self, head=head, gate=exits)

   The suite's stores are trained by Muon, which moves the matrices inside the layers: weights of
   `nn.Linear` and of torch's attention and recurrence in the module. A subclass of `ForeignModel`
   names others in `hidden_matrices`. Without a gate the objectives `entropy`, `prior`, `act` and
   `gate` refuse it, and all others train it. `core` may be left unused; the card then lacks the
   reference of equal depth.
3. Where the config says `hooks: ClassVar[bool] = True`, `forward(tokens, n_loops, hook=None)` calls
   `x = hook(t, x)` on the state [B, T, D] that loop t leaves behind, before a head or the next loop
   reads it, and once with t = 0 before the first loop. Probes put other states in there
   (`interchange`); without hooks the card lacks that axis.

Legend: B documents, T tokens, D width, V vocabulary, n loops.
"""

import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from models.interface import LoopedModel
from models.model import ModelConfig, built
from models.outputs import LoopOutputs

Outcome = Literal["ok", "wrong", "note"]

#: words and tokens of the documents of the check
VOCABULARY, TOKENS, DOCUMENTS = 17, 9, 3
#: relative difference that rounding may make, in numbers and in gradients
ROUNDING, GRADIENT = 1e-4, 1e-6
#: folders whose lines are not the model's own
NOT_OWN = (Path(__file__).parent, Path(torch.__file__).parent)
#: check -> what it repeats: where that is wrong, it makes a difference here too
REPEATED = {"padding": ("determinism", "causality"), "batch": ("determinism",)}
#: standard deviation of the noise on weights
SHAKEN = 0.2


@dataclass(frozen=True)
class Finding:
    """One line of the check.

    Attributes:
        outcome: `wrong` breaks the contract, `note` leaves something out.
        message: what was found, what is needed, what to do.
    """

    what: str
    outcome: Outcome
    message: str


class Size(NamedTuple):
    """A size at which a model will be built and run: of the state, of the words, of a document."""

    width: int
    vocabulary: int
    tokens: int


def check_contract(
    config: ModelConfig, *, needs_gate: bool = False, sizes: Iterable[Size] = ()
) -> list[Finding]:
    """Everything the contract asks, as far as the model can be run.

    What fails ends the check where the rest would only repeat it.

    Args:
        needs_gate: the objective of the model reads an exit gate.
        sizes: at which the model is only built and run.
    """
    found: list[Finding] = []
    try:
        model = _build(config, gate=False)
        found += _shapes(config, model, model(_documents(), config.loops))
    except Exception as error:  # whatever a stranger's code raises
        return [_raised("runs", error)]
    if any(one.outcome == "wrong" for one in found):
        return found
    for what, check in CHECKS.items():
        if any(f.outcome == "wrong" and f.what in REPEATED.get(what, ()) for f in found):
            continue
        try:
            found += check(config, model)
        except Exception as error:
            found.append(_raised(what, error))
    if needs_gate and any(f.what == "gate" and f.outcome == "note" for f in found):
        message = "its objective reads an exit gate, and `build` makes none where `gate` is true"
        found = [f for f in found if f.what != "gate"] + [Finding("gate", "wrong", message)]
    return [*found, *_sizes(config, sizes)]


def _sizes(config: ModelConfig, sizes: Iterable[Size]) -> Iterator[Finding]:
    """Whether it can be built and run at other sizes than that of the check."""
    ran = list(sizes)
    for size in ran:
        sized = config.model_copy(update={"width": size.width})
        told = f"width {size.width}, {size.vocabulary} words, {size.tokens} tokens"
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                model = built(sized, size.vocabulary, gate=False, seed=0).eval()
                tokens = torch.full((1, size.tokens), size.vocabulary - 1)
                said = model(tokens).logits().shape[-1]
        except Exception as error:
            raised = _raised("sizes", error)
            yield Finding("sizes", "wrong", f"at {told}: {raised.message}")
            return
        if said != size.vocabulary:
            yield Finding("sizes", "wrong", f"at {told}: logits to {said} words")
            return
    if ran:
        spans = [f"{min(of)} to {max(of)}" for of in zip(*ran, strict=True)]
        said = "built and run at {} sizes: width {}, {} words, {} tokens".format(len(ran), *spans)
        yield Finding("sizes", "ok", said)


def _raised(what: str, error: Exception) -> Finding:
    """With the line of the model's own code that led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(Path(f.filename).is_relative_to(p) for p in NOT_OWN)]
    place = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    return Finding(what, "wrong", f"{type(error).__name__}: {error}{place}")


def _either(what: str, wrong: str, ok: str) -> Finding:
    return Finding(what, "wrong" if wrong else "ok", wrong or ok)


def _build(config: ModelConfig, *, gate: bool, seed: int = 0) -> LoopedModel:
    """With noise on every weight: branches that start at zero would hide what they do."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = built(config, VOCABULARY, gate=gate, seed=seed).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight += SHAKEN * torch.randn(weight.shape, generator=generator)
    return model


def _documents() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, VOCABULARY, (DOCUMENTS, TOKENS), generator=generator)


def _shapes(config: ModelConfig, model: LoopedModel, outputs: LoopOutputs) -> Iterator[Finding]:
    for loop in range(1, config.loops + 1):
        logits = outputs.logits(loop)
        if tuple(logits.shape) != (DOCUMENTS, TOKENS, VOCABULARY):
            yield Finding(
                "shapes",
                "wrong",
                f"logits of loop {loop} have shape {list(logits.shape)} and need [B, T, V] = "
                f"{[DOCUMENTS, TOKENS, VOCABULARY]}; give ForeignModel a head from the state to V, "
                "or logits from the module and no head",
            )
            return
        if not bool(logits.isfinite().all()):
            message = "are not finite; look for a division by 0 or log of 0"
            yield Finding("shapes", "wrong", f"logits of loop {loop} {message}")
            return
    state = list(outputs.state(1).shape)
    yield Finding("shapes", "ok", f"{config.loops} states {state}, logits to {VOCABULARY} words")


def _determinism(config: ModelConfig, model: LoopedModel) -> Iterator[Finding]:
    first, second = (model(_documents()).logits() for _ in range(2))
    message = f"two passes in eval mode differ by {_size(first - second):.2g}; noise belongs "
    message = "" if torch.equal(first, second) else message + "behind `if self.training:`"
    yield _either("determinism", message, "two passes in eval mode give the same numbers")


def _same_weights(config: ModelConfig, model: LoopedModel) -> Iterator[Finding]:
    again = _build(config, gate=False)
    pairs = zip(model.named_parameters(), again.named_parameters(), strict=True)
    differ = [name for (name, a), (_, b) in pairs if not torch.equal(a, b)]
    message = "differs between two models of one seed; draw weights from torch's global generator "
    message += "or from `seed`, and from nothing else"
    if differ:
        yield Finding("seed", "wrong", f"{differ[0]} {message}")
        return
    other = _build(config, gate=False, seed=1).parameters()
    same = all(torch.equal(a, b) for a, b in zip(model.parameters(), other, strict=True))
    message = (
        "seeds 0 and 1 make the same weights, so that several seeds would be one; draw weights "
    )
    message += (
        "from torch's global generator, which is seeded before, and do not seed it in `build`"
    )
    yield _either("seed", message if same else "", "a seed makes one model, another seed another")


def _alone(config: ModelConfig, model: LoopedModel) -> Iterator[Finding]:
    tokens = _documents()
    beside, alone = model(tokens).logits()[:1], model(tokens[:1]).logits()
    message = f"a document says other things beside others (by {_size(beside - alone):.2g}); norms "
    message += "and means are over the state or over earlier tokens, not over the batch"
    differ = _size(beside - alone) > ROUNDING * _size(alone)
    yield _either("batch", message if differ else "", "a document does not see the others")


def _hidden(config: ModelConfig, model: LoopedModel) -> Iterator[Finding]:
    """What Muon moves, by which the suite's stores are trained."""
    matrices = {id(p) for p in model.hidden_matrices()}
    named = [name for name, p in model.named_parameters() if id(p) in matrices]
    message = (
        "there is no linear map in the module for Muon, by which the suite's stores are trained; "
    )
    message += "a subclass of ForeignModel names its matrices in `hidden_matrices`"
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    said = f"Muon, which trains the suite's stores, moves {', '.join(named[:3])}{more}"
    yield _either("hidden matrices", "" if named else message, said)


def _loops(config: ModelConfig, model: LoopedModel) -> Iterator[Finding]:
    loops = max(config.loops, 2)
    outputs = model(_documents(), loops)
    states = [outputs.state(t) for t in range(1, loops + 1)]
    still = [t for t in range(1, loops) if torch.equal(states[t - 1], states[t])]
    if still and states[still[0] - 1].data_ptr() == states[still[0]].data_ptr():
        message = (
            f"the tensors after loops {still[0]} and {still[0] + 1} are one and the same: it is "
        )
        yield Finding("loops", "wrong", message + "changed in place; make a new one in every loop")
        return
    if still:
        message = f"the state after loop {still[0] + 1} is that after loop {still[0]}: a loop has "
        yield Finding("loops", "wrong", message + "to begin with what the one before left behind")
        return
    yield Finding("loops", "ok", f"each of {loops} loops changes the state")
    # with the weights that training begins with: noise on them may grow over more loops
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        fresh = built(config, VOCABULARY, gate=False, seed=0).eval()
        for more in (2 * loops, 4 * loops):
            try:
                finite = bool(fresh(_documents(), more).logits().isfinite().all())
            except Exception as error:
                told = f"{more} loops, more than trained, cannot be: {error}"
                yield Finding("loops", "note", told)
                return
            if not finite:
                told = (
                    f"after {more} loops, more than trained, numbers are not finite: no depth dial"
                )
                yield Finding("loops", "note", told)
                return


def _causality(config: ModelConfig, model: LoopedModel) -> Iterator[Finding]:
    """By gradients of the logits at every position with respect to the embedded tokens."""
    embedded: list[Tensor] = []

    def catch(module: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> Tensor | None:
        if found.shape[:2] != (1, TOKENS):
            return None
        embedded.append(found.detach().requires_grad_())
        return embedded[-1]

    tables = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    hooks = [table.register_forward_hook(catch) for table in tables]
    try:
        logits = model(_documents()[:1]).logits()[0]
    finally:
        for hook in hooks:
            hook.remove()
    if not embedded:
        yield from _later_tokens(model)
        return
    for at in range(TOKENS - 1):
        said = logits[at].square().sum()
        grads = torch.autograd.grad(said, embedded, retain_graph=True, allow_unused=True)
        reach = sum((g.abs().sum(-1)[0] for g in grads if g is not None), torch.zeros(TOKENS))
        ahead = reach[at + 1 :]
        if float(ahead.max()) > GRADIENT * float(reach.max()):
            later = at + 1 + int(ahead.argmax())
            yield _not_causal(at, later, "its gradient is not 0")
            return
    yield Finding("causality", "ok", "no gradient comes from a later position")


def _later_tokens(model: LoopedModel) -> Iterator[Finding]:
    """Where no embedding shows gradients: other tokens later change nothing before."""
    tokens = _documents()
    for at in range(TOKENS - 1):
        other = tokens.clone()
        other[:, at + 1 :] = 1 + other[:, at + 1 :] % (VOCABULARY - 1)
        before, after = (model(t).logits()[:, : at + 1] for t in (tokens, other))
        if _size(before - after) > ROUNDING * _size(before):
            yield _not_causal(at, at + 1, "other tokens there change it")
            return
    yield Finding("causality", "ok", "other tokens at later positions change nothing before them")


def _not_causal(at: int, later: int, how: str) -> Finding:
    return Finding(
        "causality",
        "wrong",
        f"what is said at position {at} hangs on position {later}: {how}; mask attention with "
        "is_causal=True, and shift convolutions and means so that they see earlier tokens alone",
    )


def _padding(config: ModelConfig, model: LoopedModel) -> Iterator[Finding]:
    tokens = _documents()
    padded = torch.cat([tokens, torch.zeros(DOCUMENTS, 2, dtype=torch.int64)], dim=1)
    plain, longer = model(tokens).logits(), model(padded).logits()[:, :TOKENS]
    message = f"two <pad> (id 0) behind a document change it by {_size(plain - longer):.2g}; a "
    message += "causal model needs no mask for them: look for what reads whole documents"
    differ = _size(plain - longer) > ROUNDING * _size(plain)
    yield _either("padding", message if differ else "", "<pad> behind a document changes nothing")


def _gradients(config: ModelConfig, model: LoopedModel) -> Iterator[Finding]:
    outputs = model(_documents())
    logits = outputs.logits()
    nn.functional.cross_entropy(logits.flatten(0, 1), _documents().flatten()).backward()
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    model.zero_grad(set_to_none=True)
    if idle:
        has = "has" if len(idle) == 1 else "have"
        message = f"{', '.join(idle[:3])} {has} no gradient from the last loop, and count as "
        yield Finding("gradients", "note", message + "parameters all the same")
    else:
        yield Finding("gradients", "ok", "every parameter has a gradient")


def _counts(config: ModelConfig, model: LoopedModel) -> Iterator[Finding]:
    counted = model.count_parameters()
    there = sum(p.numel() for p in model.parameters())
    of_pad = {0, config.width, 2 * config.width}  # rows of <pad> may be left out
    total = counted.get("total", 0)
    message = f"count_parameters says {total} in total, its tensors hold {there}"
    parts = ", ".join(f"{k} {v}" for k, v in counted.items() if k != "total" and v)
    said = f"{total} for {VOCABULARY} words ({parts})"
    yield _either("parameters", "" if there - total in of_pad else message, said)

    def flops(loops: int) -> int:
        sizes = {"documents": 1, "context": TOKENS, "predicted": TOKENS}
        return config.forward_flops(VOCABULARY, n_loops=loops, **sizes)

    one, two = flops(1), flops(2)
    message = f"two loops take {two} and one takes {one}: nothing loops" if two <= one else ""
    yield _either("FLOPs", message, f"{one} of one loop over {TOKENS} tokens, {two} of two")


def _gate(config: ModelConfig, model: LoopedModel) -> Iterator[Finding]:
    if model.gate is not None:
        message = "build makes a gate where `gate` is false, and its parameters count: leave it out"
        yield Finding("gate", "note", message)
    gated = _build(config, gate=True)
    if gated.read_exit is None:
        yield Finding("gate", "note", "none: objectives entropy, prior, act and gate refuse it")
        return
    found = list(gated(_documents()).exit_logits().shape)
    shape = [config.loops, DOCUMENTS, TOKENS]
    message = f"exit logits have shape {found} and need {shape}; it maps [..., D] to [..., 1]"
    yield _either("gate", "" if found == shape else message, "an exit gate reads every state")


def _hooks(config: ModelConfig, model: LoopedModel) -> Iterator[Finding]:
    """Whether every loop asks, says nothing else for it, and goes on with what it is given."""
    if not config.hooks:
        yield Finding("hooks", "note", "none: nothing puts states in between loops (interchange)")
        return
    loops, tokens = config.loops, _documents()
    names = list(config.loop_hooks(loops).values())
    plain, seen = model(tokens).logits(), model(tokens, capture=names)
    if missing := [name for name in names if name not in seen.captured]:
        message = (
            f"{', '.join(missing)} of {names[0]} to {names[-1]} never came; call x = hook(t, x) "
        )
        yield Finding("hooks", "wrong", message + "after loop t, from 1 on, and with 0 before them")
        return
    if not torch.equal(plain, seen.logits()):
        yield Finding("hooks", "wrong", "a hook that gives the state back changes what is said")
        return
    for name in names[1:]:
        other = model(tokens, interventions=((name, torch.zeros_like),)).logits()
        if torch.equal(plain, other):
            message = f"another state at {name} changes nothing; go on with what the hook gives"
            yield Finding("hooks", "wrong", message)
            return
    yield Finding("hooks", "ok", f"states can be read and replaced at {names[0]} to {names[-1]}")


def _size(x: Tensor) -> float:
    return float(x.detach().abs().max())


#: what is checked of a model whose shapes are right, in the order of the messages
CHECKS = {
    "determinism": _determinism,
    "loops": _loops,
    "causality": _causality,
    "padding": _padding,
    "batch": _alone,
    "gradients": _gradients,
    "seed": _same_weights,
    "hidden matrices": _hidden,
    "parameters and FLOPs": _counts,
    "gate": _gate,
    "hooks": _hooks,
}
