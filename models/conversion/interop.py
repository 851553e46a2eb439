"""The published Ouro layout: names and shapes of its parameters, from and to safetensors.

Ouro keeps queries, keys and values apart, and the gate and up projections of the MLP; here both
are fused. Its four norms per layer are input_layernorm, input_layernorm_2 (on the attention's
output), post_attention_layernorm, and post_attention_layernorm_2 (on the MLP's output).
"""

import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.config import LoopedConfig
from models.looped import LoopedTransformer

#: ours -> Ouro's, outside the layers
OUTER = {
    "embedding.weight": "model.embed_tokens.weight",
    "final_norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
    "gate.weight": "model.early_exit_gate.weight",
    "gate.bias": "model.early_exit_gate.bias",
}
#: ours -> Ouro's parts of the rows, in order, within a layer
INNER = {
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.out": ("self_attn.o_proj",),
    "mlp.up": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down": ("mlp.down_proj",),
    "attention_norm": ("input_layernorm",),
    "attention_out_norm": ("input_layernorm_2",),
    "mlp_norm": ("post_attention_layernorm",),
    "mlp_out_norm": ("post_attention_layernorm_2",),
}
#: settings without which a model is no Ouro
REQUIRED = {
    "kind": "looped",
    "prelude": 0,
    "coda": 0,
    "norm": "sandwich",
    "qk_norm": False,
    "residual_scale": None,
    "layer_scale": None,
    "norm_between_loops": True,
    "mlp": "swiglu",
    "reuse": "cycle",
    "injection": "none",
    "loop_embedding": "none",
    "positions": "rope",
}


def ouro_names(layers: int, *, gate: bool) -> dict[str, tuple[str, ...]]:
    """Our parameter -> Ouro's, whose rows follow each other in ours."""
    names: dict[str, tuple[str, ...]] = {
        ours: (theirs,) for ours, theirs in OUTER.items() if gate or "gate" not in ours
    }
    for i in range(layers):
        for ours, theirs in INNER.items():
            parts = tuple(f"model.layers.{i}.{name}.weight" for name in theirs)
            names[f"core.{i}.{ours}.weight"] = parts
    return names


def ouro_tensors(model: LoopedTransformer) -> dict[str, Tensor]:
    """The weights under Ouro's names.

    Raises:
        ValueError: a setting that Ouro does not have.
    """
    config = model.config
    wrong = [
        f"{name} is {getattr(config, name)}, needs {needed}"
        for name, needed in REQUIRED.items()
        if getattr(config, name) != needed
    ]
    if wrong:
        raise ValueError(f"no model in the Ouro layout: {'; '.join(wrong)}")
    state, tensors = model.state_dict(), {}
    for ours, theirs in ouro_names(config.core, gate=model.gate is not None).items():
        for name, part in zip(theirs, state[ours].chunk(len(theirs)), strict=True):
            tensors[name] = part.detach().cpu().clone().contiguous()
    return tensors


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Writes a safetensors file as a whole or not at all.

    Raises:
        OSError: nothing can be written there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.touch()  # where nothing can be written this is an OSError, safetensors' is not
        save_file(tensors, partial, metadata=metadata)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_ouro(model: LoopedTransformer, path: Path) -> None:
    """The model in Ouro's layout; its config goes into the metadata, under `loopscope`.

    Raises:
        ValueError: a setting that Ouro does not have.
    """
    save_tensors(ouro_tensors(model), path, {"loopscope": model.config.model_dump_json()})


def load_ouro(path: Path | str, config: LoopedConfig | None = None) -> LoopedTransformer:
    """A model in eval mode from a safetensors file in Ouro's layout.

    Args:
        config: needed for a file that loopscope did not write: it says heads, loops and RoPE
            base, which no shape shows. The published one has 16 heads, 4 loops, base 1e6.

    Raises:
        ValueError: there is no config, or tensors are missing, unknown or of another shape.
    """
    with safe_open(str(path), "pt") as file:
        written = (file.metadata() or {}).get("loopscope")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if config is None:
        if written is None:
            raise ValueError(
                f"{path} does not say its heads, loops and RoPE base; give a LoopedConfig"
            )
        config = LoopedConfig.model_validate_json(written)
    gate = OUTER["gate.weight"] in tensors
    names = ouro_names(config.core, gate=gate)
    if config.tied and OUTER["head.weight"] not in tensors:
        names.pop("head.weight")
    wanted = {name for parts in names.values() for name in parts}
    if missing := sorted(wanted - set(tensors)):
        raise ValueError(f"{path} lacks {', '.join(missing)}; the config has core {config.core}")
    if unknown := sorted(set(tensors) - wanted):
        raise ValueError(f"{path} has {', '.join(unknown)}; the config has core {config.core}")
    rows = tensors[OUTER["embedding.weight"]].shape[0]
    model = config.build(rows, gate=gate, seed=0)
    state = {ours: torch.cat([tensors[name] for name in parts]) for ours, parts in names.items()}
    if "head.weight" not in state:
        state["head.weight"] = state["embedding.weight"]
    for name, parameter in model.state_dict().items():
        if state[name].shape != parameter.shape:
            raise ValueError(
                f"{path}: {' + '.join(names[name])} has shape {tuple(state[name].shape)}, "
                f"the config needs {tuple(parameter.shape)}"
            )
    model.load_state_dict(state)
    return model.eval()
