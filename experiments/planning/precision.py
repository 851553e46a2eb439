"""Whether this processor computes in half precision as fast as a run that asks for it expects."""

from collections.abc import Iterable, Iterator

from experiments.config.run import RunConfig
from experiments.machine import gpus, processor_name


def multiplies_bf16() -> bool:
    """Whether torch's matrix products in bfloat16 use this processor's vector units.

    Without AVX-512 (or its counterpart elsewhere) torch falls back to a loop over elements, about
    thirty times slower than float32.
    """
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def slow_precision(configs: Iterable[RunConfig]) -> Iterator[str]:
    """At most one warning: runs ask for bf16 and will be worked on by a processor without it."""
    half = sum(config.training.precision == "bf16" for config in configs)
    if half and not gpus() and not multiplies_bf16():
        yield (
            f"{half} runs have precision: bf16, which this processor ({processor_name()}) lacks: "
            "its matrix products are many times slower than in fp32 here; "
            "--set training.precision=fp32 trains other runs, with ids of their own"
        )
