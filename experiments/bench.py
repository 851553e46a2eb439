"""Speed of the generators, beside the straightforward way: plain Python, one document at a time.

The plain versions exist for this comparison alone. They write the same kinds of documents, with
their mask and the span of the answer, from the same worlds; they draw other random numbers. Time is
that of the process, so that other programs on the machine disturb it little.
"""

import random
import time
from collections.abc import Callable
from typing import Any, cast

from experiments.errors import LoopscopeError
from experiments.plugins import choices, nearest
from generators.streams import Stream, generator
from generators.task import Task

#: a document: token ids, mask, answer span
Document = tuple[list[int], list[int], tuple[int, int]]
#: makes what is prepared once, then gives a function that writes one document
Plain = Callable[[Any], Callable[[random.Random], Document]]


def plain_multihop(task: Any) -> Callable[[random.Random], Document]:
    """Draws an entity and relations, walks, and looks in the set of held-out questions."""
    table = task.table.tolist()
    held_out = {
        (k, c) for k in task.difficulties[1:] for s in task.splits[1:] for c in task.listed(s, k)
    }
    E, R, index = task.entities, task.relations, task.vocabulary.index

    def write(rng: random.Random) -> Document:
        hops = rng.randint(1, task.hops)
        while True:
            start = rng.randrange(E)
            relations = [rng.randrange(R) for _ in range(hops)]
            number = start + E * sum(r * R**i for i, r in enumerate(relations))
            if (hops, number) not in held_out:
                break
        entity = start
        for relation in relations:
            entity = table[relation][entity]
        words = [f"<{hops}>", f"e{start}", *(f"r{r}" for r in relations), f"e{entity}"]
        tokens = [index[word] for word in words]
        answer = (len(tokens) - 1, len(tokens))
        return tokens, [0] * answer[0] + [1], answer

    return write


def plain_bios(task: Any) -> Callable[[random.Random], Document]:
    """Formats six templates, shuffles them and looks every word up."""
    from generators.biographies import NAME, VALUE_ROLES
    from generators.sentences import chosen_templates
    from generators.templates import ATTRIBUTES, DATE, PRONOUNS

    world, pools, index = task.world, task.values, task.vocabulary.index
    groups = chosen_templates(task.templates)

    def write(rng: random.Random) -> Document:
        person = rng.randrange(task.people)
        order = list(range(len(ATTRIBUTES)))
        if task.permute:
            rng.shuffle(order)
        name = [
            f"{role}:{getattr(pools, role)[world.names[person, i]]}" for i, role in enumerate(NAME)
        ]
        words = ["<bos>"]
        for place, a in enumerate(order):
            template = rng.choice(groups[a])
            if place == 0:
                words += name + (["'s"] if template.mention == "whose" else [])
            else:
                words.append(PRONOUNS[template.mention][world.facts["gender"][person]])
            words += template.before
            for slot in template.slots:
                if slot in DATE:
                    value = getattr(pools, slot)[world.dates[person, DATE.index(slot)]]
                    words.append(f"{slot}:{value}")
                else:
                    role = VALUE_ROLES[slot]
                    words.append(f"{role}:{getattr(pools, role)[world.facts[slot][person]]}")
            words += template.after
        tokens = [index[word] for word in words]
        return tokens, [0] + [1] * (len(tokens) - 1), (-1, -1)

    return write


def plain_mano(task: Any) -> Callable[[random.Random], Document]:
    """Expands one expression recursively, in prefix notation; ids need no look-up."""

    def expression(rng: random.Random, size: int, tokens: list[int]) -> int:
        if size == 0:
            value = rng.randrange(23)
            tokens.append(100 + value)
            return value
        operator = rng.randrange(3)
        tokens.append(operator)
        left = rng.randrange(size)
        first = expression(rng, left, tokens)
        second = expression(rng, size - 1 - left, tokens)
        return ((first + second), (first - second), (first * second))[operator] % 23

    def write(rng: random.Random) -> Document:
        size = rng.randint(1, task.difficulties[-1])
        tokens = [200, 300 + size]
        value = expression(rng, size, tokens)
        tokens += [201, 100 + value]
        return tokens, [1] * len(tokens), (len(tokens) - 1, len(tokens))

    return write


PLAIN: dict[str, Plain] = {"multihop": plain_multihop, "bios": plain_bios, "mano": plain_mano}


def measure_all(kinds: list[str] | None, *, batch: int, seconds: float) -> list[tuple[str, ...]]:
    """Rows for a table: kind, tokens in a document, millions a second, plain, ratio.

    Every task is taken at its default settings; the world is built before the clock starts.

    Raises:
        LoopscopeError: an unknown kind.
    """
    known = cast(dict[str, type[Task]], choices(Task, "generators"))
    for kind in kinds or ():
        if kind not in known:
            raise LoopscopeError(
                f"there is no task {kind!r}{nearest(kind, known)}; there are {', '.join(known)}"
            )
    rows: list[tuple[str, ...]] = [
        ("task", "tokens a document", "loopscope", "plain Python", "ratio")
    ]
    for kind in kinds or known:
        try:
            task = known[kind].model_validate({}).bind(0)
        except ValueError:
            rows.append((kind, "", "has fields without a default", "", ""))
            continue
        length, speed = measure(task, batch=batch, seconds=seconds)
        plain = measure_plain(PLAIN[kind](task), seconds=seconds) if kind in PLAIN else None
        rows.append(
            (
                kind,
                f"{length:.1f}",
                f"{speed / 1e6:.2f}",
                "" if plain is None else f"{plain / 1e6:.2f}",
                "" if plain is None else f"{speed / plain:.0f}",
            )
        )
    return rows


def measure(task: Task, *, batch: int, seconds: float) -> tuple[float, float]:
    """Mean tokens of a training document and tokens a second; masks and spans are made too."""
    step = documents = tokens = 0
    counted = task.items_per_exposure is not None

    def sample() -> Any:
        rng = generator(task.seed, Stream.TRAIN, step)
        return task.sample(rng, batch, index=step * batch if counted else None)

    sample()  # builds the world and its tables
    spent = 0.0
    while spent < seconds:
        start = time.process_time()
        made = sample()
        spent += time.process_time() - start
        step += 1
        documents += len(made)
        tokens += int((made.tokens != 0).sum())
    return tokens / documents, tokens / spent


def measure_plain(write: Callable[[random.Random], Document], *, seconds: float) -> float:
    """Tokens a second of a function that writes one document."""
    rng = random.Random(0)
    tokens = 0
    start = time.process_time()
    while (spent := time.process_time() - start) < seconds:
        for _ in range(64):
            tokens += len(write(rng)[0])
    return tokens / spent
