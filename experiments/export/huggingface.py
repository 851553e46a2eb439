"""A folder that `transformers` loads, with the code of the model in it.

AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
"""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import LoopscopeError
from generators.vocabulary import Vocabulary

if TYPE_CHECKING:
    from models.looped import LoopedTransformer

CODE = Path(__file__).parent / "hf"
MODULES = ("configuration_loopscope", "modeling_loopscope")
#: values of settings that the exported code knows, where there are others
KNOWN: dict[str, tuple[Any, ...]] = {
    "kind": ("looped",),
    "injection": ("none", "once", "add", "concat"),
    "initial_state": (None,),
    "norm": ("pre", "sandwich"),
    "qk_norm": (False,),
    "residual_scale": (None,),
    "layer_scale": (None,),
}


def export_hf(model: "LoopedTransformer", vocabulary: Vocabulary, folder: Path) -> None:
    """Writes the folder as a whole or not at all.

    `config.json`, `generation_config.json`, `model.safetensors` (parameters under their own
    names), the code, and `vocabulary.json`, the tokens in the order of their ids: there is no
    tokenizer, since the tokens of a task are no pieces of text.

    Raises:
        LoopscopeError: there is something under that name already.
        ValueError: a setting that the exported code does not know.
    """
    from models.conversion.interop import save_tensors

    if folder.exists():
        raise LoopscopeError(f"{folder} exists already; remove it or give another name")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        partial.mkdir()
        for name in MODULES:
            shutil.copyfile(CODE / f"{name}.py", partial / f"{name}.py")
        _write(partial / "config.json", config_of(model))
        _write(partial / "generation_config.json", {"pad_token_id": 0, "use_cache": False})
        _write(partial / "vocabulary.json", list(vocabulary.tokens))
        tensors = {name: p.detach().contiguous() for name, p in model.named_parameters()}
        save_tensors(tensors, partial / "model.safetensors", {"format": "pt"})
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def config_of(model: "LoopedTransformer") -> dict[str, Any]:
    """The content of config.json.

    Raises:
        ValueError: a setting that the exported code does not know.
    """
    config = model.config
    for name, known in KNOWN.items():
        if (value := getattr(config, name)) not in known:
            raise ValueError(f"the exported code has no {name} {value}, only {known}")
    shape = config.model_dump(mode="json", exclude={"kind", "loops"})
    shape |= {"mlp_hidden": config.hidden, "loop_rows": config.embedded_loops}
    return {
        "model_type": "loopscope",
        "architectures": ["LoopscopeForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_loopscope.LoopscopeConfig",
            "AutoModelForCausalLM": "modeling_loopscope.LoopscopeForCausalLM",
        },
        "dtype": "float32",
        "vocab_size": model.vocabulary_size,
        "shape": shape,
        "loops": config.loops,
        "gate": model.gate is not None,
        "halting": model.halting,
        "pad_token_id": 0,
    }


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
