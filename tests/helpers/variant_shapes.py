"""One small model of every variant in `models/variants`, and the references of their parts."""

from typing import Any

from generators.plugins import choices
from models.config import LoopedConfig
from models.model import ModelConfig

FIELDS: dict[str, dict[str, Any]] = {
    "film": {"prelude": 1, "coda": 1, "loop_rows": 4},
    "lora": {"loop_rows": 4, "rank": 3, "tied": True},
    "hyper-connections": {"streams": 3, "injection": "gated"},
    "disco-loop": {"tied": True, "temperature": 0.7},
    "first-keys": {"prelude": 1, "coda": 1, "qk_norm": True, "norm_between_loops": False},
    "memory-tokens": {"memory": 3, "prelude": 1, "injection": "concat"},
}


def variant(kind: str, **changes: Any) -> LoopedConfig:
    """Width 16, two layers, three loops; and what makes it a case of its own."""
    fields = {"width": 16, "heads": 2, "core": 2, "loops": 3} | FIELDS[kind] | changes
    found = choices(ModelConfig, "models")[kind].model_validate(fields)
    assert isinstance(found, LoopedConfig)
    return found
