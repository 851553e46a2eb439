"""A run in half precision on a processor without it is warned of."""

import time

import pytest
import torch

from experiments.config.run import RunConfig
from experiments.grid.grid import load_grid
from experiments.planning import precision
from experiments.planning.precision import multiplies_bf16, slow_precision


def runs(kind: str) -> list[RunConfig]:
    return list(load_grid("quick", [f"training.precision={kind}"]).runs.values())


@pytest.fixture(params=[True, False])
def able(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: request.param)
    monkeypatch.setattr(precision, "gpus", lambda: ())
    return request.param


def test_only_a_processor_without_bf16_is_warned_of_and_once(able: bool) -> None:
    found = list(slow_precision(runs("bf16")))
    assert len(found) == (0 if able else 1)
    assert able or found[0].startswith("6 runs have precision: bf16")
    assert not list(slow_precision(runs("fp32")))


def test_a_gpu_computes_it(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "gpus", lambda: (("some GPU", 2**30),))
    assert not list(slow_precision(runs("bf16")))


@pytest.mark.slow
def test_the_processor_is_judged_as_a_measurement_would() -> None:
    """Products in bf16 take less than five times those in fp32 where it can, and more elsewhere."""

    def seconds(dtype: torch.dtype) -> float:
        left, right = torch.ones(512, 128, dtype=dtype), torch.ones(128, 512, dtype=dtype)
        best = float("inf")
        for _ in range(8):
            start = time.process_time()
            for _ in range(4):
                left @ right
            best = min(best, time.process_time() - start)
        return best

    ratio = seconds(torch.bfloat16) / seconds(torch.float32)
    assert ratio < 5 if multiplies_bf16() else ratio > 5
