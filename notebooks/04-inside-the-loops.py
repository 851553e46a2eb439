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
# # 4 · Inside the loops: what does each loop know, say and hand on?
#
# You will learn to
#
# 1. read every loop through the head (the lens), and through a linear probe, and why they differ,
# 2. swap a state between two prompts to see which state the answer hangs on,
# 3. read an exit gate: do harder questions take more loops, and what does leaving early cost,
# 4. run a model for more loops than it was trained for,
# 5. open trained weights and put a probe of your own making to them.
#
# The runs are those of `experiments/grids/inside.yaml`, one seed: an anatomy of these models, not
# a law. `loopscope probe OUT --probe '{kind: lens}'` measures your own runs in the same way.

# %%
import altair as alt
import numpy as np
import pandas as pd
import torch
from IPython.display import display

from experiments.analysis.drawing.style import COLOURS
from experiments.measuring.load import load_subject
from experiments.notebook import offline_charts, probe_run, reference, show, table
from loopscope import load_runs
from probes.accuracy import Accuracy
from probes.interchange import pair_up, patched_logits
from probes.questions import before, questions

offline_charts()
pd.options.display.float_format = "{:.3f}".format

OUT = reference("inside")
runs = load_runs(OUT, "inside")
HARD = 3  # hops
LOOPED, GATED = "1⊗4", "1⊗4 with a gate"


def rows(metric: str, arm: str | None = None, **columns: object) -> pd.DataFrame:
    """Rows of one metric, and of one arm where it is given."""
    found = runs[(runs["metric"] == metric) & ((runs["arm"] == arm) | (arm is None))]
    for name, value in columns.items():
        found = found[found[name] == value]
    return found


# %% [markdown]
# ## Stopped after every loop
#
# Held-out accuracy when the head is read after loop 1, 2, … The last arm has a gate and was trained
# to answer after every loop; the others only after their last.

# %%
accuracy = rows("accuracy", split="test")
accuracy.pivot_table(index=["difficulty", "arm"], columns="loop", values="value", observed=True)

# %% [markdown]
# ## The lens: what would each loop say?
#
# The state at the token that predicts the answer, read through the head after every loop, for
# three-hop questions. `hop.1` and `hop.2` are the bridge entities on the way. Is either ever what
# the model would say?

# %%
show(
    "heat_map",
    OUT,
    "inside",
    target=("hop.1", "hop.2", "answer"),
    difficulty=HARD,
    where={"arm": [LOOPED, GATED]},
)

# %%
lens = rows("lens_accuracy", LOOPED, difficulty=HARD)
bridges = lens[lens["item"].isin(["hop.1", "hop.2"])]
print(f"likeliest token is a bridge: at most {bridges['value'].max():.1%} of the questions,")
print(f"where always saying the commonest one reaches {bridges['floor'].max():.1%}")

# %% [markdown]
# The head never spells out a bridge entity at this token. That does not mean that it is not there:
# the head reads one direction per token, and the model is free to keep an entity elsewhere and in
# other directions.
#
# ## Linear probes: what can be read, and where?
#
# A logistic regression on the states, cross-validated, for each result on the way, each loop and
# each of the three relation tokens. `shuffled` is the same fit to labels that mean nothing: what
# is not above it is not there for a linear map.

# %%
TOKENS = {"-2": "first relation", "-1": "second relation", "": "third relation (predicts)"}


def by_token(metric: str, arm: str) -> pd.DataFrame:
    """Rows of a linear probe at the end of each loop: target, token, loop, value."""
    found = rows(metric, arm)
    item = found["item"].str.extract(r"(?P<target>[\w.]+)@(?P<layer>[\w.]+)(?: (?P<back>-\d))?")
    found = found.assign(**item).query("layer == 'state'")
    found["token"] = found["back"].fillna("").map(TOKENS)
    return found[["target", "token", "loop", "value", "floor", "low", "high"]]


