"""The straightforward way to write the online tasks, as an oracle of the tests.

As in plain_tasks: each function gives a writer of one training document at a time.
What is held out is told by a checksum of the problem; such problems are drawn again.
"""

import random
import zlib
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from plain_tasks import Document, Writer, asked


def held_out(task: Any, problem: Any) -> bool:
    """Whether a problem is kept from training."""
    return zlib.crc32(repr(problem).encode()) < task.held_out * 2**32


def mano(task: Any) -> Writer:
    """Expands an expression recursively, in prefix notation."""
    index, M = task.vocabulary.index, task.modulus

    def expand(rng: random.Random, size: int, words: list[str]) -> int:
        if size == 0:
            value = rng.randrange(M)
            words.append(str(value))
            return value
        operator = rng.choice(task.operators)
        words.append(operator)
        left = rng.randrange(size)
        a, b = expand(rng, left, words), expand(rng, size - 1 - left, words)
        return (a + b if operator == "+" else a - b if operator == "-" else a * b) % M

    def write(rng: random.Random) -> Document:
        size = rng.randint(1, task.length)
        while True:
            words = ["<bos>", f"<len_{size}>"]
            value = expand(rng, size, words)
            if size == 1 or not held_out(task, words):
                break
        words += ["<ans>", str(value)]
        return asked([index[word] for word in words], scored=len(words) - 1)

    return write


def spelling(task: Any) -> Callable[[random.Random, int], list[list[str]]]:
    """Draws different words, each a list of its tokens, of which the last marks the end."""
    words = task.words

    def draw(rng: random.Random, n: int) -> list[list[str]]:
        found: dict[tuple[int, ...], list[str]] = {}
        while len(found) < n:
            length = rng.randint(words.shortest, words.longest)
            letters = tuple(rng.randint(1, words.symbols) for _ in range(length))
            found[letters] = [*(f"{x}-" for x in letters[:-1]), str(letters[-1])]
        return list(found.values())

    return draw


def size_of(task: Any) -> Callable[[random.Random], int]:
    """Draws a number of nodes from the size law."""
    from generators.support.sizes import SMALLEST, size_law

    known = range(SMALLEST, task.nodes + 1)
    weights = list(accumulate(size_law(task.nodes, task.sizes).tolist()))
    return lambda rng: rng.choices(known, cum_weights=weights)[0]


def depo(task: Any) -> Writer:
    """Shuffles the edges of a cycle of words and walks along it for every query."""
    words, size, index = spelling(task), size_of(task), task.vocabulary.index

    def write(rng: random.Random) -> Document:
        n = size(rng)
        while True:
            cycle = words(rng, n)
            rng.shuffle(cycle)
            edges = [(cycle[i], cycle[(i + 1) % n]) for i in range(n)]
            if n < task.nodes or not held_out(task, sorted(edges)):
                break
        rng.shuffle(edges)
        text = ["<bos>", *(token for a, b in edges for token in (*a, *b))]
        scored = [0] * len(text)
        answers = []
        for node in rng.sample(range(n), min(n, task.queries)):
            hops = rng.randint(1, task.hops)
            question = [f"<{hops}>", *cycle[node], "<ans>"]
            answer = cycle[(node + hops) % n]
            answers.append((len(text) + len(question), len(text) + len(question) + len(answer)))
            text += question + answer
            scored += [0] * len(question) + [1] * len(answer)
        return [index[token] for token in text], scored, answers[0]

    return write


