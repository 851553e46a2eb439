"""Mano: modular arithmetic without writing anything down (Physics of Language Models 4.1).

Legend: B documents, T tokens, ℓ operators of an expression, L most operators, M modulus,
O operators to choose from.
"""

from functools import cached_property
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from generators.online import OnlineTask
from generators.support.expressions import (
    OPERATORS,
    Shapes,
    answer_law,
    draw_shapes,
    evaluate,
    fingerprints,
    operator_table,
)
from generators.task import Batch
from generators.vocabulary import BOS, Vocabulary

#: held-out expressions of two operators per shape: fewer, and none might be left for a split
FEWEST = 40


class Mano(OnlineTask):
    """The value modulo M of an expression of ℓ operators in prefix notation.

    ℓ is uniform in 1 … L, operators and operands are uniform, and of an operator's ℓ - 1
    operators below it a uniform number is on its left. What has to be known by heart are the
    tables of the operators; so expressions of one operator, which are these tables, are all in
    training, and of the others a share `held_out` never is. Expressions that differ only in the
    order of the operands of + and * share a split, so that no held-out one is a mirror image of
    one in training.

    >>> task = Mano(length=3, modulus=7).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 3, 0]), 1, difficulty=2)
    >>> print(task.vocabulary.decode(batch.tokens[0])); print(batch.loss_mask[0].astype(int))
    <bos> <len_2> * * 6 4 4 <ans> 5
    [0 1 1 1 1 1 1 1 1]
    >>> {name: int(value[0]) for name, value in batch.latents.items()}
    {'left': 3, 'right': 4, 'depth': 2}

    With `cot` the values of all operators, the last written first, stand before the answer,
    after `<ans>`; the model has to write them itself, and only the last one, the answer, is
    marked. The paper trains on all tokens with M = 23, L = 10, 13 or 16 and tests at ℓ = L.
    The published code also has division, switched off; it is left out here.
    """

    version: ClassVar[int] = 2  # 1 held out expressions whose mirror images were in training
    difficulty_name: ClassVar[str] = "operators"

    kind: Literal["mano"] = "mano"
    length: int = Field(10, ge=2, le=1000, description="L, most operators in an expression")
    modulus: int = Field(23, ge=2, le=1000, description="arithmetic is modulo this number")
    operators: str = Field("+-*", min_length=1, description="some of + - *")
    loss: Literal["all", "answer"] = Field("all", description="tokens that are scored")
    cot: bool = Field(False, description="write the values of all operators, innermost first")
    synonyms: bool = Field(
        False, description="two words for every operator and marker, as the published code has"
    )
    answer_tells_length: bool = Field(
        False, description="another <ans> for every length, as the published code has"
    )

    @field_validator("operators")
    @classmethod
    def _known_operators(cls, value: str) -> str:
        if len(set(value)) < len(value) or not set(value) <= set(OPERATORS):
            raise ValueError(
                f"operators are some of {''.join(OPERATORS)}, each once, not {value!r}"
            )
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        spare = 3 if self.cot else 2
        longest = (self.context - 5 + self.cot) // spare
        self.check_context(f"lower length to at most {longest}")
        expressions = len(self.operators) ** 2 * self.modulus**3
        if expressions * self.held_out / 2 < FEWEST:
            raise ValueError(
                f"held_out {self.held_out} of the {expressions} expressions of a shape with two "
                f"operators leaves fewer than {FEWEST} to test on; raise held_out, modulus or "
                "the number of operators"
            )
        return self

    @cached_property
    def vocabulary(self) -> Vocabulary:
        lengths = range(1, self.length + 1)
        ends = [f"<ans_{k}>" for k in lengths] if self.answer_tells_length else ["<ans>"]
        words = [BOS, *(f"<len_{k}>" for k in lengths), *ends, *self.operators]
        if self.synonyms:
            words += [f"{word}'" for word in words]
        return Vocabulary.build(words + [str(v) for v in range(self.modulus)])

    @property
    def context_length(self) -> int:
        return 2 * self.length + 5 + (self.length - 1 if self.cot else 0)

    @property
    def difficulties(self) -> tuple[int, ...]:
        """A difficulty is a number of operators."""
        return tuple(range(1, self.length + 1))

    def difficulties_of(self, split: str) -> tuple[int, ...]:
        """Only training has difficulty 1: expressions of one operator are the operation tables."""
        return self.difficulties if split == "train" else self.difficulties[1:]

    def sample(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        split: str = "train",
        difficulty: int | None = None,
        index: int | None = None,
    ) -> Batch:
        self.check_arguments(split, difficulty)
        if difficulty is None:
            operators = rng.choice(self.difficulties_of(split), n)
        else:
            operators = np.full(n, difficulty)
        order = np.argsort(-operators, kind="stable")
        shapes = draw_shapes(rng, operators[order])
        symbols = self._symbols(rng, shapes.sizes)
        commutes = np.array([operator in "+*" for operator in self.operators])

        def fingerprint(rows: np.ndarray) -> np.ndarray:
            return fingerprints(shapes, symbols, commutes, rows)

        def redraw(rows: np.ndarray) -> None:
            symbols[:, rows] = self._symbols(rng, shapes.sizes[:, rows])

        self.settle(split, np.flatnonzero(operators[order] > 1), fingerprint, redraw)
        place = np.empty_like(order)  # where each document is among the sorted ones
        place[order] = np.arange(n)
        return self._documents(rng, operators, shapes, symbols, place)

    def _symbols(self, rng: np.random.Generator, sizes: np.ndarray) -> np.ndarray:
        """Operator number or operand of every symbol, uint16[P, B], 0 beyond the end."""
        operand = rng.integers(0, self.modulus, sizes.shape, np.uint16)
        operator = rng.integers(0, len(self.operators), sizes.shape, np.uint16)
        np.copyto(operand, operator, where=sizes > 0)
        np.copyto(operand, np.uint16(0), where=sizes < 0)
        return operand

    def _documents(
        self,
        rng: np.random.Generator,
        operators: np.ndarray,
        shapes: Shapes,
        symbols: np.ndarray,
        place: np.ndarray,
    ) -> Batch:
        values = evaluate(shapes, symbols, self._table)
        v, n, rows = self.vocabulary, len(operators), np.arange(len(operators))
        zero = np.int32(v.id("0"))
        end = 2 * operators + 3  # where <ans> stands
        written = operators if self.cot else np.ones_like(operators)
        expression = np.where(shapes.sizes > 0, np.int32(v.id(self.operators[0])), zero) + symbols
        np.copyto(expression, np.int32(0), where=shapes.sizes < 0)
        tokens = np.zeros((n, int((end + written).max()) + 1), np.int32)
        tokens[:, 0] = v.id(BOS)
        tokens[:, 1] = v.id("<len_1>") + operators - 1
        tokens[:, 2 : 2 + len(expression)] = expression.take(place, axis=1).T
        tokens[rows, end] = (
            v.id("<ans_1>") + operators - 1 if self.answer_tells_length else v.id("<ans>")
        )
        if self.synonyms:
            words = v.id(f"{BOS}'") - v.id(BOS)
            once = (tokens > 0) & (tokens <= words)
            tokens += words * (once & rng.integers(0, 2, tokens.shape, np.uint8).astype(bool))
        if self.cot:
            inner = np.ascontiguousarray(shapes.sizes[:, place].T > 0)
            at = end[:, None] + 1 + operators[:, None] - np.cumsum(inner, axis=1)
            row, column = inner.nonzero()
            tokens[row, at[row, column]] = zero + values[column, place[row]]
        else:
            tokens[rows, end + 1] = zero + values[0, place]
        stop = end + 1 + written
        columns = np.arange(tokens.shape[1])
        scored = columns < stop[:, None]
        scored &= columns > (0 if self.loss == "all" else end[:, None])
        spans = {"expression": (np.full(n, 2), end), "answer": (end + 1, stop)}
        if self.cot:
            spans["result"] = (stop - 1, stop)
        right = 2 + 2 * shapes.sizes[1, place]
        latents = {
            "left": values[1, place],
            "right": values[right, place],
            "depth": shapes.depth[place],
        }
        return Batch(
            tokens,
            scored,
            {name: np.stack(pair, axis=1).astype(np.int32) for name, pair in spans.items()},
            {name: latent.astype(np.int32) for name, latent in latents.items()},
            operators.astype(np.int32),
        )

    @cached_property
    def _table(self) -> np.ndarray:
        return operator_table(self.modulus, self.operators)

    @cached_property
    def _law(self) -> np.ndarray:
        return answer_law(self.length, self.modulus, self.operators)

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """`majority`: the most frequent value, exactly, over all expressions of `difficulty`
        operators; `chance`: 1/M. Without a difficulty: their mean over the split's.
        """
        self.check_arguments(split, difficulty)
        known = self.difficulties_of(split) if difficulty is None else (difficulty,)
        return {
            "majority": float(self._law[list(known)].max(axis=1).mean()),
            "chance": 1 / self.modulus,
        }
