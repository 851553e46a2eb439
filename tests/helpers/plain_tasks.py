"""The straightforward way to write the tasks: plain Python, one document at a time.

An oracle of the tests: each function prepares what a world has once and gives a writer of training
documents like the task's, with their mask and the span of the answer, in the task's own vocabulary,
from other random numbers. Online tasks are in plain_online_tasks.
"""

import random
from collections.abc import Callable
from typing import Any

#: a document: token ids, mask, answer span (-1, -1 where nothing is asked)
Document = tuple[list[int], list[int], tuple[int, int]]
Writer = Callable[[random.Random], Document]
#: makes what is prepared once, then gives a function that writes one document
Plain = Callable[[Any], Writer]


def told(tokens: list[int]) -> Document:
    """Everything after the first token is predicted, nothing is asked."""
    return tokens, [0] + [1] * (len(tokens) - 1), (-1, -1)


def asked(tokens: list[int], answer: int = 1, scored: int | None = None) -> Document:
    """The last `answer` tokens answer; the last `scored` of them all are predicted."""
    n, scored = len(tokens), answer if scored is None else scored
    return tokens, [0] * (n - scored) + [1] * scored, (n - answer, n)


def multihop(task: Any) -> Writer:
    """Draws an entity and relations, walks, and looks in the set of held-out questions."""
    table = task.table.tolist()
    kept = {
        (k, c) for k in task.difficulties[1:] for s in task.splits[1:] for c in task.listed(s, k)
    }
    E, R, index = task.entities, task.relations, task.vocabulary.index

    def write(rng: random.Random) -> Document:
        hops = rng.randint(1, task.hops)
        while True:
            start = rng.randrange(E)
            relations = [rng.randrange(R) for _ in range(hops)]
            number = start + E * sum(r * R**i for i, r in enumerate(relations))
            if (hops, number) not in kept:
                break
        entity = start
        for relation in relations:
            entity = table[relation][entity]
        words = [f"<{hops}>", f"e{start}", *(f"r{r}" for r in relations), f"e{entity}"]
        return asked([index[word] for word in words])

    return write


def layered(task: Any) -> Writer:
    """Takes a question of the budget, walks through the layers and writes the phrase."""
    from generators.layered import RELATIONS

    table, W, R, v = task.table.tolist(), task.width, task.relations, task.vocabulary
    numbers, index = task.listed("train", task.hops).tolist(), v.index
    people = v.tokens[len(v) - task.people :]

    def write(rng: random.Random) -> Document:
        rest, who = divmod(rng.choice(numbers), W)
        words, reached = ["?", "Answer:"], who
        phrase: list[str] = []
        for layer in range(task.hops):
            rest, relation = divmod(rest, R)
            phrase = ["the", RELATIONS[relation], "of", *phrase]
            reached = table[layer][relation][reached]
        last = people[task.hops * W + reached]
        words = ["<bos>", "Who", "is", *phrase, people[who], *words, last]
        return asked([index[word] for word in words])

    return write


def composition(task: Any) -> Writer:
    """Takes a fact or a composition of the training set and follows its facts."""
    D, relation, tail = task.out_degree, *(task.world[k].tolist() for k in ("relation", "tail"))
    facts, pairs = (task.listed("train", k).tolist() for k in (1, 2))
    index = task.vocabulary.index

    def write(rng: random.Random) -> Document:
        drawn = rng.randrange(len(facts) + len(pairs))
        if drawn < len(facts):
            f = facts[drawn]
            words = [f"e{f // D}", f"r{relation[f]}", f"e{tail[f]}"]
        else:
            f, place = divmod(pairs[drawn - len(facts)], D)
            g = tail[f] * D + place
            words = [f"e{f // D}", f"r{relation[f]}", f"r{relation[g]}", f"e{tail[g]}"]
        return asked([index[word] for word in words])

    return write


