"""Every shipped kind of task, and digests of the bytes that it writes."""

import hashlib
from collections.abc import Iterable

import numpy as np

from generators.biod import BioD
from generators.biographies import Biographies
from generators.brevo import Brevo
from generators.comparison import Comparison
from generators.composition import Composition
from generators.copying import Copying
from generators.depo import Depo
from generators.extraction import Extraction
from generators.layered import Layered
from generators.mano import Mano
from generators.mqar import MQAR
from generators.multihop import MultiHop
from generators.operations import Operations
from generators.phop import PHop
from generators.plugins import choices
from generators.random_sequences import RandomSequences
from generators.streams import Stream, generator
from generators.task import Batch, Task

KINDS = sorted(choices(Task, "generators"))
COMPOSITION = Composition(entities=30, relations=6, out_degree=4, phi=2.0, ood=0.2, held_out=0.1)
COMPARISON = Comparison(entities=12, attributes=3, values=5, phi=2.0, ood=0.25, held_out=20)
SUBTRACTION = Operations(operation="subtraction", biographies=Biographies(people=40))
LONG_STRINGS = BioD(people=50, chunks=2, diversity=9, length=30, alphabet=40)
ALL_TEMPLATES = Biographies(people=100, pools="full", templates=44)

#: (bound task, documents, index of the first) of one training batch -> digest of its tokens and
#: masks. A change of these bytes needs a new `version` of the task (numpy 2.x).
GOLDEN: list[tuple[Task, int, int | None, str]] = [
    (Brevo(order="leaves").bind(4), 64, None, "1e1e0ea598c5eb8b"),
    (Brevo().bind(4), 64, None, "7475bf950d14943e"),
    (MQAR().bind(4), 64, None, "e071577e3392b8ad"),
    (COMPARISON.bind(4), 512, None, "087e29617af63594"),
    (COMPOSITION.bind(4), 512, None, "6f91d2a607e937fe"),
    (Copying().bind(4), 64, None, "44c99520d53059da"),
    (Depo().bind(4), 64, None, "58f6d10236b0a984"),
    (Layered().bind(4), 512, None, "6cf2dde2bb87f386"),
    (Mano().bind(4), 256, None, "03497b1458d894b7"),
    (MultiHop(hold_out="questions").bind(4), 512, None, "6c7222942c59c7fa"),
    (MultiHop().bind(4), 512, None, "0fc3a26f14413e9b"),
    (SUBTRACTION.bind(3), 64, 5, "196f874e18f375fd"),
    (PHop().bind(4), 64, None, "71097c836f5f1632"),
    (RandomSequences().bind(4), 512, 700, "c57f815b58eecc92"),
]
#: the same with spans and the names of all tokens
GOLDEN_WITH_WORDS: list[tuple[Task, int, str]] = [
    (BioD(people=100).bind(11), 30, "a6cf3179f50b3c92"),
    (LONG_STRINGS.bind(11), 30, "8788762a3dca055e"),
    (Biographies(people=100).bind(11), 150, "1e3a6bdfb32408f3"),
    (ALL_TEMPLATES.bind(11), 150, "278427b00547d6ac"),
]
EXTRACTION_GOLDEN = "afc0825e3d0862ce"


def task_of(kind: str) -> Task:
    return choices(Task, "generators")[kind]().bind(5)  # pyrefly: ignore


def digest(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def words(task: Task) -> bytes:
    return "|".join(task.vocabulary.tokens).encode()


def with_spans(batch: Batch) -> list[bytes]:
    spans = [span.tobytes() for span in batch.spans.values()]
    return [batch.tokens.tobytes(), batch.loss_mask.tobytes(), *spans]


def fingerprint(kind: str) -> str:
    """Digest of tokens, masks, spans and difficulties of a batch of every split."""
    task, parts = task_of(kind), []
    for split in task.splits:
        batch = task.sample(generator(5, Stream.TRAIN, 2), 64, split=split, index=128)
        for name in sorted(batch.spans):
            parts += [name.encode(), batch.spans[name].tobytes()]
        parts += [batch.tokens.tobytes(), batch.loss_mask.tobytes()]
        parts.append(np.asarray(batch.difficulty).tobytes())
    return digest(parts)


def golden_digests() -> list[str]:
    """What the three tables above should say, worked out anew."""
    found = []
    for task, n, index, _ in GOLDEN:
        batch = task.sample(generator(task.seed, Stream.TRAIN, 9), n, index=index)
        found.append(digest([batch.tokens.tobytes(), batch.loss_mask.tobytes()]))
    for task, index, _ in GOLDEN_WITH_WORDS:
        batch = task.sample(generator(11, Stream.TRAIN, 2), 64, index=index)
        found.append(digest([*with_spans(batch), words(task)]))
    task, parts = Extraction(qa_ratio=0.6).bind(11), []
    for split, index in (("train", 700), ("test", None)):
        rng = generator(11, Stream.TRAIN, 2)
        parts += with_spans(task.sample(rng, 64, split=split, index=index))
    found.append(digest([words(task), *parts]))
    return found