def brevo(task: Any) -> Writer:
    """Draws a graph node by node, finds what the query needs and pops it in random order."""
    from generators.support.dags import DEGREE

    words, size, index = spelling(task), size_of(task), task.vocabulary.index

    def graph(rng: random.Random, n: int) -> list[list[int]]:
        leaves, children = rng.randint(1, (n - 1) // 4 + 1), [0] * n
        parents: list[list[int]] = [[] for _ in range(n)]
        for node in range(leaves, n):
            free = [i for i in range(node) if children[i] < DEGREE]
            parents[node] = rng.sample(free, rng.randint(1, min(DEGREE, len(free))))
            for parent in parents[node]:
                children[parent] += 1
        return parents

    def order(rng: random.Random, parents: list[list[int]], query: int) -> list[int]:
        needed, waiting = {query}, [query]
        while waiting:
            new = [p for p in parents[waiting.pop()] if p not in needed]
            needed.update(new)
            waiting += new
        found: list[int] = []
        while needed:
            if task.order == "leaves":
                ready = [i for i in sorted(needed) if all(p not in needed for p in parents[i])]
            else:
                ready = [i for i in sorted(needed) if all(i not in parents[c] for c in needed)]
            node = rng.choice(ready)
            needed.remove(node)
            found.append(node)
        return found if task.order == "leaves" else found[::-1]

    def write(rng: random.Random) -> Document:
        n = size(rng)
        parents = graph(rng, n)
        while True:
            names = words(rng, n)
            rng.shuffle(names)
            edges = [(names[p], names[c]) for c in range(n) for p in parents[c]]
            if n not in task.difficulties or not held_out(task, sorted(edges)):
                break
        rng.shuffle(edges)
        query = n - 1 if task.query == "last" else rng.randrange(3 * n // 4, n)
        text = ["<bos>", *(token for a, b in edges for token in (*a, *b))]
        text += ["<query>", *names[query], "<ans>"]
        answer = [token for node in order(rng, parents, query) for token in names[node]]
        return asked([index[token] for token in [*text, *answer, "<eos>"]], len(answer) + 1)

    return write


def phop(task: Any) -> Writer:
    """Plants the hops from the right, then fills in symbols that leave them as they are."""
    from generators.phop import GAP

    A, T, index = task.alphabet, task.length, task.vocabulary.index

    def plant(rng: random.Random, hops: int) -> tuple[list[int], int]:
        chain = [rng.randrange(A)]
        for _ in range(hops):
            chain.append((chain[-1] + rng.randrange(1, A)) % A)
        cuts = sorted(rng.randrange(T - 1 - GAP * hops) for _ in range(hops))
        places = [T - 1 - GAP * j - cut for j, cut in enumerate([0, *cuts])]
        sequence, hop = [0] * T, 0
        for i in range(T - 2, -1, -1):
            if hop < hops:
                other = rng.randrange(A - 1)
                sequence[i] = other + (other >= chain[hop])
            else:
                sequence[i] = rng.randrange(A)
            if hop < hops and i == places[hop + 1]:
                hop += 1
        for j, place in enumerate(places):
            sequence[place] = chain[j]
            if j:
                sequence[place - 1] = chain[j - 1]
        return sequence, chain[-1]

    def write(rng: random.Random) -> Document:
        hops = rng.randint(1 if task.mixed else task.hops, task.hops)
        while True:
            sequence, last = plant(rng, hops)
            if not held_out(task, sequence):
                break
        words = [f"<{hops}>", *(chr(97 + s) for s in sequence), "<ans>", chr(97 + last)]
        return asked([index[word] for word in words])

    return write


def copy(task: Any) -> Writer:
    """Writes random symbols twice."""
    index = task.vocabulary.index

    def write(rng: random.Random) -> Document:
        n = rng.randint(task.fewest, task.length)
        while True:
            draw = rng.sample if task.distinct else rng.choices
            symbols = [str(i) for i in draw(range(task.symbols), k=n)]
            if not held_out(task, symbols):
                break
        return asked([index[word] for word in ["<bos>", *symbols, "<copy>", *symbols]], n)

    return write


def mqar(task: Any) -> Writer:
    """Tells the pairs, draws one place after another and fills in what is left."""
    index = task.vocabulary.index

    def write(rng: random.Random) -> Document:
        n = rng.randint(task.least, task.pairs)
        while True:
            keys = rng.sample(range(task.keys), n)
            values = rng.sample(range(task.values), n)
            if not held_out(task, sorted(zip(keys, values, strict=True))):
                break
        text = [t for k, v in zip(keys, values, strict=True) for t in (f"k{k}", f"v{v}")]
        fillers = [f"k{k}" for k in range(task.keys) if k not in keys]
        fillers += [f"v{v}" for v in range(task.values)]
        rest = [rng.choice(fillers) if task.filler else "_" for _ in range(task.length - 2 * n)]
        places, free = [], list(range(len(rest) // 2))
        for _ in range(n):
            (place,) = rng.choices(free, [(s + 1) ** (task.power - 1) for s in free])
            free.remove(place)
            places.append(place)
        rng.shuffle(places)
        for i, place in enumerate(places):
            rest[2 * place : 2 * place + 2] = text[2 * i : 2 * i + 2]
        tokens = [index[word] for word in ["<bos>", *text, *rest]]
        mask = [0] * len(tokens)
        for place in places:
            mask[2 + 2 * n + 2 * place] = 1
        start = 2 + 2 * n + 2 * rng.choice(places)
        return tokens, mask, (start, start + 1)

    return write


ONLINE = {f.__name__: f for f in (mano, depo, brevo, phop, copy, mqar)}
