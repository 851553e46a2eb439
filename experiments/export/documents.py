"""A few documents of a task, as a person would want to read them."""

import textwrap

from experiments.errors import LoopscopeError, wrap_plugin_error
from generators.streams import Stream, generator
from generators.task import Batch, Task

WIDTH = 96


def describe_task(title: str, task: Task, *, n: int, split: str, difficulty: int | None) -> str:
    """Documents of a task with what is scored, then its floors.

    Raises:
        LoopscopeError: a split or difficulty that the task lacks, or no documents asked for.
    """
    if n < 1:
        raise LoopscopeError(f"--n needs 1 or more, got {n}")
    step = 1 + task.splits.index(split) if split in task.splits else 0
    try:
        rng = generator(task.seed, Stream.EVALUATION, step)
        batch = task.sample(rng, n, split=split, difficulty=difficulty)
        floors = _floors(task, split, difficulty)
        lines = [title if title == task.kind else f"{title} ({task.kind})", *_facts(task)]
        for row in range(len(batch)):
            lines += ["", *document(task, batch, row)]
    except ValueError as error:
        raise LoopscopeError(str(error)) from error
    except Exception as error:  # whatever a plugin does wrong
        raise wrap_plugin_error(f"task {task.kind}: a sample of {n}", error) from error
    return "\n".join([*lines, *(["", *floors] if floors else [])])


def _facts(task: Task) -> list[str]:
    facts = [
        f"{len(task.vocabulary)} tokens in the vocabulary, "
        f"{task.context_length} in the longest document"
    ]
    if (bits := task.information_bits()) is not None:
        facts.append(f"{bits:,.0f} bits about the world")
    if (rows := int(task.occurring.sum())) < len(task.vocabulary) - 1:
        facts.append(f"{rows} of the tokens occur in this world")
    for sentence in task.caveats():
        facts += textwrap.wrap(sentence, WIDTH)
    return facts


def _floors(task: Task, split: str, difficulty: int | None) -> list[str]:
    """One line per difficulty of the split."""
    known = task.difficulties_of(split) if difficulty is None else (difficulty,)
    lines = []
    for d in known or (None,):
        name = "" if d is None else f" at {task.difficulty_name} {d}"
        floors, oracle = task.floors(d, split), task.oracle_floors(d, split)
        for title, found in (("floors", floors), ("with the held-out answers known", oracle)):
            if found and (found is floors or found != floors):
                values = ", ".join(f"{k} {v:.4f}" for k, v in found.items())
                lines.append(f"{title}{name}: {values}")
    return lines


def document(task: Task, batch: Batch, row: int) -> list[str]:
    """The text with its answer in brackets, which tokens are scored, and what the spans hold."""
    tokens, scored = batch.tokens[row], batch.loss_mask[row]
    length = int((tokens != 0).sum())
    words = [task.vocabulary.text(t) for t in tokens[:length]]
    start, stop = batch.spans["answer"][row] if "answer" in batch.spans else (-1, -1)
    if start >= 0:
        words[start] = "[" + words[start]
        words[stop - 1] += "]"
    if scored[1:length].all():
        under = ["scored: every token after the first"]
        text = textwrap.wrap(" ".join(words), WIDTH, initial_indent="  ", subsequent_indent="  ")
    else:
        text, under = _underlined(words, scored[:length].tolist()), []
    spans = (
        f"{name}: {task.vocabulary.decode(tokens[a:b])}"
        for name, (a, b) in ((k, v[row]) for k, v in batch.spans.items())
        if a >= 0
    )
    latents = (f"{name} {values[row]}" for name, values in batch.latents.items())
    return [
        *text,
        *(f"    {line}" for line in [*under, *spans]),
        *textwrap.wrap(
            "latents: " + ", ".join(latents),
            WIDTH,
            initial_indent="    ",
            subsequent_indent="      ",
        ),
    ]


def _underlined(words: list[str], scored: list[bool]) -> list[str]:
    """The words with carets under the scored ones, in lines of at most WIDTH columns."""
    lines: list[list[int]] = [[]]
    for i in range(len(words)):
        if sum(len(words[j]) + 1 for j in lines[-1]) + len(words[i]) > WIDTH and lines[-1]:
            lines.append([])
        lines[-1].append(i)
    found = []
    for line in lines:
        found.append("  " + " ".join(words[i] for i in line))
        carets = " ".join(("^" if scored[i] else " ") * len(words[i]) for i in line).rstrip()
        if carets:
            found.append("  " + carets)
    return found
