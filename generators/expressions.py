"""Random arithmetic expressions in prefix notation, many at a time.

Legend: B expressions, ℓ operators in one, P = 2·max ℓ + 1 symbols of the longest, M modulus,
O operators to choose from. Arrays are [P, B], so that what is done at once lies together, and
expressions come longest first: the active ones are then the first columns.
"""

from dataclasses import dataclass

import numpy as np

OPERATORS = {"+": np.add, "-": np.subtract, "*": np.multiply}
#: sizes are kept in the low bits of a number, levels above them
LEVEL = 1 << 16


@dataclass(frozen=True)
class Shapes:
    """Trees of expressions.

    Attributes:
        sizes: int32[P, B], operators in the subtree that begins at each symbol; 0 at a leaf,
            -1 beyond the end.
        depth: int32[B], operators on the longest way from the root to a leaf.
        active: int64[P], expressions that have a symbol there.
    """

    sizes: np.ndarray
    depth: np.ndarray
    active: np.ndarray


def draw_shapes(rng: np.random.Generator, operators: np.ndarray) -> Shapes:
    """Trees with int[B] operators each (in falling order).

    Of the ℓ - 1 operators below an operator a uniform number, 0 … ℓ - 1, goes to the left.
    """
    n, most = len(operators), int(operators[0])
    length = 2 * most + 1
    active = (2 * operators[:, None] + 1 > np.arange(length)).sum(0)
    uniform = rng.random((length, n), np.float32)
    sizes = np.full((length, n), -1, np.int32)
    depth = np.zeros(n, np.int32)
    # right subtrees that wait; row 0 is read once, after the last leaf
    stack = np.zeros((most + 2) * n, np.int32)
    top = np.arange(n) + n
    current = operators.astype(np.int32)
    for p, m in enumerate(active):
        here, at = current[:m], top[:m]
        size, level = here & (LEVEL - 1), here & -LEVEL
        sizes[p, :m] = size
        np.maximum(depth[:m], level, out=depth[:m])
        inner = size > 0
        left = (uniform[p, :m] * size).astype(np.int32)
        below = level + LEVEL
        waiting = stack[at - n]
        stack[at] = below + (size - 1 - left)
        current[:m] = np.where(inner, below + left, waiting)
        at += np.where(inner, n, -n)
    return Shapes(sizes, depth // LEVEL, active)


def evaluate(shapes: Shapes, symbols: np.ndarray, table: np.ndarray) -> np.ndarray:
    """int[P, B], value of the subexpression that begins at each symbol; 0 beyond the end.

    Args:
        symbols: int[P, B], operator number or operand.
        table: [O, M, M], result of each operator for its two operands.
    """
    length, n = symbols.shape
    modulus = table.shape[1]
    results = table.astype(symbols.dtype).ravel()
    values = np.zeros_like(symbols)
    # two more rows below, which leaves read in vain
    stack = np.zeros((length + 4) * n, symbols.dtype)
    top = np.arange(n) + 2 * n
    for p in range(length - 1, -1, -1):
        m = int(shapes.active[p])
        at, symbol = top[:m], symbols[p, :m]
        inner = shapes.sizes[p, :m] > 0
        first, second = stack[at - n], stack[at - 2 * n]
        index = np.where(inner, symbol, 0).astype(np.int64)
        result = results[(index * modulus + first) * modulus + second]
        value = np.where(inner, result, symbol)
        values[p, :m] = value
        at -= np.where(inner, 2 * n, 0)
        stack[at] = value
        at += n
    return values


def answer_law(most: int, modulus: int, operators: str) -> np.ndarray:
    """float64[most + 1, M], distribution of the value of an expression with 0 … most operators.

    Exact, by dynamic programming over the number of operators on the left.
    """
    law = np.zeros((most + 1, modulus))
    law[0] = 1 / modulus
    table = operator_table(modulus, operators)
    for size in range(1, most + 1):
        pair = law[:size].T @ law[size - 1 :: -1][:size] / size  # [M, M] of both operands
        for results in table:
            law[size] += np.bincount(results.ravel(), pair.ravel(), modulus) / len(table)
    return law


def operator_table(modulus: int, operators: str) -> np.ndarray:
    """int64[O, M, M], result of each operator modulo M."""
    a, b = np.indices((modulus, modulus))
    return np.stack([OPERATORS[o](a, b) % modulus for o in operators])
