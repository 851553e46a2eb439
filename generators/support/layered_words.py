"""Words of the questions of `layered`: who people are to one another, and their names."""

from generators.pools import load_pools

#: what one person is to another; a relation is one token
RELATIONS = (
    *("instructor", "teacher", "mentor", "colleague", "neighbour", "landlord", "tenant"),
    *("doctor", "patient", "lawyer", "client", "accountant", "manager", "assistant"),
    *("employer", "apprentice", "coach", "rival", "partner", "friend", "cousin", "uncle"),
    *("aunt", "nephew", "niece", "guardian", "ward", "godparent", "editor", "publisher"),
    *("agent", "driver", "tailor", "barber", "baker", "tutor", "advisor", "supervisor"),
    *("successor", "predecessor", "sponsor", "biographer"),
)


def people_names() -> tuple[str, ...]:
    """First, middle and last names of the full pools, each once."""
    pools = load_pools("full")
    return tuple(dict.fromkeys((*pools.first, *pools.middle, *pools.last)))
