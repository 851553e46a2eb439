"""Sentence templates of the biographies, read from one file per attribute.

A template starts with its only mention of the person, `{who}` or `{whose}`, and names its
attribute's value once: `{birth_city}`, or `{month} {day} {year}` side by side in any order.
Words and punctuation are separated by blanks. Within and across attributes the text before a
value decides which attribute comes (tested), so that the choice of a template never costs
bits at a value. The plainest and shortest templates come first.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent

ATTRIBUTES = ("birth_date", "birth_city", "university", "major", "employer", "company_city")
DATE = ("month", "day", "year")
#: forms of the pronoun by mention
PRONOUNS = {"who": ("he", "she"), "whose": ("his", "her")}


@dataclass(frozen=True)
class Template:
    """One sentence: a mention, the words before the value, the value, the words after it.

    Attributes:
        mention: `who` or `whose`.
        slots: the attribute's own name, or the parts of the birth date in their order.
    """

    mention: str
    before: tuple[str, ...]
    slots: tuple[str, ...]
    after: tuple[str, ...]


def parse_template(text: str, attribute: str) -> Template:
    """The template written in one line.

    Raises:
        ValueError: the mention or the value is missing, repeated or in the wrong place.
    """
    mention, *words = text.split()
    needed = set(DATE) if attribute == "birth_date" else {attribute}
    at = [i for i, word in enumerate(words) if "{" in word or "}" in word]
    slots = tuple(words[i][1:-1] for i in at)
    together = at == list(range(at[0], at[0] + len(needed))) if at else False
    if mention[1:-1] not in PRONOUNS or set(slots) != needed or not together:
        wanted = " ".join(f"{{{name}}}" for name in (DATE if len(needed) > 1 else [attribute]))
        raise ValueError(
            f"the {attribute} template {text!r} must start with {{who}} or {{whose}}, mention "
            f"the person no second time and have {wanted} once, side by side"
        )
    before, after = words[: at[0]], words[at[-1] + 1 :]
    return Template(mention[1:-1], tuple(before), slots, tuple(after))


@cache
def read_templates(attribute: str) -> tuple[Template, ...]:
    """All templates of an attribute, in the order of its file."""
    lines = (FOLDER / f"{attribute}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(parse_template(line, attribute) for line in lines)


@cache
def available() -> int:
    """The number of templates that every attribute has."""
    return min(len(read_templates(attribute)) for attribute in ATTRIBUTES)