def comparison(task: Any) -> Writer:
    """Takes a fact or a comparison of the training set and looks both values up."""
    value, pool = task.world["value"].tolist(), task.pool("train").tolist()
    listed, index = task.listed("train").tolist(), task.vocabulary.index
    n = len(pool[0])
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    facts = task.attributes * task.entities

    def write(rng: random.Random) -> Document:
        drawn = rng.randrange(facts + 2 * len(listed))
        if drawn < facts:
            a, e = divmod(drawn, task.entities)
            words = [f"e{e}", f"a{a}", f"v{value[a][e]}"]
        else:
            a, pair = divmod(listed[(drawn - facts) // 2], len(pairs))
            two = [pool[a][i] for i in pairs[pair]]
            e1, e2 = two if drawn % 2 else two[::-1]
            sign = (value[a][e1] > value[a][e2]) - (value[a][e1] < value[a][e2])
            words = [f"a{a}", f"e{e1}", f"e{e2}", "<=>"[sign + 1]]
        return asked([index[word] for word in words])

    return write


def bios(task: Any) -> Writer:
    """Formats six templates, shuffles them and looks every word up."""
    from generators.support.people import NAME, VALUE_ROLES
    from generators.support.sentences import chosen_templates
    from generators.templates import ATTRIBUTES, DATE, PRONOUNS

    world, pools, index = task.world, task.values, task.vocabulary.index
    groups = chosen_templates(task.templates)
    names, dates = world.names.tolist(), world.dates.tolist()
    facts = {name: fact.tolist() for name, fact in world.facts.items()}
    employer, city = ATTRIBUTES.index("employer"), ATTRIBUTES.index("company_city")

    def write(rng: random.Random) -> Document:
        person = rng.randrange(task.people)
        order = list(range(len(ATTRIBUTES)))
        if task.permute:
            rng.shuffle(order)
        i, j = order.index(employer), order.index(city)
        if task.employer_first and j < i:
            order[i], order[j] = order[j], order[i]
        name = [f"{role}:{getattr(pools, role)[names[person][i]]}" for i, role in enumerate(NAME)]
        words = ["<bos>"]
        for place, a in enumerate(order):
            template = rng.choice(groups[a])
            if place == 0:
                words += name + (["'s"] if template.mention == "whose" else [])
            else:
                words.append(PRONOUNS[template.mention][facts["gender"][person]])
            words += template.before
            for slot in template.slots:
                if slot in DATE:
                    value = getattr(pools, slot)[dates[person][DATE.index(slot)]]
                    words.append(f"{slot}:{value}")
                else:
                    role = VALUE_ROLES[slot]
                    words.append(f"{role}:{getattr(pools, role)[facts[slot][person]]}")
            words += template.after
        return told([index[word] for word in words])

    return write


def extraction(task: Any) -> Writer:
    """A biography, or a question about somebody of the training half."""
    from generators.extraction import QUESTIONS
    from generators.templates import ATTRIBUTES

    biography, told_of = bios(task.text), _told_of(task)
    index, people = task.vocabulary.index, task.people_of("train")
    parts = [[part.split() for part in QUESTIONS[name]] for name in ATTRIBUTES]

    def write(rng: random.Random) -> Document:
        if rng.random() >= task.qa_ratio:
            return biography(rng)
        person, a = rng.choice(people), rng.randrange(len(parts))
        name, values = told_of(person)
        words = ["<bos>", *parts[a][0], *name, *parts[a][1], *values[a]]
        return asked([index[word] for word in words], len(values[a]))

    return write


def operations(task: Any) -> Writer:
    """A biography, or a question about two attributes (dual retrieval, the default)."""
    from generators.operations import FIELDS

    biography, told_of = bios(task.text), _told_of(task)
    index, people = task.vocabulary.index, task.people_of("train")

    def write(rng: random.Random) -> Document:
        if rng.randrange(1 + task.questions) == 0:
            return biography(rng)
        name, values = told_of(rng.choice(people))
        a, b = rng.sample(range(len(FIELDS)), 2)
        words = ["<bos>", "What", "is", "the", FIELDS[a], "and", "the", FIELDS[b], "of", *name]
        words += ["?", "Answer:", *values[a], *values[b]]
        return asked([index[word] for word in words], len(values[a]) + len(values[b]))

    return write


def _told_of(task: Any) -> Callable[[int], tuple[list[str], list[list[str]]]]:
    """Gives the words of a person's name and of each attribute's value."""
    from generators.support.people import NAME, VALUE_ROLES
    from generators.templates import ATTRIBUTES, DATE

    world, pools = task.text.world, task.text.values
    names, dates = world.names.tolist(), world.dates.tolist()
    facts = {name: fact.tolist() for name, fact in world.facts.items()}

    def say(roles: tuple[str, ...], numbers: list[int]) -> list[str]:
        return [f"{r}:{getattr(pools, r)[i]}" for r, i in zip(roles, numbers, strict=True)]

    def tell(person: int) -> tuple[list[str], list[list[str]]]:
        values = [say((VALUE_ROLES[a],), [facts[a][person]]) for a in ATTRIBUTES[1:]]
        return say(NAME, names[person]), [say(DATE, dates[person]), *values]

    return tell


def biod(task: Any) -> Writer:
    """The name, then the attributes in random order, each with its chunks."""
    names, sets, values = (task.world[key].tolist() for key in ("names", "sets", "values"))
    index = task.vocabulary.index

    def write(rng: random.Random) -> Document:
        person = rng.randrange(task.people)
        order = list(range(task.attributes))
        rng.shuffle(order)
        words = ["<bos>", *(f"name:n{letter}" for letter in names[person])]
        for k in order:
            words.append(f"attribute:a{k}")
            for chunk in values[person][k]:
                words += [f"letter:{letter}" for letter in sets[k][chunk]]
        return told([index[word] for word in words])

    return write


def random_sequences(task: Any) -> Writer:
    """Looks up the letters of one of the sequences."""
    world, index = task.world.tolist(), task.vocabulary.index

    def write(rng: random.Random) -> Document:
        letters = [f"letter:{t}" for t in world[rng.randrange(task.sequences)]]
        return told([index[word] for word in ["<bos>", *letters]])

    return write


def mixture(task: Any) -> Writer:
    """Draws a component by its weight and translates its document."""
    weights = [component.weight for component in task.components.values()]
    writers = [WORLDS[part.kind](part) for part in task.parts.values()]
    ids = [[task.vocabulary.index[t] for t in p.vocabulary.tokens] for p in task.parts.values()]

    def write(rng: random.Random) -> Document:
        (i,) = rng.choices(range(len(writers)), weights)
        tokens, mask, answer = writers[i](rng)
        return [ids[i][token] for token in tokens], mask, answer

    return write


def retry(task: Any) -> Writer:
    """Writes the answer again and again; one that is no right try is that of another question."""
    write_question = WORLDS[task.asked.kind](task.asked)

    def write(rng: random.Random) -> Document:
        (*question, answer), _, _ = write_question(rng)
        tries = [
            answer if rng.random() < task.right else write_question(rng)[0][-1]
            for _ in range(task.tries - 1)
        ]
        tries.append(answer)
        scored = [int(one == answer) for one in tries]
        span = (len(question), len(question) + task.tries)
        return [*question, *tries], [0] * len(question) + scored, span

    return write


WORLDS: dict[str, Plain] = {
    f.__name__: f
    for f in (
        *(multihop, layered, composition, comparison),
        *(bios, extraction, operations, biod, random_sequences, mixture, retry),
    )
}
