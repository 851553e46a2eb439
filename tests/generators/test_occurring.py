"""The tokens that documents can have, against documents without end."""

from pathlib import Path

import numpy as np
import pytest

from generators.biod import BioD
from generators.biographies import Biographies
from generators.extraction import Extraction
from generators.mixture import Mixture
from generators.multihop import MultiHop
from generators.operations import Operations
from generators.plugins import load_class
from generators.random_sequences import RandomSequences
from generators.streams import Stream, generator
from generators.support.components import Component
from generators.task import Task

FEW = Biographies(people=7, pools="full", templates=2)
#: of eight people four are asked about
ASKED = Biographies(people=8, pools="full", templates=1)
TWO = {"a": Component(task=FEW, domain_token=True), "b": Component(task=BioD(people=4))}


def changed(**fields: object) -> Biographies:
    return FEW.with_fields(**fields)


@pytest.mark.parametrize(
    "task",
    [
        BioD(people=5, attributes=2, diversity=4, length=2, alphabet=9),
        BioD(people=2, name_length=1),
        RandomSequences(sequences=3, length=6, alphabet=40),
        FEW,
        changed(permute=False),
        changed(permute=False, templates=1),
        changed(permute=False, name_last=True),
        changed(fullname=True),
        changed(name_last=True, reversed_date=True),
        changed(employer_first=False, templates=5),
        changed(versions=1, templates=20),
        changed(versions=3, templates=44, permute=False),
        changed(versions=2, same_sentences=True, templates=9),
        changed(people=1),
        Extraction(biographies=ASKED),
        Mixture(components=TWO),
        *(
            Operations(biographies=ASKED, operation=operation)
            for operation in ("dual", "day", "year", "modulo", "comparison", "subtraction")
        ),
        Operations(biographies=ASKED, operation="inverse", clues=2),
        Operations(biographies=ASKED, operation="modulo", quantity="luck", modulus=20),
        Operations(biographies=ASKED, operation="subtraction", quantity="luck"),
        Operations(biographies=ASKED, operation="comparison", cot=True, quantity="luck"),
    ],
    ids=str,
)
def test_exactly_the_tokens_of_endless_documents(task: Task) -> None:
    for seed in range(3):
        bound = task.bind(seed)
        found = np.zeros(len(bound.vocabulary), bool)
        for step in range(4):
            batch = bound.sample(generator(seed, Stream.TRAIN, step), 1000, index=1000 * step)
            found[batch.tokens] = True
        found[0] = False
        never = {bound.vocabulary.tokens[i] for i in np.flatnonzero(found != bound.occurring)}
        assert not never
        assert found.sum() < len(found) - 1  # something does not occur, or this shows nothing


def test_where_nothing_is_known_all_tokens_count(tmp_path: Path) -> None:
    """A class from elsewhere may write other documents than the task that it derives from."""
    (tmp_path / "own.py").write_text(
        "from typing import Literal\n"
        "from generators.biod import BioD\n"
        "class Own(BioD):\n"
        '    kind: Literal["own"] = "own"\n'
    )
    own = load_class(Task, "generators", f"{tmp_path}/own.py:Own")
    for task in (MultiHop(), own(people=3)):  # pyrefly: ignore
        bound = task.bind(0)
        assert bound.occurring.sum() == len(bound.vocabulary) - 1 and not bound.occurring[0]
    assert BioD(people=3).bind(0).occurring.sum() < len(own(people=3).bind(0).vocabulary) - 1  # pyrefly: ignore
