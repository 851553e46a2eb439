"""A folder exported for transformers holds all it needs, and says what our model says."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.export.huggingface import config_of, export_hf
from experiments.export.weights import export_run
from experiments.runs.folder import RunFolder
from experiments.training.train import train
from generators.multihop import MultiHop
from generators.vocabulary import Vocabulary
from models.config import LoopedConfig
from models.decoding.cache import CacheSettings
from models.decoding.generation import generate
from models.looped import LoopedTransformer

needs_transformers = pytest.mark.skipif(
    find_spec("transformers") is None, reason="needs the hf extra: transformers"
)
VARIANTS: dict[str, dict[str, object]] = {
    "ouro": {"loops": 3, "gate": True},
    "tied": {"loops": 2, "tied": True, "norm": "pre", "mlp": "gelu", "norm_between_loops": False},
    "around": {"prelude": 1, "coda": 1, "core": 2, "injection": "concat", "gate": True},
    "add": {"injection": "add", "loop_embedding": "learned", "loop_rows": 5, "loops": 2},
    "once": {"injection": "once", "loops": 3},
    "positions": {"positions": "learned", "context": 12, "loop_embedding": "sinusoidal"},
    "experts": {"mlp": "moe", "experts_per_token": 2, "positions": "none", "loops": 2},
    "expert": {"mlp": "moe", "experts": 3, "positions": "rope-quarter", "heads": 1},
    "sequence": {"reuse": "sequence", "core": 2, "loops": 2},
    "order": {"reuse": (0, 1, 1), "core": 2, "loops": 2},
    "act": {"loops": 3, "gate": True, "halting": 0.3},
}
#: loads every folder below the current one, offline and without this package
SCRIPT = """
import pathlib, sys, numpy, torch, transformers
assert not any(m in sys.modules for m in ("models", "experiments"))
for folder in sorted(p for p in pathlib.Path.cwd().iterdir() if p.is_dir()):
    if not (folder / "config.json").exists():
        continue
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    data = numpy.load(folder / "asked.npz")
    tokens, mask = (torch.from_numpy(data[k]) for k in ("tokens", "mask"))
    with torch.no_grad():
        told = model(tokens, attention_mask=mask, labels=tokens)
        more = model(tokens, attention_mask=mask, n_loops=4).logits
        written = model.generate(tokens, attention_mask=mask, max_new_tokens=4, do_sample=False)
    found = {"logits": told.logits, "more": more, "written": written, "loss": told.loss}
    if told.exit_probability is not None:
        found["exits"] = told.exit_probability
    model.save_pretrained(folder / "again")
    again = transformers.AutoModelForCausalLM.from_pretrained(folder / "again",
        trust_remote_code=True)
    with torch.no_grad():
        found["again"] = again(tokens, attention_mask=mask).logits
    numpy.savez(folder / "told.npz", **{k: v.numpy() for k, v in found.items()})
assert not any(m in sys.modules for m in ("models", "experiments"))
"""
VOCABULARY = Vocabulary.build([f"t{i}" for i in range(14)])


def built(fields: dict[str, object]) -> LoopedTransformer:
    """A model whose gate and norms are not at their start."""
    config = {"width": 16, "heads": 2, "loops": 3} | fields
    gate, halting = bool(config.pop("gate", False)), config.pop("halting", None)
    model = LoopedConfig(**config).build(len(VOCABULARY), gate=gate, seed=1).eval()  # pyrefly: ignore
    model.halting = halting  # pyrefly: ignore
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name or "gate" in name or "entrance" in name:
                p.add_(0.3 * torch.randn(p.shape, generator=rng))
            if name in ("embedding.weight", "head.weight"):
                p.mul_(20)  # so that the likeliest token is no matter of rounding
    return model


def asked(left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens int64[4, 7] and a mask, padded on the left or not at all."""
    tokens = torch.randint(1, len(VOCABULARY), (4, 7), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(tokens)
    if left:
        for row, pad in enumerate((0, 2, 3, 0)):
            tokens[row, :pad], mask[row, :pad] = 0, 0
    return tokens, mask


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every variant exported, loaded by transformers and asked."""
    out = tmp_path_factory.mktemp("hf")
    for name, fields in VARIANTS.items():
        export_hf(built(fields), VOCABULARY, out / name)
        tokens, mask = asked(left=True)
        np.savez(out / name / "asked.npz", tokens=tokens.numpy(), mask=mask.numpy())
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(out / ".home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT],
        cwd=out,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return {name: out / name for name in VARIANTS}


@needs_transformers
@pytest.mark.parametrize("name", VARIANTS)
def test_transformers_says_what_we_say(name: str, folders: dict[str, Path]) -> None:
    model, (tokens, mask) = built(VARIANTS[name]), asked(left=True)
    told = np.load(folders[name] / "told.npz")
    real = mask.bool()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        outputs = model(tokens, positions=positions, attention_mask=real)
        more = model(tokens, 4, positions=positions, attention_mask=real).logits()
        logits = outputs.logits()
    for found, wanted in ((told["logits"], logits), (told["more"], more), (told["again"], logits)):
        np.testing.assert_allclose(
            found[real], wanted[real], rtol=0, atol=1e-5 * wanted.abs().max()
        )
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert float(told["loss"]) == pytest.approx(float(loss), rel=1e-5)
    if model.halting is None:
        ours = generate(model, tokens, 4, attention_mask=real, cache=CacheSettings())
        assert (told["written"][:, 7:] == ours.tokens.numpy()).all()
    if model.gate is not None and model.halting is None:
        from models.exits import exit_log_probabilities

        exits = exit_log_probabilities(outputs.exit_logits()).exp().detach()
        np.testing.assert_allclose(told["exits"][:, real], exits[:, real], rtol=0, atol=1e-6)


def test_a_folder_has_all_it_needs(tmp_path: Path) -> None:
    model = built(VARIANTS["around"])
    export_hf(model, VOCABULARY, tmp_path / "m")
    names = {path.name for path in (tmp_path / "m").iterdir()}
    code = {"configuration_loopscope.py", "modeling_loopscope.py"}
    files = {"config.json", "generation_config.json", "model.safetensors", "vocabulary.json"}
    assert names == code | files
    for name in code:
        text = (tmp_path / "m" / name).read_text()
        for package in ("models", "experiments", "generators", "probes"):
            assert f"from {package}" not in text and f"import {package}" not in text
    assert json.loads((tmp_path / "m" / "config.json").read_text()) == config_of(model)
    assert json.loads((tmp_path / "m" / "vocabulary.json").read_text())[0] == "<pad>"
    with pytest.raises(LoopscopeError, match="exists already"):
        export_hf(model, VOCABULARY, tmp_path / "m")


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.conversion.interop.save_file", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_hf(built({}), VOCABULARY, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_trained_run_is_exported(tmp_path: Path) -> None:
    config = RunConfig.model_validate(
        {
            "task": MultiHop(entities=8, relations=4, hops=2),
            "model": LoopedConfig(width=8, heads=1, loops=2),
            "training": {"batch": 8, "phases": [{"until_step": 2}]},
            "observe": {"probes": []},
        }
    )
    train(config, RunFolder(tmp_path / config.run_id))
    folder = export_run(config.run_id, tmp_path / "m", tmp_path, "hf")
    tokens = json.loads((folder / "vocabulary.json").read_text())
    assert tuple(tokens) == config.bound_task().vocabulary.tokens
