"""Memory that a run is told to need, against what autograd keeps of the model that is built."""

from typing import Any

import pytest

from experiments.config.memory import block_applications, kept_by_loops, run_memory
from experiments.config.run import RunConfig
from generators.plugins import choices
from models.config import LoopedConfig
from models.model import ModelConfig

FLOAT = 4
VOCABULARY, TOKENS = 64, 32
CASES: dict[str, dict[str, Any]] = {
    "none": {"injection": "none"},
    "add": {"injection": "add"},
    "concat": {"injection": "concat"},
    "gated": {"injection": "gated"},
    "diagonal": {"injection": "diagonal"},
    "film": {"kind": "film"},
    "first keys": {"kind": "first-keys"},
    "lora": {"kind": "lora", "rank": 16},
    "two streams": {"kind": "hyper-connections", "streams": 2},
    "eight streams": {"kind": "hyper-connections", "streams": 8},
    "channel": {"kind": "disco-loop"},
    "many words": {"kind": "disco-loop", "vocabulary": 512},
    "much memory": {"kind": "memory-tokens", "memory": 128},
}


def shape(case: str, loops: int = 4) -> tuple[LoopedConfig, int]:
    """A model, and words of its vocabulary."""
    fields = {"kind": "looped", **CASES[case]}
    words = fields.pop("vocabulary", VOCABULARY)
    known = choices(ModelConfig, "models")[fields["kind"]]
    found = known.model_validate({"width": 64, "heads": 2, "loops": loops} | fields)
    assert isinstance(found, LoopedConfig)
    return found, words


def test_every_kind_has_a_case() -> None:
    assert set(choices(ModelConfig, "models")) == {
        fields.get("kind", "looped") for fields in CASES.values()
    }


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("loops", [1, 4])
def test_what_a_pass_keeps_is_estimated_from_above(case: str, loops: int) -> None:
    model, words = shape(case, loops)
    measured = model.kept_bytes(words, context=TOKENS, n_loops=loops) / FLOAT
    calls, kept = block_applications(model, loops, losses=1)
    told = TOKENS * calls * kept + kept_by_loops(model, words, TOKENS, loops, recompute=False)
    assert measured <= told <= 1.3 * measured


@pytest.mark.parametrize("case", CASES)
def test_between_loops_that_are_computed_again_states_alone_are_kept(case: str) -> None:
    def kept(loops: int, recompute: bool) -> int:
        return kept_by_loops(model, words, TOKENS, loops, recompute)

    model, words = shape(case)
    assert kept(9, True) - kept(8, True) == TOKENS * model.carried
    assert kept(8, True) <= kept(8, False)


def test_streams_need_memory_of_a_run() -> None:
    def needed(streams: int) -> int:
        return run_memory(
            RunConfig.model_validate(
                {
                    "task": {"kind": "multihop", "entities": 8, "relations": 4, "hops": 2},
                    "model": {"kind": "hyper-connections", "width": 64, "streams": streams},
                    "training": {"batch": 512, "phases": [{"until_step": 1}]},
                }
            )
        )

    assert needed(8) - needed(4) > 4 * (needed(3) - needed(2)) * 0.99 > 0
