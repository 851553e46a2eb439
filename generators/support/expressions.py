"""Random arithmetic expressions in prefix notation, many at a time.

Legend: B expressions, ℓ operators in one, P = 2·max ℓ + 1 symbols of the longest, M modulus,
O operators to choose from. Arrays are [P, B]; a place is an index into such an array, flattened.
"""

from dataclasses import dataclass

import numpy as np

from generators.hashing import mix

OPERATORS = {"+": np.add, "-": np.subtract, "*": np.multiply}


@dataclass(frozen=True)
class Shapes:
    """Trees of expressions.

    Attributes:
        sizes: int32[P, B], operators in the subtree that begins at each symbol; 0 at a leaf,
            -1 beyond the end.
        depth: int32[B], operators on the longest way from the root to a leaf.
        levels: places of all operators of one depth, of their left and of their right operands,
            int64[·] each, from the roots downwards.
    """

    sizes: np.ndarray
    depth: np.ndarray
    levels: list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def draw_shapes(rng: np.random.Generator, operators: np.ndarray) -> Shapes:
    """Trees with int[B] operators each, 1 or more.

    Of the ℓ - 1 operators below an operator a uniform number, 0 … ℓ - 1, goes to the left. The
    left operand begins right after the operator, the right one where the left one ends.
    """
    n, length = len(operators), 2 * int(operators.max()) + 1
    uniform = rng.random((length, n), np.float32).ravel()
    beyond = np.arange(length, dtype=np.int32)[:, None] > (2 * operators).astype(np.int32)
    sizes = -beyond.astype(np.int32)
    sizes[0] = operators
    flat, depth = sizes.ravel(), np.zeros(n, np.int32)
    levels = []
    tree = at = np.arange(n)
    size = operators.astype(np.int32)
    while len(at):
        depth[tree] = len(levels) + 1
        on_left = (uniform[at] * size).astype(np.int32)
        left = at + n
        right = left + (2 * on_left.astype(np.int64) + 1) * n
        levels.append((at, left, right))
        at, size = np.concatenate([left, right]), np.concatenate([on_left, size - 1 - on_left])
        flat[at] = size
        inner = np.flatnonzero(size)
        at, size, tree = at[inner], size[inner], np.concatenate([tree, tree])[inner]
    return Shapes(sizes, depth, levels)


def evaluate(shapes: Shapes, symbols: np.ndarray, table: np.ndarray) -> np.ndarray:
    """int[P, B], value of the subexpression that begins at each symbol; 0 beyond the end.

    Args:
        symbols: int[P, B], operator number or operand, 0 beyond the end.
        table: [O, M, M], result of each operator for its two operands.
    """
    modulus = table.shape[1]
    results = table.astype(symbols.dtype).ravel()
    values = symbols.ravel().copy()
    for at, left, right in reversed(shapes.levels):
        index = values[at].astype(np.int64)  # still the number of the operator
        values[at] = results[(index * modulus + values[left]) * modulus + values[right]]
    return values.reshape(symbols.shape)


def fingerprints(
    shapes: Shapes, symbols: np.ndarray, commutes: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """uint64[n], equal for expressions that differ only in the order of commuting operands.

    Args:
        symbols: as in `evaluate`.
        commutes: bool[O], whether the operands of an operator may change places.
        rows: int[n], the expressions that are wanted.
    """
    wanted = np.zeros(symbols.shape[1], bool)
    wanted[rows] = True
    flat = symbols.ravel()
    found = mix(np.arange(int(flat.max()) + 1), 1)[flat]
    with np.errstate(over="ignore"):
        for level in reversed(shapes.levels):
            here = wanted[level[0] % symbols.shape[1]]
            at, left, right = (place[here] for place in level)
            first, second = found[left], found[right]
            second = np.where(commutes[flat[at]], second, mix(second, 3))
            found[at] = mix(found[at] + first + second, 2)
    return found[rows]


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
