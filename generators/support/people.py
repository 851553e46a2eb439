"""The hidden facts about N people, drawn from the pools, and the words they are told in.

Legend: N people.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from generators.pools import Pools
from generators.support.sentences import CLOSING, GENITIVE, mentions, template_words
from generators.templates import DATE, PRONOUNS
from generators.vocabulary import BOS, Vocabulary

NAME = ("first", "middle", "last")
#: attributes of one token -> their pool
VALUE_ROLES = {
    "birth_city": "city",
    "university": "university",
    "major": "major",
    "employer": "company",
    "company_city": "headquarters",
}
#: pools whose entries are tokens `role:entry`
ROLES = (*NAME, *DATE, *VALUE_ROLES.values())


@dataclass(frozen=True)
class People:
    """Names and values of each person, as indices into the pools.

    Attributes:
        names: int64[N, 3], first, middle, last; no two people share all three.
        dates: int64[N, 3], month, day, year of birth.
        facts: attribute -> int64[N]. `birth_date` numbers the dates by month, day, year;
            `company_city` is that of the employer; `gender` is 0 for he, 1 for she.
    """

    names: np.ndarray
    dates: np.ndarray
    facts: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.names)


def draw_names(
    rng: np.random.Generator, n: int, pools: Pools, taken: np.ndarray | None = None
) -> np.ndarray:
    """Numbers of n different full names, int64[n], none of them in `taken` (int64[m], distinct).

    Drawn without replacement, by Floyd's algorithm where n is a small part of them, so that
    memory grows with n and not with the 1.6e8 names.

    Raises:
        ValueError: n is more than the names there are (from numpy).
    """
    if taken is None:
        return rng.choice(pools.names, n, replace=False)
    number = rng.choice(pools.names - len(taken), n, replace=False)
    gaps = np.sort(taken) - np.arange(len(taken))  # free names before each taken one
    return number + np.searchsorted(gaps, number, side="right")


def draw_people(
    rng: np.random.Generator, n: int, pools: Pools, taken: np.ndarray | None = None
) -> People:
    """n people: different full names, every value uniform and independent.

    Args:
        taken: numbers of names that belong to others.

    Raises:
        ValueError: n is more than the names there are (from numpy).
    """
    number = draw_names(rng, n, pools, taken)
    sizes = (len(pools.first), len(pools.middle), len(pools.last))
    date = rng.integers(0, pools.dates, n)
    date_sizes = (len(pools.month), len(pools.day), len(pools.year))
    facts = {
        "birth_date": date,
        "birth_city": rng.integers(0, len(pools.city), n),
        "university": rng.integers(0, len(pools.university), n),
        "major": rng.integers(0, len(pools.major), n),
        "employer": rng.integers(0, len(pools.company), n),
    }
    facts["company_city"] = np.array(pools.company_city)[facts["employer"]]
    facts["gender"] = rng.integers(0, 2, n)
    return People(
        names=np.stack(np.unravel_index(number, sizes), axis=1),
        dates=np.stack(np.unravel_index(date, date_sizes), axis=1),
        facts=facts,
    )


def draw_world(
    generator: Callable[[int], np.random.Generator], n: int, pools: Pools, apart_from: int
) -> tuple[People, np.random.Generator]:
    """n people, and the generator as it stands once they are drawn.

    Args:
        generator: makes the world's generators by number.
        apart_from: share no name with so many people drawn first.
    """
    rng, taken = generator(0), None
    if apart_from:
        taken, rng = draw_names(rng, apart_from, pools), generator(1)
    return draw_people(rng, n, pools, taken), rng


def person_tokens(people: People, pools: Pools, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """Token ids by person: `name` and `date` int32[N, 3], `values` int32[N, A-1]."""

    def ids(role: str, index: np.ndarray) -> np.ndarray:
        return vocabulary.ids([f"{role}:{entry}" for entry in getattr(pools, role)])[index]

    values = [ids(role, people.facts[name]) for name, role in VALUE_ROLES.items()]
    names = [ids(role, people.names[:, i]) for i, role in enumerate(NAME)]
    dates = [ids(role, people.dates[:, i]) for i, role in enumerate(DATE)]
    return {
        "name": np.stack(names, axis=1),
        "date": np.stack(dates, axis=1),
        "values": np.stack(values, axis=1),
    }


def pronoun_tokens(vocabulary: Vocabulary) -> np.ndarray:
    """int32[2, 2]: by form of the mention (who, whose) and gender; 0 where it never occurs."""
    ids = [[vocabulary.index.get(word, 0) for word in pair] for pair in PRONOUNS.values()]
    return np.array(ids, np.int32)


@cache
def words_of(
    pools: Pools, templates: int, pronouns: tuple[str, ...], name_last: bool
) -> Vocabulary:
    """All tokens of biographies by their first so many templates; one for all equal ones."""
    genitive = [GENITIVE] if "whose" in mentions(templates) else []
    closing = [word for word in CLOSING if word] if name_last else []
    return Vocabulary.build(
        [BOS, *template_words(templates), *genitive, *closing, *pronouns]
        + [f"{role}:{entry}" for role in ROLES for entry in getattr(pools, role)]
    )
