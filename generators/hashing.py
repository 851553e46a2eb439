"""Fixed hashes of integers, for splits that do not depend on sampling."""

import numpy as np


def mix(number: np.ndarray, salt: int) -> np.ndarray:
    """uint64[...], a fixed function of each number and the salt (SplitMix64)."""
    with np.errstate(over="ignore"):
        z = number.astype(np.uint64) + np.uint64(salt % 2**64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return z


def unit_hash(number: np.ndarray, salt: int) -> np.ndarray:
    """float64[n] in [0, 1), a fixed function of each number and the salt."""
    return (mix(number, salt) >> np.uint64(11)).astype(np.float64) * 2.0**-53
