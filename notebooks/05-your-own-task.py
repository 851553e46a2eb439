# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5 · Your own task, your own probe
#
# You will learn to
#
# 1. write a task that is not in the box: one class in one file,
# 2. check it with a solver that knows nothing of how it was made,
# 3. write a probe that looks for one way of being wrong,
# 4. train a small grid with both, from the notebook, and read it.
#
# The task: a ball lies under one of five cups, cups are swapped two at a time, and the question is
# where the ball is in the end. One swap is looked up, several have to be followed one after the
# other. That is what loops might be good for.

# %%
from pathlib import Path

import pandas as pd

from experiments.analysis.tables.tables import print_table
from experiments.notebook import probe_run, show, table
from generators.streams import Stream, generator
from loopscope import load_grid, load_runs, run_grid
from probes.linear import Linear

LAB = Path("../runs/shell-game")  # not under version control
LAB.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## The task
#
# A task is a frozen configuration. It has a `vocabulary`, says how long a document can be, and
# `sample`s documents of a split and a difficulty, from the generator that it is given and nothing
# else. `OnlineTask` brings the splits: a hash of the problem decides whether training may see it.
# What the text does not say, such as where the ball is in between, goes into `latents`.

# %%
# %%writefile ../runs/shell-game/shell_game.py
"""Where is the ball? Cups are swapped two at a time, and the last place is asked for."""

from functools import cached_property
from itertools import combinations
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from generators.online import OnlineTask
from generators.task import Batch
from generators.vocabulary import Vocabulary


class ShellGame(OnlineTask):
    """`b ab cd ? a`: the ball is under b; after two swaps it is under a."""

    difficulty_name: ClassVar[str] = "swaps"
    kind: Literal["shell-game"] = "shell-game"
    cups: int = Field(5, ge=3, le=26)
    swaps: int = Field(3, ge=1, description="most of them")

    @cached_property
    def pairs(self) -> np.ndarray:
        """int[S, 2]: the cups that each swap exchanges."""
        return np.array(list(combinations(range(self.cups), 2)))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        cups = [chr(97 + c) for c in range(self.cups)]
        return Vocabulary.build(["?", *cups, *(cups[a] + cups[b] for a, b in self.pairs)])

    @property
    def context_length(self) -> int:
        return self.swaps + 3

    @property
    def difficulties(self) -> tuple[int, ...]:
        return tuple(range(1, self.swaps + 1))

    def difficulties_of(self, split: str) -> tuple[int, ...]:
        """Single swaps are the facts: training shows them all."""
        return self.difficulties if split == "train" else self.difficulties[1:]

    def sample(self, rng, n, *, split="train", difficulty=None, index=None) -> Batch:
        self.check_arguments(split, difficulty)
        known = self.difficulties_of(split)
        count = rng.choice(known, n) if difficulty is None else np.full(n, difficulty)
        start, swaps = np.empty(n, int), np.empty((n, self.swaps), int)

        def draw(rows):
            start[rows] = rng.integers(0, self.cups, len(rows))
            swaps[rows] = rng.integers(0, len(self.pairs), (len(rows), self.swaps))

        def fingerprint(rows):
            used = np.where(np.arange(self.swaps) < count[rows, None], swaps[rows] + 1, 0)
            base = (len(self.pairs) + 1) ** np.arange(self.swaps)
            return (used @ base * self.cups + start[rows]).astype(np.uint64)

        draw(np.arange(n))
        self.settle(split, np.flatnonzero(count > 1), fingerprint, draw)
        return self.documents(count, start, swaps)

    def documents(self, count, start, swaps) -> Batch:
        """Documents with so many swaps each; `after.k` is where the ball is after k of them."""
        rows, end = np.arange(len(count)), count + 1
        tokens = np.zeros((len(count), self.context_length), np.int32)
        tokens[:, 0] = self.vocabulary.id("a") + start
        ball, latents = start, {"after.0": start}
        for k in range(self.swaps):
            there = k < count
            tokens[there, 1 + k] = self.vocabulary.id("ab") + swaps[there, k]
            a, b = self.pairs[swaps[:, k]].T
            moved = np.where(ball == a, b, np.where(ball == b, a, ball))
            ball = np.where(there, moved, ball)
            latents[f"after.{k + 1}"] = np.where(there, ball, -1)
        tokens[rows, end] = self.vocabulary.id("?")
        tokens[rows, end + 1] = self.vocabulary.id("a") + ball
        answer = np.stack([end + 1, end + 2], axis=1).astype(np.int32)
        asked = np.arange(self.context_length) == end[:, None] + 1
        return Batch(tokens, asked, {"answer": answer}, latents, count.astype(np.int32))

    def floors(self, difficulty=None, split="test") -> dict[str, float]:
        """Without the first cup every place is equally likely."""
        return {"chance": 1 / self.cups}


# %% [markdown]
# ## The probe
#
# A probe is a frozen configuration too: a trained subject in, rows out. This one asks how far a
# model got: how often is its answer the place of the ball after only the first k swaps?
# `QuestionProbe` brings the questions, and `Measurement` has room for what a number needs to be
# read: floor, ceiling, interval and count.

# %%
# %%writefile ../runs/shell-game/how_far.py
"""How many of the swaps does an answer account for?"""

from typing import Literal

from probes.accuracy import greedy_answers
from probes.probe import Measurement, Subject
from probes.questions import QuestionProbe
from probes.statistics import wilson_interval


