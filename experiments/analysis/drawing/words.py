"""Names of configurations as a reader of a figure calls them."""

import re

#: a name of a task or an objective -> words
WORDS = {
    "bios": "biographies",
    "biod": "bioD",
    "multihop": "multi-hop questions",
    "phop": "p-hop questions",
    "depo": "Depo",
    "mano": "Mano",
    "brevo": "Brevo",
    "act": "ACT",
}
#: what has a dot and a number: name -> words, and what is added to the number
PLACES = {
    "core": ("core layer", 1),
    "prelude": ("prelude layer", 1),
    "coda": ("coda layer", 1),
    "hop": ("hop", 0),
}
_NAME = re.compile(rf"\b(?:{'|'.join(WORDS)})\b")
_PLACE = re.compile(rf"\b({'|'.join(PLACES)})\.(\d+)")


def in_words(text: str) -> str:
    """
    >>> in_words("multihop, norm_between_loops false, last_loop")
    'multi-hop questions, without norm between loops, last loop'
    >>> in_words("core.0 −1"), in_words("hop.2")
    ('core layer 1 −1', 'hop 2')
    """
    text = _NAME.sub(lambda found: WORDS[found[0]], text)
    text = _PLACE.sub(_place, text)
    text = re.sub(r"\b(\w+) true\b", r"with \1", text)
    text = re.sub(r"\b(\w+) false\b", r"without \1", text)
    return re.sub(r"(?<=\w)_(?=\w)", " ", text)


def _place(found: re.Match[str]) -> str:
    word, first = PLACES[found[1]]
    return f"{word} {int(found[2]) + first}"
