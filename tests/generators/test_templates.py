"""Templates: placeholders in place, and the text before a value says which attribute comes."""

from collections import defaultdict

import pytest

from generators.support.sentences import mentions
from generators.templates import ATTRIBUTES, FOLDER, available, parse_template, read_templates


def every_line() -> list[tuple[str, str]]:
    return [
        (attribute, line)
        for attribute in ATTRIBUTES
        for line in (FOLDER / f"{attribute}.txt").read_text(encoding="utf-8").splitlines()
    ]


def ambiguous_prefixes(lines: list[tuple[str, str]]) -> list[str]:
    """Beginnings after which a value may come, but not only one kind of value."""
    following = defaultdict(set)
    for _, line in lines:
        words = line.split()
        for i, word in enumerate(words):
            following[" ".join(words[:i])].add(word)
    return [
        prefix
        for prefix, words in following.items()
        if prefix and len(words) > 1 and any("{" in word for word in words)
    ]


def test_at_least_forty_different_templates_per_attribute() -> None:
    for attribute in ATTRIBUTES:
        lines = [line for name, line in every_line() if name == attribute]
        assert len(lines) == len(set(lines)) >= 40
        assert len(read_templates(attribute)) == len(lines)
    assert available() >= 40


@pytest.mark.parametrize("attribute, line", every_line())
def test_placeholders_blanks_and_final_stop(attribute: str, line: str) -> None:
    value = {"{month}", "{day}", "{year}"} if attribute == "birth_date" else {f"{{{attribute}}}"}
    words = line.split(" ")
    assert words[0] in ("{who}", "{whose}") and words[-1] == "." and words.count(".") == 1
    placeholders = [word for word in words[1:] if "{" in word or "}" in word]
    assert sorted(placeholders) == sorted(value)
    assert all(word and word == word.lower() and ":" not in word for word in words)
    plain = [word for word in words if "{" not in word]
    assert all(word.isalpha() or word in {".", ","} for word in plain)


def test_the_text_before_a_value_decides_which_value_comes() -> None:
    assert ambiguous_prefixes(every_line()) == []


@pytest.mark.parametrize(
    "attribute, line",
    [
        ("birth_city", "{who} was born in the town of {birth_city} ."),  # a word may come instead
        ("birth_city", "{who} worked for {birth_city} ."),  # an employer may come instead
        ("birth_date", "{who} was born on {day} {month} {year} ."),  # day or month first
    ],
)
def test_ambiguous_templates_are_found(attribute: str, line: str) -> None:
    assert len(ambiguous_prefixes([*every_line(), (attribute, line)])) == 1


@pytest.mark.parametrize(
    "attribute, line",
    [
        ("major", "{major} was what {who} studied ."),
        ("major", "{who} majored in {university} ."),
        ("major", "{who} majored in {major} and {major} ."),
        ("major", "{who} majored in physics ."),
        ("major", "{who} loved {who} and {major} ."),
        ("birth_date", "{who} was born on {month} {day} ."),
        ("birth_date", "{who} was born on {month} {day} , {year} ."),
    ],
)
def test_a_wrong_template_is_named(attribute: str, line: str) -> None:
    with pytest.raises(ValueError, match=attribute) as error:
        parse_template(line, attribute)
    assert line in str(error.value)


def test_the_first_templates_are_the_shortest() -> None:
    for attribute in ATTRIBUTES:
        lengths = [len(t.before) + len(t.slots) + len(t.after) for t in read_templates(attribute)]
        assert max(lengths[:2]) <= sorted(lengths)[len(lengths) // 4]
    assert mentions(1) == ("who",) and mentions(4) == ("who", "whose")
