"""P-probing: is an attribute decodable before it is said? (Physics of LMs 3.1, 2309.14316.)"""

from typing import ClassVar, Literal

import numpy as np

from generators.biographies import Biographies
from generators.templates import ATTRIBUTES
from probes.low_rank import Documents
from probes.people_probing import PeopleProbing


class PProbing(PeopleProbing):
    """Attributes read just before the first, second, … sixth value of a biography.

    `item` is `<attribute>@<values said before>`: at 0 nothing but the name has been said, so
    what is found there is stored with the name. Where the order of the sentences is random, an
    attribute has already been said before place j in j of 6 texts, or comes next in 1 of 6.
    In the paper: 30,000 steps, and an update of rank 2 of a GPT-2's embedding.
    """

    version: ClassVar[int] = 1
    norm: ClassVar[str] = "layer"

    kind: Literal["p_probing"] = "p_probing"

    def places(self) -> tuple[str, ...]:
        return tuple(f"@{said}" for said in range(len(ATTRIBUTES)))

    def documents(self, text: Biographies, rng: np.random.Generator) -> Documents:
        def written(people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            batch = text.write(rng, people)
            starts = np.stack([batch.spans[name][:, 0] for name in ATTRIBUTES], axis=1)
            return batch.tokens, np.sort(starts, axis=1) - 1

        return written
