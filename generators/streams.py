"""Independent random streams, one generator per (seed, stream, step).

Every random number of the laboratory comes from `generator(seed, stream, step)`. The three
numbers are always given: `np.random.default_rng([s, 0])` equals `default_rng([s])`, so a key of
varying length would let two streams coincide.
"""

from enum import IntEnum

import numpy as np

#: Streams per mixture component; stream numbers stay below it.
STREAMS_PER_COMPONENT = 16


class Stream(IntEnum):
    """The purpose of a generator. Zero is no stream (see the module docstring)."""

    WORLD = 1  # the hidden facts
    INIT = 2  # the weights
    TRAIN = 3  # training documents, step = optimiser step
    EVALUATION = 4  # evaluation documents, step = split
    LOOPS = 5  # random numbers of loops
    ORDER = 6  # order of the documents within an epoch, step = epoch
    PROBE = 7  # bootstrap and other sampling inside probes
    NOISE = 8  # what a model draws in a training step, step = optimiser step


def generator(
    seed: int, stream: Stream, step: int = 0, *, component: int = 0
) -> np.random.Generator:
    """The generator of one stream at one step; `component` separates the parts of a mixture.

    Raises:
        ValueError: if a number is negative (numpy refuses negative entropy).
    """
    if min(seed, step, component) < 0:
        raise ValueError(
            f"seed, step and component must be 0 or more, got {seed}, {step}, {component}"
        )
    return np.random.default_rng([seed, int(stream) + STREAMS_PER_COMPONENT * component, step])
