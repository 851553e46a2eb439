"""Different random strings over an alphabet.

Legend: n strings, L letters each, T letters in the alphabet.
"""

import numpy as np

#: up to here strings are numbered, beyond it numbers would not fit and repeats are unheard of
NUMBERED = 2**62


def distinct_strings(rng: np.random.Generator, n: int, length: int, alphabet: int) -> np.ndarray:
    """n different strings int64[n, L] of letters 0 … T-1, uniform among all such sets.

    Raises:
        ValueError: n is more than the T^L there are.
    """
    possible = alphabet**length
    if n > possible:
        raise ValueError(
            f"{n} different strings of {length} letters out of {alphabet} are more than the "
            f"{possible} there are; ask for fewer or for longer ones"
        )
    if possible <= NUMBERED:
        number = rng.choice(possible, n, replace=False)
        powers = alphabet ** np.arange(length - 1, -1, -1, dtype=np.int64)
        return number[:, None] // powers % alphabet
    while True:
        strings = rng.integers(0, alphabet, (n, length))
        if len({row.tobytes() for row in strings}) == n:
            return strings


def bytes_of_strings(n: int, length: int, alphabet: int) -> int:
    """Peak bytes of drawing n different strings."""
    if fewer_strings(NUMBERED + 1, length, alphabet):
        return bytes_of_choice(alphabet**length, n) + 24 * n * length
    return 16 * n * length + 64 * n


def bytes_of_choice(there_are: int, n: int) -> int:
    """Peak bytes of drawing n of so many numbers without replacement.

    numpy shuffles all of them where more than a fiftieth is wanted, else keeps a set.
    """
    return 8 * there_are if there_are > 10_000 and 50 * n > there_are else 32 * n


def fewer_strings(wanted: int, length: int, letters: int) -> bool:
    """Whether there are fewer strings of so many of 2 or more letters than wanted.

    Exact, and quick where there are more of them than a number can be written for.
    """
    return length < wanted.bit_length() and letters**length < wanted
