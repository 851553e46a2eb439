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
# # 6 · Training live: stop, go on, and look closer
#
# You will learn to
#
# 1. train a small grid in a cell, with a table and curves that update while it works,
# 2. stop it and go on without losing a step,
# 3. draw what came out, and ask it a question,
# 4. explore runs by clicking on them, which needs no kernel.

# %%
from pathlib import Path

import loopscope
from experiments.notebook import show, table

LAB = Path("../runs/live")  # not under version control
LAB.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## A grid of four runs
#
# One hop and two hops of permutations of eight entities, one layer run once and twice, two seeds.
# It takes about a minute on two cores; `loopscope.load_grid` reads it as the command does.

# %%
GRID = """
title: Two hops, one loop and two
baseline:
  task: {kind: multihop, world: permutation, entities: 8, relations: 8, hops: 2}
  model: {width: 32, heads: 2, tied: true, injection: add}
  training: {batch: 128, lr: 8.0e-3, weight_decay: 0.1, phases: [{until_step: 600, decay: sqrt}]}
  observe:
    evaluate_every: 50
    evaluate_with: [{kind: accuracy, items: 256, splits: [test]}]
    log_every: 10
axes:
  seed: [0, 1]
  model.loops: [1, 2]
"""
(LAB / "live.yaml").write_text(GRID, encoding="utf-8")
grid = loopscope.load_grid(LAB / "live.yaml")

# %% [markdown]
# ## Training
#
# The output of this cell updates once a second. **Stop it** with ■ (or I, I): the runs write their
# checkpoints and the cell ends. **Run it again** and it goes on from there; once all runs are done
# nothing is left to do, so running the whole notebook again costs nothing. A restart of the kernel
# changes nothing either, since everything is in the folder.

# %%
outcome = loopscope.run_grid(grid, LAB / "runs", workers=2)
print(f"{len(outcome.done)} done, {len(outcome.failed)} failed, {len(outcome.resumable)} to go on")

# %% [markdown]
# ## What came out

# %%
show("learning_curves", LAB / "runs", grid.name)

# %%
runs = loopscope.load_runs(LAB / "runs")
accuracy = runs.query("metric == 'accuracy' and split == 'test' and loop == n_loops")
table(accuracy[["arm", "seed", "difficulty", "value", "floor"]])

# %% [markdown]
# ## Look closer
#
# Choose what stands across and up, and click on a point: its curves, its config and what repeats
# it appear below, and those of the next point beside it. `questions=2` puts two questions to a run
# of each arm, to be stepped through loop by loop. All of it lives in the page: it goes on working
# after the kernel has been restarted, or shut down.

# %%
loopscope.explore(accuracy, questions=2)
