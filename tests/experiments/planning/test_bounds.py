"""What is too large for this machine is refused before anything is made."""

import time
from typing import Any

import pytest

from experiments.config.memory import run_memory
from experiments.config.run import RunConfig
from experiments.grid.run_checks import problems


def config(loops: int = 1, steps: int = 10, **model: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "task": {"kind": "multihop"},
            "model": {"kind": "looped", "width": 32, "heads": 1, "loops": loops, **model},
            "training": {"batch": 32, "phases": [{"until_step": steps}]},
        }
    )


def wrong(monkeypatch: pytest.MonkeyPatch, memory: str, **changes: Any) -> list[str]:
    monkeypatch.setenv("LOOPSCOPE_MEMORY", memory)
    fields = config().model_dump(mode="json")
    for name, value in changes.items():
        part, _, key = name.partition("__")
        fields[part][key] = value
    found = problems(RunConfig.model_validate(fields))
    return list(dict.fromkeys(".".join(at) for at, _ in found))


def test_impossible_sizes_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.process_time()
    assert wrong(monkeypatch, "24G", task__entities=10**10) == ["task"]
    assert wrong(monkeypatch, "24G", model__width=10**7) == ["model"]
    assert wrong(monkeypatch, "24G", model__core=10**9) == ["model"]
    assert wrong(monkeypatch, "24G", model__loops=10**9) == ["model"]
    assert wrong(monkeypatch, "24G", training__batch=10**12) == ["training.batch"]
    assert time.process_time() - start < 1


def test_what_fits_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrong(monkeypatch, "24G", model__width=1024) == []
    assert wrong(monkeypatch, "100 MiB", model__width=1024) == ["model"]


def test_memory_counts_probabilities_where_attention_keeps_them() -> None:
    """Documents of 100 tokens are short in half precision alone."""
    needed = {}
    for precision in ("fp32", "bf16"):
        run = RunConfig.model_validate(
            {
                "task": {"kind": "random_sequences", "sequences": 64, "length": 99},
                "model": {"width": 32, "heads": 2, "core": 3, "loops": 2},
                "training": {
                    "batch": 16, "precision": precision, "phases": [{"until_step": 1}]
                },
            }
        )  # fmt: skip
        needed[precision] = run_memory(run)
    longest = run.task.context_length
    assert 64 < longest <= 512
    kept = 16 * longest * (3 * 2) * 2 * longest
    assert needed["bf16"] - needed["fp32"] == 4 * kept