probed = by_token("probe_accuracy", LOOPED)
shuffled = by_token("probe_control", LOOPED)
base = alt.Chart(probed.astype({"loop": "int"})).encode(
    x=alt.X("loop:O", axis=alt.Axis(labelAngle=0)),
    y=alt.Y("token:N", sort=list(TOKENS.values()), title=None),
)
boxes = base.mark_rect().encode(
    color=alt.Color("value:Q", scale=alt.Scale(scheme="cividis", domain=[0, 1]), title="accuracy"),
    tooltip=[alt.Tooltip(f"{c}:Q", format=".3f") for c in ("value", "floor", "low", "high")],
)
text = base.mark_text().encode(
    text=alt.Text("value:Q", format=".2f"),
    color=alt.condition("datum.value > 0.6", alt.value("black"), alt.value("white")),
)
print(f"shuffled labels: {shuffled['value'].min():.2f} to {shuffled['value'].max():.2f}")
alt.layer(boxes, text).properties(width=150, height=90).facet(
    column=alt.Column("target:N", title="decodable at the end of a loop")
)

# %% [markdown]
# Read it as a staircase: where and when does each result first become decodable in at least nine
# of ten questions?

# %%
first = probed[probed["value"] >= 0.9].sort_values("loop").groupby("target").first()
first[["loop", "token", "value", "floor"]]

# %% [markdown]
# ## Interchange: which state does the answer hang on?
#
# What can be decoded need not be used. So swap it: the state of some tokens after one loop is
# replaced by that of another question, which starts from another entity and asks the same
# relations. Whose answer comes out? The committed probe swapped spans of tokens:

# %%
swaps = rows("follows_donor", LOOPED, difficulty=HARD)
swaps.pivot_table(index="item", columns="loop", values="value", observed=True)

# %% [markdown]
# `all` at loop 0 is the other question's run (a control that has to be 1). From the loop on at
# which `entity` is 0, the answer no longer hangs on the token of the entity that was asked about:
# what it said has been handed on to the relations.
#
# ## A probe of your own, on the spot
#
# Spans are coarse. Here are the weights: the same swap, token by token and loop by loop, with the
# functions the probe is made of.

# %%
run_id = rows("accuracy", LOOPED)["run_id"].iloc[0]
subject = load_subject(OUT, run_id)
model, task = subject.model, subject.task

batch = questions(task, subject.seed, "test", HARD, 4096)
base_rows, donor_rows = pair_up(batch, HARD, "entity")
one, other = batch.rows(base_rows[:256]), batch.rows(donor_rows[:256])
tokens, at, _ = before(one, "answer")
donated, _, answers = before(other, "answer")
print("base: ", task.vocabulary.decode(tokens[0].numpy()))
print("donor:", task.vocabulary.decode(donated[0].numpy()))

hooks = {call.loop: call.name for call in model.config.schedule()}
names = ["hops", "entity", *TOKENS.values()]
shares = []
with torch.no_grad():
    given = model(donated, capture=tuple(hooks.values()))
    for loop, hook in hooks.items():
        for column, name in enumerate(names):
            where = torch.zeros_like(tokens, dtype=torch.bool)
            where[:, column] = True
            logits = patched_logits(model, tokens, at, hook, given.captured[hook], where)
            share = (logits.argmax(-1) == answers).double().mean()
            shares.append({"token": name, "loop": loop, "follows the donor": float(share)})
followed = pd.DataFrame(shares)
followed.pivot(index="token", columns="loop", values="follows the donor").reindex(names)

# %% [markdown]
# Each column is a loop; the token with the large share carries what the answer needs at that time.
# Compare its path with the staircase above, where the linear probe first found each result.

# %%
carrier = followed.loc[followed.groupby("loop")["follows the donor"].idxmax()].set_index("loop")
carrier["first decodable there"] = [
    ", ".join(first.index[first["token"] == token]) for token in carrier["token"]
]
carrier

# %% [markdown]
# One seed of one world can be an accident. The probe does the same swap for every token by itself
# (`swap: each`), and the grid `ladder` has ten seeds of a world without a guess above 1/8: means
# over seeds, by the number of hops. One loop takes one relation.

