"""Q-probing: what does a name alone bring to mind? (Physics of LMs 3.1, 2309.14316.)"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from generators.biographies import Biographies
from generators.support.people import NAME
from generators.task import Task
from probes.capacity import biographies_in
from probes.low_rank import Documents
from probes.people_probing import PeopleProbing


class QProbing(PeopleProbing):
    """Attributes read at the last token of `<bos> first middle last`; `item` is the attribute.

    The paper ends the name with a token of its own and updates the embedding with rank 16; that
    token would be untrained here.
    """

    version: ClassVar[int] = 1
    norm: ClassVar[str] = "batch"

    kind: Literal["q_probing"] = "q_probing"
    batch: int = Field(200, ge=2, description="people in one step")

    needs: ClassVar[str] = "biographies (bios, extraction, operations) with the name first"

    @classmethod
    def applies(cls, task: Task) -> bool:
        text = biographies_in(task)
        return text is not None and not text.name_last

    def places(self) -> tuple[str, ...]:
        return ("",)

    def documents(self, text: Biographies, rng: np.random.Generator) -> Documents:
        length = 1 + len(NAME)

        def written(people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            tokens = text.write(rng, people).tokens[:, :length]  # every text begins with the name
            return tokens, np.full((len(people), 1), length - 1)

        return written
