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
# # 1 · Quickstart: what does a model gain from running its layers several times?
#
# You will learn to
#
# 1. load a folder of results and read its table: every number with its floor and its seeds,
# 2. draw the two figures of the question: stored knowledge, and its use,
# 3. ask a question of your own of the long table,
# 4. open a trained model and watch its answer form, loop by loop.
#
# It reads results that come with the project. After `make quick` you can point it at your own:
# set the environment variable `LOOPSCOPE_RUNS` to `../runs/quick`, or write the folder below.

# %%
import os
from pathlib import Path

import pandas as pd
import torch
from IPython.display import display

from experiments.analysis.tables.tables import print_table
from experiments.notebook import reference, show, table
from experiments.results.selection import last_loop
from generators.streams import Stream, generator
from loopscope import load_model, load_runs

OUT = Path(os.environ.get("LOOPSCOPE_RUNS", reference("quick")))

# %% [markdown]
# ## The table
#
# A model k⊗n has k layers that run n times: 1⊗4 computes as much as four layers and stores one.
# *Capacity* is how many bits of a made-up encyclopaedia a parameter holds. *Accuracy* is measured
# on combinations of facts that were never asked in training; the last row is the accuracy that
# guessing without the ability reaches.

# %%
_ = print_table(OUT)

# %% [markdown]
# ## Two figures
#
# Loops add computation and no parameters. Were the first figure flat and the second not, they would
# buy the use of knowledge alone. Here, in one layer and one seed, they move both; notebook 2 has
# six seeds, and a model of two layers.

# %%
for kind in ("capacity_versus_loops", "accuracy_versus_loops"):
    display(show(kind, OUT))

# %% [markdown]
# ## A question of your own
#
# Everything measured is one long table, a row per run and number. For example: does a model that
# fails on held-out questions fail on those it was trained on too, or does it know them by heart?
# A click on a column's name sorts; the box filters.

# %%
runs = last_loop(load_runs(OUT))
accuracy = runs[runs["metric"] == "accuracy"]
by_split = accuracy.pivot_table(
    index=["part", "difficulty", "arm"], columns="split", values="value", observed=True
)
by_split = by_split.dropna(subset=["test"])
by_split["train - test"] = by_split["train"] - by_split["test"]
table(by_split)

# %% [markdown]
# A large difference in the last column is knowledge by heart that the model cannot combine.
#
# ## One question by hand
#
# A run that kept its weights can be opened again. The results called `inside` did: we take the
# model with the most loops and a question with the most hops that it has never seen, and read its
# answer after every loop.

# %%
INSIDE = reference("inside")
arms = last_loop(load_runs(INSIDE)).query("metric == 'accuracy' and split == 'test'")
deepest = arms[arms["arm"] == "1⊗4"].sort_values("difficulty").iloc[-1]
model, task = load_model(INSIDE, deepest["run_id"])
hops = int(deepest["difficulty"])
batch = task.sample(generator(1, Stream.EVALUATION), 1, split="test", difficulty=hops)
start, stop = batch.spans["answer"][0]
question, answer = batch.tokens[:, :start], batch.tokens[0, start:stop]
print("question:", task.vocabulary.decode(question[0]))
print("answer:  ", task.vocabulary.decode(answer))

# %%
rows = []
with torch.no_grad():
    outputs = model(torch.from_numpy(question).long())
    for loop in range(1, outputs.n_loops + 1):
        probability = outputs.logits(loop)[0, -1].softmax(-1)
        best = int(probability.argmax())
        rows.append(
            {
                "loop": loop,
                "says": task.vocabulary.text(best),
                "with probability": float(probability[best]),
                "probability of the answer": float(probability[int(answer[0])]),
            }
        )
pd.DataFrame(rows).set_index("loop").round(3)

# %% [markdown]
# The head was trained on the last loop only, so what it reads earlier is a hint, not an answer.
# Notebook 4 looks at what the earlier loops do instead.
#
# From here: write a grid of your own (`experiments/grids` has examples), see what it would cost
# with `loopscope plan`, run it with `loopscope run`, and point this notebook at its folder.
