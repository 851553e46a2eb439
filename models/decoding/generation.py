"""Decoding: from prompts to new tokens, with a cache, early exits, and only unfinished documents.

The prompt but its last token is read first (prefill; all loops, no exits). Each step then reads
one token per document, under the exit rule, and chooses the next: the first answer token comes
from the last token of the prompt, which is where a gate was trained.

Legend: B prompts, T columns of the prompts, A new tokens, S samples, V vocabulary, b active.
"""

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from models.decoding.cache import CacheSettings
from models.decoding.exit_rules import AllLoops, ExitRule
from models.decoding.readers import CachedReader, Reader, UncachedReader
from models.looped import LoopedTransformer


class Sampling(BaseModel):
    """How the next token is chosen from its logits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(0.0, ge=0, description="0: the likeliest token")
    top_p: float = Field(1.0, gt=0, le=1, description="of the likeliest tokens, 1904.09751")
    samples: int = Field(1, ge=1, description="continuations of every prompt")


@dataclass(frozen=True)
class Generated:
    """N = B·S continuations, those of one prompt next to each other.

    Attributes:
        tokens: int64[N, A], padded with 0 after the last one.
        exit_loop: int64[N, A], the loop after which each token was read; 0 in the padding.
        logits: [N, A, V] from which each was chosen, where asked for.
        cache_bytes: size of keys and values kept; 0 without a cache.
    """

    tokens: Tensor
    exit_loop: Tensor
    logits: Tensor | None
    cache_bytes: int


def choose(logits: Tensor, sampling: Sampling, uniform: Tensor | None = None) -> Tensor:
    """The next tokens, int64[b], from logits [b, V].

    Args:
        uniform: [b] numbers in [0, 1), one a document; not used at temperature 0.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    assert uniform is not None
    p, order = (logits.double() / sampling.temperature).softmax(-1).sort(-1, descending=True)
    before = p.cumsum(-1) - p
    p = torch.where(before < sampling.top_p, p, 0.0)
    cdf = p.cumsum(-1)
    rank = torch.searchsorted(cdf, uniform[:, None] * cdf[:, -1:], right=True)
    rank = rank.clamp(max=(p > 0).sum(-1, keepdim=True) - 1)
    return order.gather(-1, rank)[:, 0]


def generate(
    model: LoopedTransformer,
    prompts: Tensor,
    new_tokens: int | Tensor,
    *,
    attention_mask: Tensor | None = None,
    cache: CacheSettings | None = CacheSettings(),  # noqa: B008 frozen
    exit_rule: ExitRule = AllLoops(),  # noqa: B008 frozen
    loops: int | None = None,
    sampling: Sampling = Sampling(),  # noqa: B008 frozen
    rng: np.random.Generator | None = None,
    stop_token: int | None = None,
    keep_logits: bool = False,
) -> Generated:
    """Continues prompts.

    Args:
        prompts: int[B, T], padded on either side.
        new_tokens: most tokens to add, for all prompts or int[B] for each.
        attention_mask: bool[B, T], False at padding; default: no prompt token is padding.
        cache: None computes everything again for every token, all loops, as a reference.
        loops: of the prompt, and most loops of a new token; default: those of the model.
        rng: source of the samples; needed at a temperature above 0.
        stop_token: ends a continuation; it is kept.

    Raises:
        ValueError: an empty prompt, the exit rule does not fit, or there is no `rng`.
    """
    if attention_mask is None:
        attention_mask = torch.ones_like(prompts, dtype=torch.bool)
    loops = model.config.loops if loops is None else loops
    if not bool(attention_mask.any(1).all()):
        raise ValueError("every prompt needs at least one token that is not padding")
    if sampling.temperature > 0 and rng is None:
        raise ValueError(f"temperature {sampling.temperature} needs a random generator `rng`")
    S = sampling.samples
    most = torch.as_tensor(new_tokens, device=prompts.device).expand(len(prompts))
    most = most.repeat_interleave(S)
    reader: Reader
    with torch.no_grad():
        if cache is None:
            reader = UncachedReader(model, prompts, attention_mask, loops, exit_rule)
        else:
            columns = prompts.shape[1] + int(most.max())
            reader = CachedReader(model, prompts, attention_mask, loops, exit_rule, cache, columns)
        reader.repeat(S)
        return _continue(reader, most, sampling, rng, stop_token, keep_logits)


def _continue(
    reader: Reader,
    most: Tensor,
    sampling: Sampling,
    rng: np.random.Generator | None,
    stop_token: int | None,
    keep_logits: bool,
) -> Generated:
    N, A = len(most), int(most.max())
    tokens = torch.zeros(N, A, dtype=torch.int64, device=most.device)
    exit_loop = torch.zeros_like(tokens)
    every: Tensor | None = None
    unfinished = most > 0
    for step in range(A):
        # one number for every document, so that none depends on which others go on
        uniform = None if rng is None else torch.from_numpy(rng.random(N)).to(most.device)
        rows = unfinished.nonzero()[:, 0]
        if not len(rows):
            break
        logits, exit_loop[rows, step] = reader.read(rows)
        if keep_logits:
            every = logits.new_zeros(N, A, logits.shape[-1]) if every is None else every
            every[rows, step] = logits
        chosen = choose(logits, sampling, None if uniform is None else uniform[rows])
        tokens[rows, step] = chosen
        reader.append(rows, chosen)
        unfinished = unfinished & (step + 1 < most)
        if stop_token is not None:
            unfinished[rows] &= chosen != stop_token
    return Generated(tokens, exit_loop, every, reader.nbytes)
