"""A model from a user's own file goes through a grid like ours: plan, training, probes, table."""

from pathlib import Path

import pytest
import torch
import yaml
from command import command

from experiments.config.costs import cost
from experiments.config.memory import PROCESS, run_memory
from experiments.errors import LoopscopeError
from experiments.execution.runner import run_grid
from experiments.grid.grid import load_grid
from experiments.grid.run_checks import problems
from experiments.measuring.load import load_model
from experiments.measuring.measure import measure, subject_of
from experiments.planning.plan import plan
from experiments.results.long_table import load_runs
from experiments.runs.folder import RunFolder
from experiments.training.train import train
from generators.plugins import choices
from probes.probe import Probe

FILE = '''
from typing import Literal

from torch import nn

from models.adapter import ForeignModel
from models.model import ModelConfig


class Module(nn.Module):
    """A GRU over the tokens whose output is its next input."""

    def __init__(self, width, vocabulary):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, tokens, n_loops):
        x, states = self.embedding(tokens), []
        for _ in range(n_loops):
            x = x + self.gru(x)[0]
            states.append(x)
        return states


class LoopedGRU(ModelConfig):
    """The same GRU, looped."""

    kind: Literal["looped-gru"] = "looped-gru"

    def build(self, vocabulary_size, *, gate, seed):
        head = nn.Linear(self.width, vocabulary_size, bias=False)
        exits = nn.Linear(self.width, 1) if gate else None
        return ForeignModel(Module(self.width, vocabulary_size), self, head=head, gate=exits)
'''
GRID = """
baseline:
  task: {kind: multihop, entities: 8, relations: 4, hops: 2}
  model: {kind: "mine.py:LoopedGRU", width: 8}
  training: {batch: 8, phases: [{until_step: 6}]}
  observe: {log_every: 1}
axes:
  model.loops: [1, 2]
  objective.kind: [last_loop, entropy]
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(FILE)
    path = tmp_path / "foreign.yaml"
    path.write_text(GRID)
    return path


def test_a_grid_of_them_is_planned_trained_probed_and_tabled(grid: Path, tmp_path: Path) -> None:
    runs = load_grid(grid).runs
    assert len(runs) == 3, "with one loop the objectives are the same run"
    out = tmp_path / "runs"
    for run_id, config in runs.items():
        folder = RunFolder(out / run_id)
        assert train(config, folder)
        result = folder.result()
        assert result is not None
        n, V = config.model.loops, result["vocabulary"]
        gate = 9 if config.objective.kind == "entropy" and n > 1 else 0
        # embedding and head, two biases and two matrices of three gates of the GRU, exit gate
        assert result["parameters"]["total"] == 2 * 8 * V + 3 * (2 * 64 + 2 * 8) + gate
        assert result["train_flops"] == pytest.approx(cost(config).train_flops, rel=0.05)
        model, _ = load_model(out, run_id)
        weights = torch.load(folder.checkpoint_path, weights_only=True)["model"]
        assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    table = load_runs(out)
    found = table[table["metric"] == "accuracy"]
    assert set(found["arm"]) == {"1⊗1", "1⊗2"} and set(found["k"]) == {1}
    assert found["floor"].notna().all()


@pytest.mark.usefixtures("work_here")
def test_the_command_plans_runs_and_probes_them(
    grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    loaded = load_grid(grid)
    assert command(monkeypatch, "plan", grid, "--out", out, "--wide") == 0
    assert "gate 9" in capsys.readouterr().out
    outcome = run_grid(loaded, out, workers=1)
    assert sorted(outcome.done) == sorted(loaded.runs)
    assert command(monkeypatch, "probe", out, "--probe", "{kind: lens, items: 16}") == 0
    assert all(list((out / run_id / "probes").glob("lens-*.json")) for run_id in loaded.runs)
    assert command(monkeypatch, "report", out) == 0


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        ("vocabulary_size, *, gate, seed", "vocabulary_size", "LoopedGRU.build is called as"),
        (
            "(self, tokens, n_loops)",
            "(self, tokens)",
            "Module.forward is called as forward",
        ),
        ("return states", "return x", r"the module gave one tensor of shape \[1, \d, 8\]"),
        ("return states", "return states[:1]", "gave 1 tensors when called with n_loops 2"),
        ("append(x)", "append(x[:, -1])", r"gave tensors of shape \[1, 8\] for tokens of shape"),
        ("return ForeignModel(", "return (", "LoopedGRU.build made a tuple and has to make a Loop"),
    ],
)
def test_a_wrong_signature_is_told_with_the_right_one_before_training(
    grid: Path, tmp_path: Path, ours: str, theirs: str, says: str
) -> None:
    assert ours in FILE
    text = FILE.replace(ours, theirs)
    if "return (" in theirs:
        text = text.replace(", head=head, gate=exits", ", head, exits")
    (tmp_path / "mine.py").unlink()
    (tmp_path / "wrong.py").write_text(text)
    grid.write_text(GRID.replace("mine.py", "wrong.py"))
    with pytest.raises(LoopscopeError, match=says):
        plan(load_grid(grid, ("model.loops=2",)), tmp_path / "runs")


PLAIN = """
class Module(nn.Module):
    def __init__(self, width, vocabulary):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.linear = nn.Linear(width, width)

    def forward(self, tokens, n_loops):
        x, states = self.embedding(tokens), []
        for _ in range(n_loops):
            x = self.linear(x).tanh()
            states.append(x)
        return states
