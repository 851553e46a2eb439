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
# # 3 · Manipulation without chain of thought: do loops compute more?
#
# You will learn to
#
# 1. read a multi-hop question, and the floor below which an accuracy says nothing,
# 2. see how many loops two and three hops need, and what equal depth without loops does,
# 3. find the step at which a skill emerges, and why means over seeds mislead there,
# 4. put the claim to a test that pairs runs by seed.

# %%
from collections.abc import Callable

import altair as alt
import pandas as pd
from IPython.display import display

from experiments.analysis.drawing.style import COLOURS
from experiments.measuring.load import load_task
from experiments.notebook import REFERENCE, offline_charts, reference, show, table
from experiments.results import emergence_step
from experiments.results.selection import last_loop, over_seeds
from generators.streams import Stream, generator
from loopscope import compare, load_curves, load_runs
from probes.statistics import SOLVED

offline_charts()

# a second set with more arms and a longer schedule, where a checkout has it
SETS = [name for name in ("headline", "staircase") if (REFERENCE / name).is_dir()]


def everything(load: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """The accuracies of all sets, each read at the last loop, with a name for each world."""
    rows = last_loop(pd.concat([load(reference(name), name) for name in SETS]))
    named = rows["part"].where(rows["part"] != "", rows["grid"])
    return rows.assign(part=named)[rows["metric"] == "accuracy"]


accuracy = everything(load_runs)
for part, rows in accuracy.groupby("part"):
    print(f"{part}: {rows['run_id'].nunique()} runs of {', '.join(rows['arm'].unique())}")

# %% [markdown]
# ## The questions
#
# A world is a table of relations over entities. Every single fact is in training, and so are most
# questions that compose two or three; the rest is held out. `<3> e1 r2 r3 r4` asks for the entity
# that is reached from `e1` over three relations. The answer has to come **at once**: nothing is
# written on the way. With chain of thought (`cot: true`, below) the same question would be three
# easy ones.

# %%
task = load_task(reference("headline"), accuracy["run_id"].iloc[0])
for hops in task.difficulties:
    for cot in (False, True):
        shown = task.model_copy(update={"cot": cot}).bind(task.seed)
        batch = shown.sample(generator(1, Stream.EVALUATION), 1, difficulty=hops)
        tokens = batch.tokens[0]
        text = shown.vocabulary.decode(tokens[tokens > 0])
        print(f"{hops} hop{'s' if hops > 1 else ''}, {'with' if cot else 'without'} it: {text}")

# %% [markdown]
# ## Floors
#
# Relations that are random functions shrink the set of entities they lead to, so that the best
# guess from the relations alone, without the entity, is right more often the more hops there are.
# With permutations every answer stays equally likely. Each accuracy is read against the floor of
# its own world.

# %%
floors = accuracy.groupby(["part", "difficulty"])["floor"].mean().unstack()
floors.round(3)

# %% [markdown]
# ## How many loops do two and three hops need?

# %%
held_out = accuracy[accuracy["split"] == "test"]
found = over_seeds(held_out, ["part", "difficulty", "arm"])
table(found[["part", "difficulty", "arm", "mean", "low", "high", "n", "solved", "floor"]])

# %%
for name in SETS:
    display(show("accuracy_versus_loops", reference(name), name))

# %% [markdown]
# 4⊗1 is the control of equal depth: four layers of their own, run once, cost the computation of
# 1⊗4 and four times its weights in the core.

# %%
cost = held_out[held_out["part"] == "functions"]
cost = cost.groupby("arm")[["parameters", "train_flops"]].first()
cost["parameters against 1⊗1"] = cost["parameters"] / cost.loc["1⊗1", "parameters"]
cost["FLOPs against 1⊗1"] = cost["train_flops"] / cost.loc["1⊗1", "train_flops"]
cost.round(2)

# %% [markdown]
# ## Known by heart, or computed?
#
# Does an arm that fails on held-out questions answer those of training? The share of its training
# accuracy that is left on held-out questions tells.

# %%
splits = accuracy[accuracy["difficulty"] > 1].pivot_table(
    index=["part", "difficulty", "arm"], columns="split", values="value", observed=True
)
splits["kept"] = splits["test"] / splits["train"]
table(splits[["train", "test", "kept"]])

# %% [markdown]
# ## When it comes, it comes late and within a few hundred steps
#
# Held-out accuracy during training, a line per run. Hover over a line; click an arm in the legend
# to see it alone.

# %%
curves = everything(load_curves).query("split == 'test'")
curves = curves.assign(hops=curves["difficulty"].astype("str") + " hops")
COLUMNS = ["part", "hops", "arm", "seed", "step", "value", "run_id"]
picked = alt.selection_point(fields=["arm"], bind="legend")
lines = (
    alt.Chart(curves[COLUMNS].astype({"seed": "int", "step": "int"}))
    .mark_line(strokeWidth=1.5)
    .encode(
        x=alt.X("step:Q", title="training step"),
        y=alt.Y("value:Q", title="held-out accuracy"),
        color=alt.Color("arm:N", scale=alt.Scale(range=list(COLOURS))),
        detail="run_id:N",
        opacity=alt.condition(picked, alt.value(0.9), alt.value(0.06)),
        tooltip=["arm:N", "seed:N", "step:Q", alt.Tooltip("value:Q", format=".3f")],
    )
    .add_params(picked)
)
lines.properties(width=270, height=170).facet(
    column=alt.Column("part:N", title=None), row=alt.Row("hops:N", title=None)
).resolve_scale(x="independent")

# %% [markdown]
# Where seeds either solve a task or do not, a mean describes none of them. The share of seeds that
# solved it (accuracy of .95 or more) and the step at which each run passed .9 say more.

# %%
each = [
    (*key, emergence_step(curve, 0.9), curve.sort_values("step")["value"].iloc[-1])
    for key, curve in curves.groupby(["part", "hops", "arm", "seed"])
]
emergence = pd.DataFrame(each, columns=["part", "hops", "arm", "seed", "step", "last"])
by = ["part", "hops", "arm"]
told = emergence.groupby(by).agg(seeds=("seed", "size"), emerged=("step", "count"))
told["median step"] = emergence.groupby(by)["step"].median()
told["solved at the end"] = emergence.groupby(by)["last"].agg(lambda last: (last >= SOLVED).sum())
table(told, digits=0)

# %% [markdown]
# ## The claim
#
# B against A in each cell, paired by seed (a seed draws the world and the data, so that both arms
# had the same), corrected for the number of cells.

# %%
for name in SETS:
    for against in ("1⊗2", "1⊗4"):
        print(compare(reference(name), "manipulation-better", ("1⊗1", against), grid=name), "\n\n")

# %% [markdown]
# And equal depth with and without sharing the weights: is there a difference at all?

# %%
for name in SETS:
    print(compare(reference(name), "manipulation-different", ("4⊗1", "1⊗4"), grid=name), "\n\n")

# %% [markdown]
# *Undecided* is no verdict of equality. Three seeds cannot decide it: of a bimodal result a fourth
# may be of the other kind, so that the intervals are wide, and a permutation test of paired seeds
# needs six. What three seeds do show is the table above.
#
# Next: notebook 4 looks at what happens between the loops.
