"""Runs that start from another point of their grid, which is named by what it is called there."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.grid.expansion import Combination, label_of
from generators.plugins import nearest

#: the key of a reference that names a part; every other one is an axis
PART = "part"
#: in place of the id of a run that cannot be made, so that what else is wrong is found
UNKNOWN = "unknown-0x0-000000000000"


def targets_of(
    combinations: Sequence[Combination], references: Mapping[int, Mapping[str, Any]]
) -> tuple[dict[int, int], dict[int, str]]:
    """The point that each reference means.

    Args:
        references: index of a point -> part and labels of the one that it starts from, which
            agrees with it in everything else: {arm: uniform}.

    Returns:
        index -> index of the point that it starts from, and index -> what is wrong.
    """
    found: dict[int, int] = {}
    wrong: dict[int, str] = {}
    for i, reference in references.items():
        try:
            found[i] = _target(reference, combinations[i], combinations)
        except ValueError as error:
            wrong[i] = str(error)
    for i in found:
        if i in (around := _chain(i, found)):
            names = " -> ".join(_name(combinations[j]) for j in (i, *around))
            wrong[i] = f"goes round in a circle: {names}"
    return {i: j for i, j in found.items() if i not in wrong}, wrong


def starts_first(count: int, targets: Mapping[int, int]) -> list[int]:
    """The numbers 0 … count-1, every point after the one that it starts from."""
    return sorted(range(count), key=lambda i: len(_chain(i, targets)))


def _chain(i: int, targets: Mapping[int, int]) -> list[int]:
    """The points before i, the nearest first, up to one without a start or one seen before."""
    chain: list[int] = []
    while (i := targets.get(i, -1)) >= 0 and i not in chain:
        chain.append(i)
    return chain


def _target(
    reference: Mapping[str, Any], here: Combination, combinations: Sequence[Combination]
) -> int:
    """The index of the point that a reference means.

    Raises:
        ValueError: there is no such point, or there are several.
    """
    if not reference:
        raise ValueError("names no point; give an axis and a label of it, such as {arm: uniform}")
    wanted = {key: label_of(value) for key, value in reference.items()}
    part = wanted.pop(PART, here.part)
    _check_words(part, wanted, combinations)

    def fits(other: Combination) -> bool:
        agreed = {k: v for k, v in here.labels.items() if k in other.labels} | wanted
        return other.part == part and all(other.labels.get(k) == v for k, v in agreed.items())

    found = [i for i, other in enumerate(combinations) if fits(other)]
    if len(found) == 1:
        return found[0]
    told = ", ".join(f"{k} {v}" for k, v in {**here.labels, **wanted}.items())
    if not found:
        raise ValueError(f"no point of {_part_name(part)} has {told or 'these labels'}")
    axes = set().union(*(combinations[i].labels for i in found)) - {*here.labels, *wanted}
    raise ValueError(
        f"{len(found)} points of {_part_name(part)} have {told or 'these labels'}; "
        f"say which: {', '.join(sorted(axes)) or 'they have the same labels'}"
    )


def _check_words(part: str, wanted: Mapping[str, str], combinations: Sequence[Combination]) -> None:
    """Checks the words of a reference.

    Raises:
        ValueError: a part, an axis or a label does not exist.
    """
    parts = {c.part for c in combinations}
    if part not in parts:
        raise ValueError(f"there is no part {part!r}{nearest(part, sorted(parts))}")
    axes: dict[str, dict[str, None]] = {}
    for combination in combinations:
        for axis, label in combination.labels.items():
            axes.setdefault(axis, {})[label] = None
    for axis, label in wanted.items():
        if axis not in axes:
            raise ValueError(
                f"the grid has no axis {axis!r}{nearest(axis, [*axes, PART])}; a start is the id "
                "of a run, or a point of this grid by its `part` and the labels of its axes"
            )
        if label not in axes[axis]:
            hint = nearest(label, axes[axis])
            raise ValueError(f"axis {axis} has no {label!r}{hint}; it has {', '.join(axes[axis])}")


def _part_name(part: str) -> str:
    return f"part {part}" if part else "the grid"


def _name(combination: Combination) -> str:
    return " ".join(filter(None, (combination.part, *combination.labels.values()))) or "the run"
