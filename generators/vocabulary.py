"""A closed vocabulary: every token is a string known beforehand.

A byte-pair vocabulary of 50,257 rows would hide the capacity of a small model behind its
embedding; here a row that no document has is an entry of a pool that the world does not use
(`Task.occurring`). Where pools overlap (a first and a middle name
"Lee") each role has its own token, written `role:text`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

PAD = "<pad>"
BOS = "<bos>"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in a fixed order; the token id is the position. `<pad>` is always id 0.

    >>> v = Vocabulary.build(["first:Lee", "was", "born"])
    >>> v.ids(["first:Lee", "born"]).tolist(), v.decode([1, 2, 3, 0])
    ([1, 3], 'Lee was born')
    """

    tokens: tuple[str, ...]
    #: tokens of a role are printed without their `role:` prefix
    roles: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def build(cls, tokens: Iterable[str]) -> "Vocabulary":
        """`<pad>` first, then `tokens` in the given order, repeats dropped."""
        unique = tuple(dict.fromkeys([PAD, *tokens]))
        roles = frozenset(t.split(":", 1)[0] for t in unique if ":" in t[1:-1])
        return cls(unique, roles)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def index(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}

    def id(self, token: str) -> int:
        """Raises KeyError if the token is not in the vocabulary."""
        return self.index[token]

    def ids(self, tokens: Sequence[str]) -> np.ndarray:
        """int32[len(tokens)]; raises KeyError for an unknown token."""
        return np.array([self.index[t] for t in tokens], dtype=np.int32)

    def among(self, *ids: np.ndarray) -> np.ndarray:
        """bool[V]: whether a token is one of these ids (of any shape); `<pad>` never is."""
        found = np.zeros(len(self), bool)
        for some in ids:
            found[some.ravel()] = True
        found[0] = False
        return found

    def text(self, token_id: int) -> str:
        """One token as a reader wants to see it, without its role."""
        token = self.tokens[int(token_id)]
        role, _, word = token.partition(":")
        return word if word and role in self.roles else token

    def decode(self, token_ids: Iterable[int]) -> str:
        """Readable text without padding."""
        return " ".join(self.text(i) for i in token_ids if int(i) != 0)
