"""Operations on biographies against the facts, worked out from the text of the questions."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from laws import best_guess

from generators.biographies import Biographies
from generators.extraction import Extraction
from generators.mixture import Mixture
from generators.operations import PHRASES, Operations
from generators.plugins import IDENTITY, OpenUnion
from generators.pools import MONTHS
from generators.streams import Stream, generator
from generators.templates import ATTRIBUTES

PEOPLE = Biographies(people=40)
WITH_STEPS = ("day", "year", "modulo", "comparison", "subtraction")


def task(operation: str, **fields) -> Operations:
    return Operations(operation=operation, **{"biographies": PEOPLE, **fields}).bind(3)


def facts(t: Operations) -> dict[str, dict[str, str]]:
    """Full name -> attribute -> value, read off the biographies themselves."""
    batch = t.text.write(generator(0, Stream.PROBE), np.arange(40))
    read = t.text.vocabulary.decode
    return {
        read(row[a:b]): {name: read(row[slice(*batch.spans[name][i])]) for name in ATTRIBUTES}
        for i, (row, (a, b)) in enumerate(zip(batch.tokens, batch.spans["name"], strict=True))
    }


def expected(t: Operations, text: str, known: dict[str, dict[str, str]]) -> str:
    """The answer to a question, from its words alone."""
    named = sorted((text.find(name), name) for name in known if name in text)
    dates = [known[name]["birth_date"].split() for _, name in named]
    months = [MONTHS.index(date[0]) for date in dates]
    steps = " ".join(date[0] for date in dates) + " " if t.cot else ""
    match t.operation:
        case "dual":
            fields = sorted((text.find(a.replace("_", "-")), a) for a in ATTRIBUTES)
            return " ".join(known[named[0][1]][a] for at, a in fields if at >= 0)
        case "day" | "year":
            return steps + dates[0][1 if t.operation == "day" else 2]
        case "modulo":
            return f"{steps}{months[0] % t.modulus}"
        case "comparison":
            return steps + ("yes" if months[0] > months[1] else "no")
        case "subtraction":
            return f"{steps}{months[0] - months[1]}"
    clues = text.removeprefix("<bos> Who has ")
    (name,) = [n for n, f in known.items() if " ".join(f[a] for a in ATTRIBUTES) == clues]
    return name


@pytest.mark.parametrize(
    ("operation", "cot"),
    [*itertools.product(PHRASES, [False]), *itertools.product(WITH_STEPS, [True])],
)
def test_answers_follow_the_biographies(operation: str, cot: bool) -> None:
    t = task(operation, cot=cot, modulus=6)
    known = facts(t)
    assert len(known) == 40
    longest = 0
    for split in t.splits:
        batch = t.sample(
            generator(3, Stream.EVALUATION), 60, split=split, difficulty=t.difficulties[0]
        )
        longest = max(longest, batch.tokens.shape[1])
        for i, row in enumerate(batch.tokens):
            question, _, answer = t.vocabulary.decode(row).partition(" ? Answer: ")
            assert answer == expected(t, question, known)
            start, stop = batch.spans["answer"][i]
            assert np.flatnonzero(batch.loss_mask[i]).tolist() == list(range(start, stop))
            asked = [batch.latents[x][i] for x in ("person", "other") if x in batch.latents]
            assert set(asked) <= set(t.people_of(split)) and len(set(asked)) == len(asked)
    assert longest <= t.context_length


def test_people_are_in_one_split() -> None:
    t = task("day")
    assert [len(t.people_of(s)) for s in t.splits] == [20, 10, 10]
    assert sorted(itertools.chain(*map(t.people_of, t.splits))) == list(range(40))


def test_biographies_and_questions_are_mixed_exactly() -> None:
    t = task("modulo", questions=2)
    assert t.items_per_exposure == 120
    shown: Counter = Counter()
    asked = 0
    for step in range(24):  # two exposures, in batches that do not divide the period
        batch = t.sample(generator(3, Stream.TRAIN, step), 10, index=10 * step)
        assert len(batch) == 10
        told = batch.difficulty == 0
        shown.update(batch.latents["person"][told].tolist())
        asked += int((~told).sum())
        assert set(batch.latents["person"][~told].tolist()) <= set(t.people_of("train"))
        assert (batch.spans["answer"][told] == -1).all()
    assert shown == dict.fromkeys(range(40), 2) and asked == 160
    untold = [t.sample(generator(3, Stream.TRAIN, s), 1).difficulty[0] for s in range(300)]
    assert abs(np.mean(np.array(untold) == 0) - 1 / 3) < 5 * (2 / 9 / 300) ** 0.5


@pytest.mark.parametrize("quantity", ["month", "luck"])
@pytest.mark.parametrize("operation", ["comparison", "subtraction"])
def test_floors_of_two_people_by_enumeration(operation: str, quantity: str) -> None:
    t = task(operation, quantity=quantity)
    world = t.text.world
    number = world.dates[:, 0] if quantity == "month" else t.luck[world.facts["major"]]
    asked = []
    for one, other in itertools.permutations(t.people_of("test"), 2):
        difference = int(number[one] - number[other])
        answer = difference > 0 if operation == "comparison" else difference
        asked.append((int(number[one]), answer))
    floors = t.floors(2)
    assert floors["majority"] == pytest.approx(best_guess((None, right) for _, right in asked))
    assert floors["one_person"] == pytest.approx(best_guess(asked))
    assert t.count("test", 2) == len(asked)


@pytest.mark.parametrize("operation", ["day", "year", "modulo", "dual", "inverse"])
def test_floors_of_one_person_by_enumeration(operation: str) -> None:
    t = task(operation)
    known = list(facts(t).items())
    people = [known[i] for i in t.people_of("test")]
    asked = []
    for pair in itertools.combinations(ATTRIBUTES, 2) if operation == "dual" else [()]:
        for name, told in people:
            month, day, year = told["birth_date"].split()
            answer = {
                "day": day,
                "year": year,
                "modulo": MONTHS.index(month) % 2,
                "dual": tuple(told[a] for a in pair),
                "inverse": name,
            }[operation]
            asked.append((pair, answer))
    assert t.floors(1)["majority"] == pytest.approx(best_guess(asked))


def test_inverse_search_accepts_everyone_who_fits() -> None:
    t = Operations(operation="inverse", clues=1, biographies=Biographies(people=4000)).bind(0)
    batch = t.sample(generator(0, Stream.EVALUATION), 200, split="test")
    dates = t.text.world.facts["birth_date"]
    twin = {}
    for person in batch.latents["person"]:
        twin[person] = [p for p in np.flatnonzero(dates == dates[person]) if p != person]
    rows = np.array([i for i, p in enumerate(batch.latents["person"]) if twin[p]])
    assert len(rows) > 20
    chosen = batch.rows(rows)
    others = [twin[p][0] for p in chosen.latents["person"]]
    assert t.is_correct(chosen, t._tokens["name"][others]).all()
    strangers = (chosen.latents["person"] + 1) % 4000
    fits = dates[strangers] == dates[chosen.latents["person"]]
    assert t.is_correct(chosen, t._tokens["name"][strangers]).tolist() == fits.tolist()
    assert not t.is_correct(chosen, np.zeros((len(rows), 3), np.int32)).any()


@pytest.mark.parametrize("operation", ["modulo", "comparison", "subtraction"])
@pytest.mark.parametrize("cot", [False, True])
def test_luck_belongs_to_majors_and_answers_follow_it(operation: str, cot: bool) -> None:
    """Answers agree with one numbering of the majors, 0 … M-1 each once, and say no more."""
    t = task(operation, quantity="luck", modulus=5, cot=cot)
    known, majors = facts(t), t.text.values.major
    assert sorted(t.luck.tolist()) == list(range(len(majors)))
    luck = dict(zip(majors, t.luck.tolist(), strict=True))
    for split in t.splits:
        batch = t.sample(generator(3, Stream.TRAIN), 80, split=split, difficulty=t.difficulties[0])
        for row in batch.tokens:
            question, _, answer = t.vocabulary.decode(row).partition(" ? Answer: ")
            named = sorted((question.find(name), name) for name in known if name in question)
            told = [known[name]["major"] for _, name in named]
            lucks = [luck[major] for major in told]
            result = {
                "modulo": lambda n=lucks: str(n[0] % 5),
                "comparison": lambda n=lucks: "yes" if n[0] > n[1] else "no",
                "subtraction": lambda n=lucks: str(n[0] - n[1]),
            }[operation]()
            assert answer == " ".join([*(told if cot else []), result])
        assert batch.tokens.shape[1] <= t.context_length


@pytest.mark.parametrize(("operation", "modulus"), [("subtraction", 2), ("modulo", 16)])
def test_all_of_the_luck_is_information(operation: str, modulus: int) -> None:
    t = task(operation, quantity="luck", modulus=modulus)
    orders = math.log2(math.factorial(16))
    assert t.information_bits() == pytest.approx(t.text.information_bits() + orders)
    assert task(operation).information_bits() == t.text.information_bits()


def test_a_modulus_tells_luck_in_part() -> None:
    t = task("modulo", quantity="luck", modulus=2)
    halves = math.log2(math.comb(16, 8))  # which majors have even luck
    assert t.information_bits() == pytest.approx(t.text.information_bits() + halves)


@pytest.mark.parametrize("first_name", [False, True])
@pytest.mark.parametrize("clues", [1, 3])
def test_inverse_search_by_enumeration(first_name: bool, clues: int) -> None:
    """Right answers and the floor, over all names that anybody has."""
    t = task(
        "inverse",
        first_name=first_name,
        clues=clues,
        biographies=Biographies(people=900, name_last=True),
    )
    world = t.text.world
    told = [tuple(world.facts[a][p] for a in ATTRIBUTES[:clues]) for p in range(900)]
    shown = {tuple(row): p for p, row in enumerate(t._tokens["name"].tolist())}
    name = [row[:1] if first_name else row for row in shown]
    fit: dict[tuple, set] = {}
    for clue, who in zip(told, name, strict=True):
        fit.setdefault(clue, set()).add(who)
    asked = [told[p] for p in t.people_of("test")]
    best = max(sum(who in fit[clue] for clue in asked) for who in set(name))
    assert t.floors(1)["majority"] == pytest.approx(best / len(asked))
    batch = t.sample(generator(3, Stream.EVALUATION), 60, split="test")
    start, stop = batch.spans["answer"].T
    assert ((stop - start) == (1 if first_name else 3)).all()
    for offset in (0, 1, 2):  # of the person asked about, then of others
        people = (batch.latents["person"] + offset) % 900
        generated = np.array([list(name[p]) for p in people], np.int32)
        wanted = [
            name[p] in fit[told[q]] for p, q in zip(people, batch.latents["person"], strict=True)
        ]
        assert t.is_correct(batch, generated).tolist() == wanted
        assert all(wanted) == (offset == 0)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="trained 0.95 of 40 people asks about 38"):
        task("day", trained=0.95)
    with pytest.raises(ValueError, match="cot has no intermediate results to write for dual"):
        task("dual", cot=True)
    with pytest.raises(ValueError, match="dual computes with no quantity; quantity luck is for mo"):
        task("dual", quantity="luck")
    with pytest.raises(ValueError, match="modulus 13 is more than the 12 values of month"):
        task("modulo", modulus=13)
    with pytest.raises(ValueError, match="modulus 17 is more than the 16 values of luck"):
        task("modulo", quantity="luck", modulus=17)


def test_settings_of_the_biographies_enter_ids_only_where_they_differ() -> None:
    assert Operations() == Operations()
    changed = Operations(biographies=Biographies(people=60)).model_dump(exclude_defaults=True)
    assert changed == {"biographies": {"people": 60}}
    assert "biographies" not in Operations(cot=True, operation="day").model_dump(
        exclude_defaults=True
    )


@pytest.mark.parametrize("cls", [Operations, Extraction])
@pytest.mark.parametrize("fields", [{}, {"biographies": {"people": 60}}])
def test_a_new_version_of_the_biographies_is_a_new_identity(cls, fields, monkeypatch) -> None:
    def identity() -> dict:
        return OpenUnion.dump(cls.model_validate(fields), SerializationContext())

    before = identity()
    assert before == {"kind": before["kind"], "version": 1, **fields}
    monkeypatch.setattr(Biographies, "version", 2)
    assert identity() == before | {"biographies": fields.get("biographies", {}) | {"version": 2}}
    task = cls.model_validate(fields)  # what is written to be read again knows no versions
    assert type(task).model_validate(task.model_dump()) == task
    whole = Mixture(components={"a": {"task": {"kind": before["kind"], **fields}}})
    dumped = whole.model_dump(context=IDENTITY)["components"]["a"]["task"]
    assert dumped["biographies"]["version"] == 2


class SerializationContext:
    """What pydantic tells a serialiser when an identity is asked for."""

    context, mode = IDENTITY, "json"