class HowFar(QuestionProbe):
    """`answers_after`: share of answers that are where the ball was after the first k swaps.

    `item` is `after.k`; where k is the difficulty it is the accuracy. The shares need not add up
    to 1: a ball that was not moved was in the same place before.
    """

    kind: Literal["how-far"] = "how-far"

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        rows = []
        for swaps, batch in self.batches(subject):
            answer = greedy_answers(subject.model, batch)[:, 0]
            for k in range(swaps + 1):
                place = subject.task.vocabulary.id("a") + batch.latents[f"after.{k}"]
                hits = answer == place
                low, high = wilson_interval(int(hits.sum()), len(hits))
                rows.append(
                    Measurement(
                        metric="answers_after",
                        value=float(hits.mean()),
                        n_items=len(hits),
                        split=self.split,
                        item=f"after.{k}",
                        difficulty=swaps,
                        floor=1 / subject.task.cups,
                        ceiling=1.0,
                        low=low,
                        high=high,
                    )
                )
        return tuple(rows)


# %% [markdown]
# ## The grid
#
# `kind: file.py:ClassName`, relative to the grid's own file. Whatever is wrong with it is said
# before anything is trained.

# %%
GRID = """
title: One layer follows a ball, with and without loops
baseline:
  task: {kind: shell_game.py:ShellGame, held_out: 0.2}
  model: {kind: looped, core: 1, width: 32, heads: 2, tied: true}
  training:
    batch: 256
    lr: 1.0e-2
    weight_decay: 1.0
    phases: [{until_step: 400, warmup: 50, decay: linear}]
  observe:
    evaluate_every: 50
    evaluate_with: [{kind: accuracy, splits: [test], items: 256}]
    probes: [{kind: accuracy, loops: all}, {kind: how_far.py:HowFar}]
axes:
  model.loops: [1, 3]
"""
(LAB / "shell.yaml").write_text(GRID, encoding="utf-8")
grid = load_grid(LAB / "shell.yaml")
task = grid.points[0].config.bound_task()
batch = task.sample(generator(1, Stream.EVALUATION), 6)
for tokens in batch.tokens:
    print(task.vocabulary.decode(tokens[tokens > 0]))

# %% [markdown]
# ## Is the task what it says?
#
# Before training on it: read a thousand documents as a person would and move the ball by hand. And
# no problem of the test split may be one of training.


# %%
def where_is_the_ball(text: str) -> str:
    """The cup that the swaps lead to, from the text alone."""
    ball, *swaps = text.split(" ? ")[0].split()
    for first, second in swaps:
        ball = {first: second, second: first}.get(ball, ball)
    return ball


def texts(split: str, n: int) -> list[str]:
    tokens = task.sample(generator(2, Stream.EVALUATION), n, split=split).tokens
    return [task.vocabulary.decode(row[row > 0]) for row in tokens]


seen, held_out = texts("train", 20_000), texts("test", 1000)
right = [where_is_the_ball(text) == text.split(" ? ")[1] for text in seen + held_out]
print(f"{sum(right)} of {len(right)} documents are right")
print(f"{len(set(seen) & set(held_out))} of {len(set(held_out))} held-out problems were seen")

# %% [markdown]
# There are only some hundred different problems to test on, so that an interval over thousands of
# questions, which repeat them, is narrower than it should be. More cups would mend that.
#
# ## Train it
#
# Two runs, a process each. Run the cell again and nothing happens: they are done. Change the task
# and raise its `version`, and they are other runs.

# %%
outcome = run_grid(grid, LAB / "runs", workers=2, progress=False)
print(f"{len(outcome.done)} done, {len(outcome.failed)} failed")
_ = print_table(LAB / "runs", grid.name)

# %%
show("learning_curves", LAB / "runs", grid.name)

# %% [markdown]
# One seed and a short schedule: a demonstration. What does each arm's answer account for?

# %%
runs = load_runs(LAB / "runs", grid.name)
far = runs[runs["metric"] == "answers_after"]
table(far.pivot_table(index=["arm", "difficulty"], columns="item", values="value", observed=True))

# %% [markdown]
# The last number of each row is the accuracy on this probe's own questions, which are others than
# the table's; the floor of each is 1 in 5. An arm whose shares are all near the floor follows
# nothing that this probe looks for; where `after.0` stands out, it answers with the cup that it was
# told.
#
# ## Probes of the box know the task as well
#
# Where the ball is in between is a latent, so the linear probe can look for it: after which loop,
# and at which token, is it decodable?

# %%
looped = far.sort_values("n_loops")["run_id"].iloc[-1]
probe = Linear(items=400, difficulties=(3,), targets=("after.1", "after.2", "after.3"), folds=2)
found = probe_run(LAB / "runs", looped, probe)
found = found[found["item"].str.endswith("@state")]
pd.options.display.float_format = "{:.2f}".format
found.pivot(index=["metric", "item"], columns="loop", values="value").loc[
    ["probe_accuracy", "probe_control"]
]

# %% [markdown]
# To keep a task or a probe: move its file into `generators/` or `probes/`, where its `kind` alone
# finds it, and put its checks into `tests/`: for a task the solver above, for a probe a model that
# has what it looks for and one that has not. Then more seeds, and a learning rate for each arm:
# `experiments/grids/headline.yaml` shows how.