"""


def test_memory_is_what_autograd_keeps_by_hand(grid: Path) -> None:
    """Token ids once; the embedded tokens; of each loop the tanh, which the next loop reads too."""
    before, _, after = FILE.partition("class Module")
    after = after.partition("\n\n\n")[2]
    (grid.parent / "mine.py").write_text(f"{before}{PLAIN}\n\n{after}")
    for config in load_grid(grid).runs.values():
        T, n, D = config.task.context_length, config.model.loops, config.model.width
        V = config.task.vocabulary_size
        kept = 8 * T + 4 * (n + 1) * T * D
        assert config.model.kept_bytes(V, context=T, n_loops=n) == kept
        documents = {}
        for batch in (8, 8000):
            training = config.training.model_copy(update={"batch": batch})
            documents[batch] = run_memory(config.model_copy(update={"training": training}))
        losses = config.objective.losses_computed(n)
        each = kept + 4 * T * (4 * V * losses + n * D)
        assert documents[8000] - documents[8] == pytest.approx((8000 - 8) * each, rel=1e-6)


def test_plan_tells_the_memory_and_refuses_more_than_there_is(
    grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_grid(grid, ["training.batch=8000"])
    needed = {point.run_id: point.memory for point in plan(loaded, tmp_path / "runs")}
    assert min(needed.values()) > PROCESS
    assert needed == {run_id: run_memory(config) for run_id, config in loaded.runs.items()}
    monkeypatch.setenv("LOOPSCOPE_MEMORY", str(max(needed.values()) - 1))
    with pytest.raises(LoopscopeError, match="needs about .* of memory"):
        plan(loaded, tmp_path / "runs")


def test_the_same_seed_is_the_same_run(grid: Path, tmp_path: Path) -> None:
    config = next(iter(load_grid(grid).runs.values()))
    one, other = RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    for folder in (one, other):
        assert train(config, folder)
        torch.rand(3)  # torch's own generator does not matter
    assert [m["loss"] for m in one.metrics() if "loss" in m] == [
        m["loss"] for m in other.metrics() if "loss" in m
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("training.recompute=true", "needs model kind looped, not looped-gru"),
        ("training.phases.0.backprop_loops=1", "needs model kind looped"),
        ("training.phases.0.growth=stack", "needs model kind looped"),
        ("observe.probes=[{kind: decoding, cache: {}}]", "probe decoding looks inside the model"),
        ("observe.probes=[{kind: interchange}]", "probe interchange looks inside the model"),
        ("observe.probes=[{kind: lens, blocks: true}]", "lens with blocks reads block calls"),
        (
            "observe={evaluate_every: 5, evaluate_with: [{kind: interchange}]}",
            "evaluate_with.0: probe interchange looks inside",
        ),
        ("observe.compile_blocks=gpu", "gpu needs model kind looped"),
    ],
)
def test_what_only_ours_can_do_is_refused(grid: Path, change: str, says: str) -> None:
    with pytest.raises(LoopscopeError, match=says):
        load_grid(grid, (change,))
    assert not list(problems(next(iter(load_grid(grid).runs.values()))))


PEOPLE = "task={kind: bios, people: 20}"


@pytest.mark.parametrize("kind", ["p_probing", "q_probing"])
def test_what_changes_the_embedding_is_refused(grid: Path, kind: str) -> None:
    with pytest.raises(LoopscopeError, match=f"probe {kind} looks inside the model"):
        load_grid(grid, (PEOPLE, f"observe.probes=[{{kind: {kind}}}]"))


def test_exits_of_several_tokens_are_refused_before_training(grid: Path) -> None:
    with pytest.raises(LoopscopeError, match="answers of a single token"):
        load_grid(grid, ("task={kind: depo, nodes: 12, hops: 4}", "observe.probes=[{kind: exits}]"))


STATES = {
    "accuracy": {"loops": "all", "items": 16},
    "exits": {"items": 16},
    "lens": {"items": 16},
    "linear": {"items": 32, "folds": 2},
    "dynamics": {"items": 16, "loops": 8, "window": 4, "most_period": 2},
    "extrapolation": {"items": 16, "factor": 2},
    "pass_at_k": {"items": 16},
}


@pytest.mark.parametrize("objective", ["last_loop", "entropy", "act"])
def test_probes_of_states_alone_measure_them(grid: Path, objective: str) -> None:
    """Everything that needs nothing but states goes through `problems` and then measures."""
    probes = [{"kind": kind, **fields} for kind, fields in STATES.items()]
    text = yaml.safe_dump(probes, default_flow_style=True, width=10_000).strip()
    changes = ("model.loops=2", f"objective.kind={objective}", f"observe.probes={text}")
    (config,) = load_grid(grid, changes).runs.values()
    task = config.bound_task()
    model = config.build_model(task).eval()
    subject = subject_of(config, model, task, torch.device("cpu"))
    assert config.observe.probes is not None
    for probe in config.observe.probes:
        rows = measure(subject, (probe,))
        assert rows and {row.loop for row in rows} & {1, 2}, probe.kind


def test_every_probe_says_whether_it_looks_inside() -> None:
    """What works on a model from elsewhere is tested above; all others ask for ours."""
    inside = {k for k, cls in choices(Probe, "probes").items() if cls.looks_inside}
    assert inside == {"decoding", "interchange", "p_probing", "q_probing"}
