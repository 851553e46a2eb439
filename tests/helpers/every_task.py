"""Every shipped kind of task, and a fingerprint of the bytes that it writes."""

import hashlib

import numpy as np

from generators.plugins import choices
from generators.streams import Stream, generator
from generators.task import Task

KINDS = sorted(choices(Task, "generators"))


def task_of(kind: str) -> Task:
    return choices(Task, "generators")[kind]().bind(5)  # pyrefly: ignore


def fingerprint(kind: str) -> str:
    """Of tokens, masks, spans and difficulties of a batch of every split."""
    task = task_of(kind)
    digest = hashlib.sha256()
    for split in task.splits:
        batch = task.sample(generator(5, Stream.TRAIN, 2), 64, split=split, index=128)
        for name in sorted(batch.spans):
            digest.update(name.encode() + batch.spans[name].tobytes())
        digest.update(batch.tokens.tobytes() + batch.loss_mask.tobytes())
        digest.update(np.asarray(batch.difficulty).tobytes())
    return digest.hexdigest()
