"""The layout of question documents: pieces of varying length, joined a batch at a time.

Questions end in the answer: the intermediate results, if they are written (chain of thought),
then the result. A model that thinks aloud is judged by its own chain: `spans["answer"]` covers
both, so that greedy generation writes both, and `result_is_right` looks at the result alone.

Legend: B documents, T tokens, W tokens of the widest form of a piece.
"""

from collections.abc import Iterable

import numpy as np

from generators.batch import Batch

STEPS, RESULT, ANSWER = "steps", "result", "answer"

#: name of the span ("" for none) and int32[B, W], or [W] where it is the same in every document;
#: id 0 marks what a document does not have
Piece = tuple[str, np.ndarray]


def write_question(
    pieces: Iterable[Piece], latents: dict[str, np.ndarray], difficulty: np.ndarray
) -> Batch:
    """The pieces one after another in every document, without gaps; the answer is scored.

    Args:
        pieces: the last one is called `result`; one before it may be called `steps`.
        difficulty: int[B].
    """
    n = len(difficulty)
    named = [(name, np.broadcast_to(tokens, (n, tokens.shape[-1]))) for name, tokens in pieces]
    wide = np.concatenate([tokens for _, tokens in named], axis=1)
    present = wide != 0
    stops = present.cumsum(axis=1, dtype=np.int32)
    length = stops[:, -1:]
    columns = np.arange(length.max(initial=1), dtype=np.int32)
    inside = columns < length
    tokens = np.zeros(inside.shape, np.int32)
    tokens[inside] = wide[present]
    spans, column = {}, 0
    for name, piece in named:
        start = stops[:, column - 1] if column else np.zeros(n, np.int32)
        column += piece.shape[1]
        if name:
            span = np.stack([start, stops[:, column - 1]], axis=1)
            spans[name] = np.where(span[:, :1] == span[:, 1:], np.int32(-1), span)
    first = np.where(spans[STEPS] < 0, spans[RESULT], spans[STEPS]) if STEPS in spans else None
    result = spans[RESULT]
    spans[ANSWER] = result if first is None else np.stack([first[:, 0], result[:, 1]], axis=1)
    loss_mask = inside & (columns >= spans[ANSWER][:, :1])
    return Batch(tokens, loss_mask, spans, latents, difficulty.astype(np.int32))


def result_is_right(batch: Batch, generated: np.ndarray) -> np.ndarray:
    """bool[B]: whether the generated answers, int32[B, A], end in the right result."""
    start, stop = batch.spans[RESULT].T
    skipped = start - batch.spans[ANSWER][:, 0]
    columns = np.arange((stop - start).max(initial=1))
    inside = columns < (stop - start)[:, None]
    at = np.minimum(start[:, None] + columns, batch.tokens.shape[1] - 1)
    wanted = np.take_along_axis(batch.tokens, at, axis=1)
    at = np.minimum(skipped[:, None] + columns, generated.shape[1] - 1)
    return np.all((np.take_along_axis(generated, at, axis=1) == wanted) | ~inside, axis=1)


def share_of_most_frequent(values: np.ndarray, n: int) -> float:
    """Mean over the rows of int[G, m] of the share of each row's most frequent value in 0 … n-1."""
    groups = np.arange(len(values), dtype=np.int64)[:, None]
    counts = np.bincount((values + n * groups).ravel(), minlength=n * len(values))
    return float(counts.reshape(-1, n).max(axis=1).mean() / values.shape[1])