# %%
LADDER = reference("ladder_strings")
show("heat_map", LADDER, metric="follows_donor", target="each", where={"arm": [LOOPED]})

# %%
swapped = load_runs(LADDER)
swapped = swapped[(swapped["metric"] == "follows_donor") & (swapped["arm"] == LOOPED)]
swapped = swapped[swapped["item"].str.startswith("each") & (swapped["difficulty"] == 4)]
carried = swapped.sort_values("value").groupby(["seed", "loop"]).last()["value"].unstack()
print("four hops: the largest share of answers that follow one token, least of ten seeds")
carried.min()

# %% [markdown]
# ## Exits: do harder questions take more loops?
#
# The gate says after each loop how likely the model is to stop. `entropy` with β = 0.1 trained it
# together with the model.

# %%
exits = rows("exit_probability", GATED)
exits.pivot_table(index="difficulty", columns="loop", values="value", observed=True)

# %% [markdown]
# A rule turns that into a decision, such as *leave when the probability of having left passes q*.
# Below: what each rule costs in accuracy and takes in loops. The static rule, which leaves at the
# same loop whatever the question, is what a gate has to beat.

# %%
show("q_exit_curve", OUT, "inside", where={"arm": [GATED]})

# %%
KEY = ["item", "difficulty"]
metrics = ["exit_accuracy", "exit_loops", "decoding_saved"]
measured = runs[(runs["arm"] == GATED) & runs["metric"].isin(metrics)]
rules = measured.pivot_table(index=KEY, columns="metric", values="value", observed=True)
order = rows("difficulty_correlation", GATED).set_index("item")["value"]
rules["correlation with hops"] = [order.get(item, np.nan) for item, _ in rules.index]
table(rules)

# %% [markdown]
# Among the rules that cost nothing here (accuracy of .99 or more for every number of hops), which
# takes the fewest loops?

# %%
worst = rules["exit_accuracy"].groupby("item").min()
mean_loops = rules["exit_loops"].groupby("item").mean()
cheapest = mean_loops[worst >= 0.99].sort_values().head(5)
cheapest.to_frame("mean loops over difficulties")

# %% [markdown]
# ## More loops than trained
#
# Does the state come to rest once the answer is there? If it did, more loops would do no harm.

# %%
display(show("extrapolation", OUT, "inside"))
share = runs[runs["metric"] == "convergence_share"]
share.pivot_table(index=["arm", "difficulty"], columns="item", values="value", observed=True)

# %%
change = rows("relative_change", difficulty=HARD).assign(loop=lambda d: d["loop"].astype("int"))
moves = alt.Chart(change[["arm", "loop", "value", "n_loops"]])
moves.mark_line(point={"size": 15}).encode(
    x=alt.X("loop:Q", title="loop"),
    y=alt.Y("value:Q", scale=alt.Scale(type="log"), title="change of the state, of its norm"),
    color=alt.Color("arm:N", scale=alt.Scale(range=list(COLOURS))),
    tooltip=["arm:N", "loop:Q", alt.Tooltip("value:Q", format=".3f")],
).properties(width=420, height=220)

# %% [markdown]
# It slows down and does not come to rest: with four loops the state still moves by a tenth of its
# norm at loop 8 and by some 2 % at loop 32, and at most one question in twelve ends in a fixed
# point.
#
# ## Does it repeat?
#
# The committed numbers and the weights belong together: measured again here, the accuracy after
# every loop has to be what the table says (up to a question or two, on another machine).

# %%
again = probe_run(OUT, run_id, Accuracy(loops="all", items=1024, splits=("test",)))
stored = rows("accuracy", LOOPED, split="test")[["difficulty", "loop", "value"]]
both = again[["difficulty", "loop", "value"]].merge(
    stored, on=["difficulty", "loop"], suffixes=(" now", " committed")
)
print(f"largest difference: {(both['value now'] - both['value committed']).abs().max():.4f}")

# %% [markdown]
# Next: notebook 5 makes a task and a probe that are not in the box.
