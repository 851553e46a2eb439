"""A check that a task from a user's file keeps its test questions out of training.

The tasks of `generators` do so by construction.
"""

from collections.abc import Iterable, Iterator

from experiments.config.run import RunConfig
from generators.streams import Stream, generator
from generators.task import Batch, Task

#: documents of each split and difficulty that are compared
TRAINING, TEST = 512, 256
#: share of test questions among them that no longer is an accident
TOO_MANY = 0.1


def leaks(configs: Iterable[RunConfig]) -> Iterator[str]:
    """A warning for each such task and difficulty whose test questions occur in training.

    A task that cannot be sampled is passed over: whoever trains on it says so better.
    """
    seen = set[str]()
    for config in configs:
        text = f"{type(config.task).__qualname__} {config.task.model_dump_json()}"
        if text in seen:
            continue
        seen.add(text)
        try:
            found = [leak for part in config.bound_task().parts.values() for leak in _leaks(part)]
        except Exception:  # whatever a plugin does wrong
            continue
        yield from found


def _leaks(task: Task) -> Iterator[str]:
    ours = type(task).__module__.partition(".")[0] == "generators"
    if ours or not {"train", "test"} <= set(task.splits):
        return
    for difficulty in task.difficulties_of("test") or (None,):
        if difficulty is not None and difficulty not in task.difficulties_of("train"):
            continue
        share = leaked(task, difficulty)
        if share >= TOO_MANY:
            hard = "" if difficulty is None else f" of {task.difficulty_name} {difficulty}"
            yield (
                f"task {task.kind}: {share:.0%} of {TEST} test questions{hard} are among "
                f"{TRAINING} training documents, so its split test is not held out: accuracy "
                "there may be memory"
            )


def leaked(task: Task, difficulty: int | None) -> float:
    """The share of test questions that a few hundred training documents ask too."""
    training, test = (
        _questions(
            task.sample(
                generator(task.seed, Stream.PROBE, i), n, split=split, difficulty=difficulty
            )
        )
        for i, (split, n) in enumerate((("train", TRAINING), ("test", TEST)))
    )
    known = set(training)
    return sum(question in known for question in test) / max(len(test), 1)


def _questions(batch: Batch) -> list[bytes]:
    """The tokens before each answer."""
    if "answer" not in batch.spans:
        return []
    starts = batch.spans["answer"][:, 0].tolist()
    return [
        row[:start].tobytes() for row, start in zip(batch.tokens, starts, strict=True) if start > 0
    ]
