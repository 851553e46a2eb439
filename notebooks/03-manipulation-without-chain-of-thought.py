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
# 2. see how many loops two, three and four hops need, and what equal depth without loops does,
# 3. find the step at which a skill emerges, and why means over seeds mislead there,
# 4. put the claim to a test that pairs runs by seed.

# %%
import altair as alt
import pandas as pd

from experiments.analysis.drawing.style import COLOURS
from experiments.notebook import offline_charts, reference, show, table
from experiments.results import emergence_step
from experiments.results.long_table import read_results
from experiments.results.selection import last_loop, over_seeds
from generators.streams import Stream, generator
from loopscope import compare
from probes.statistics import SOLVED

offline_charts()

# permutations of 8 entities, ten seeds; each stage of training adds one hop, up to four
OUT, GRID = reference("ladder_strings"), "ladder"
results = read_results(OUT, GRID)


def accuracies(rows: pd.DataFrame) -> pd.DataFrame:
    """The accuracies among these rows, each read at the last loop."""
    rows = last_loop(rows)
    return rows[rows["metric"] == "accuracy"]


accuracy = accuracies(results.runs)
print(f"{accuracy['run_id'].nunique()} runs of {', '.join(accuracy['arm'].unique())}")

# %% [markdown]
# ## The questions
#
# A world is a table of relations over entities. Every single fact is in training, and so are most
# questions that compose two or more. Held out are whole strings of relations: of `r2 r3` no
# question is in training, whatever the entity. `<3> e1 r2 r3 r4` asks for the entity that is
# reached from `e1` over three relations. The answer has to come **at once**: nothing is written on
# the way. With chain of thought (`cot: true`, below) the same question would be three easy ones.

# %%
task = results.config(accuracy["run_id"].iloc[0]).bound_task()
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
# With permutations every answer is equally likely, so that no guess without composing is right
# more often than 1/8. Random functions (the grid `headline`, below) shrink the set of entities
# they lead to: there the best guess from the relations alone is right more often, the more hops
# there are. Each accuracy is read against the floor of its own world.

# %%
HEADLINE = reference("headline")
functions = accuracies(read_results(HEADLINE, "headline").runs).query("part == 'functions'")
worlds = pd.concat([accuracy.assign(part="ladder"), functions])
worlds.groupby(["part", "difficulty"])["floor"].mean().unstack().round(3)

# %% [markdown]
# ## How many loops do two, three and four hops need?
#
# As many as there are hops. A layer that is run *n* times solves *n* hops, in nearly every seed,
# and more loops than hops add nothing.

# %%
show("seeds_solved", OUT, GRID)

# %%
held_out = accuracy[accuracy["split"] == "test"]
found = over_seeds(held_out, ["difficulty", "arm"])
table(found[["difficulty", "arm", "mean", "low", "high", "n", "solved", "floor"]])

# %% [markdown]
# 4⊗1 is the control of equal depth: four layers of their own, run once, cost the computation of
# 1⊗4 and four times its weights in the core.

# %%
cost = held_out.groupby("arm")[["parameters", "train_flops"]].first()
cost["parameters against 1⊗1"] = cost["parameters"] / cost.loc["1⊗1", "parameters"]
cost["FLOPs against 1⊗1"] = cost["train_flops"] / cost.loc["1⊗1", "train_flops"]
cost.round(2)

# %% [markdown]
# ## Known by heart, or computed?
#
# Does an arm that fails on held-out questions answer those of training? The share of its training
# accuracy that is left on held-out questions tells. One layer run once fits nearly all of its
# two-hop training questions and composes little more than half of those held out; on three and
# four hops it fits none either.

# %%
splits = accuracy[accuracy["difficulty"] > 1].pivot_table(
    index=["difficulty", "arm"], columns="split", values="value", observed=True
)
splits["kept"] = splits["test"] / splits["train"]
table(splits[["train", "test", "kept"]])

# %% [markdown]
# ## When it comes, it comes within a few hundred steps
#
# Held-out accuracy during training, a line per run; three hops are in training from step 700,
# four from step 1,400. With four and six loops many seeds answer part of the four-hop questions
# before one is in training. Hover over a line; click an arm in the legend to see it alone.

# %%
curves = accuracies(results.curves).query("split == 'test'")
curves = curves.assign(hops=curves["difficulty"].astype("str") + " hops")
COLUMNS = ["hops", "arm", "seed", "step", "value", "run_id"]
picked = alt.selection_point(fields=["arm"], bind="legend")
lines = (
    alt.Chart(curves[COLUMNS].astype({"seed": "int", "step": "int"}))
    .mark_line(strokeWidth=1.2)
    .encode(
        x=alt.X("step:Q", title="training step"),
        y=alt.Y("value:Q", title="held-out accuracy"),
        color=alt.Color("arm:N", scale=alt.Scale(range=list(COLOURS))),
        detail="run_id:N",
        opacity=alt.condition(picked, alt.value(0.7), alt.value(0.06)),
        tooltip=["arm:N", "seed:N", "step:Q", alt.Tooltip("value:Q", format=".3f")],
    )
    .add_params(picked)
)
lines.properties(width=560, height=150).facet(row=alt.Row("hops:N", title=None))

# %% [markdown]
# Where seeds either solve a task or do not, a mean describes none of them. The share of seeds that
# solved it (accuracy of .95 or more) and the step at which each run passed .9 say more.

# %%
each = [
    (*key, emergence_step(curve, 0.9), curve.sort_values("step")["value"].iloc[-1])
    for key, curve in curves.groupby(["hops", "arm", "seed"])
]
emergence = pd.DataFrame(each, columns=["hops", "arm", "seed", "step", "last"])
by = ["hops", "arm"]
told = emergence.groupby(by).agg(seeds=("seed", "size"), emerged=("step", "count"))
told["median step"] = emergence.groupby(by)["step"].median()
told["solved at the end"] = emergence.groupby(by)["last"].agg(lambda last: (last >= SOLVED).sum())
table(told, digits=0)

# %% [markdown]
# ## The claim
#
# Which of two arms solves the questions in more seeds? B against A in each cell, paired by seed (a
# seed draws the world and the data, so that both arms had the same), by McNemar's test, corrected
# for the number of cells: two loops against four, and four layers of their own against one that is
# run four times.

# %%
PAIRS = [("1⊗2", "1⊗4"), ("4⊗1", "1⊗4")]
print(compare(OUT, "solved-different", PAIRS, grid=GRID, difficulty=[3, 4]))

# %% [markdown]
# *Undecided* is no verdict of equality: that four loops solve more seeds than four layers with 3.8
# times the parameters cannot be told with ten seeds. What loops save is the parameters.
#
# ## Another world
#
# Random functions, three seeds: the same staircase. A bar is the interval of the mean, which has to
# allow for a fourth seed of the other kind, so that three seeds decide nothing by themselves.

# %%
show("accuracy_versus_loops", HEADLINE, "headline", part="functions")

# %% [markdown]
# ## One model, both loads
#
# The same two-hop questions beside a store: as many biographies in every step, of no, few or many
# people. Each point is one load and stands at what the same models store of it.

# %%
show("crowding", reference("crowding"), "crowding", part="load", component="questions")

# %% [markdown]
# Every single fact is known at every load (not drawn), and yet beside a store that fills a third of
# what such a layer can hold nothing is composed in these 2,000 steps, with one loop or with four.
# With three times the steps one run of six gets there: the load costs time.
#
# Next: notebook 4 looks at what happens between the loops.
