"""What a card trains: its parts, references, and the messages for what cannot be scored."""

from math import isfinite
from pathlib import Path

import pytest
import torch

import experiments
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.grid.grid import load_grid
from experiments.suite.axes import SIZES, TAGS, axes, chosen
from experiments.suite.entry import Entry, find_entries, find_entry, shipped
from experiments.suite.grid import CardGrid, write_grid
from experiments.training.trainer import Trainer
from generators.layered import Layered

EXAMPLES = Path(experiments.__file__).parent / "examples"
#: files that know nothing of the package but the contract
ELSEWHERE = (
    "gated_loop.py:GatedLoop",
    "residual_scaled.py:ResidualScaled",
    "universal_transformer.py:UniversalTransformer",
)
FILES = sorted({axis.file(size) for axis in axes().values() for size in SIZES})


def entry_file(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def grid_of(folder: Path, text: str, names: tuple[str, ...], size: str = "tiny") -> CardGrid:
    entry = find_entry(entry_file(folder, text))
    return write_grid(entry, chosen(names, size), size, folder / "out")


@pytest.mark.parametrize("path", [p for p in FILES if p.is_file()], ids=lambda p: str(p)[-30:])
def test_grids_of_the_suite_are_ordinary_ones(path: Path) -> None:
    grid = load_grid(path)
    assert grid.title.endswith("?") and {p.config.model.label for p in grid.points} == {"1⊗1"}


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.is_file() and p.stem != "gpu"],
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_models_from_elsewhere_are_trained_on_every_grid_of_the_suite(
    path: Path, tmp_path: Path
) -> None:
    """By its optimiser, at its width and on its documents: two steps of each example."""
    axis = next(axis for axis in axes().values() if axis.file(path.stem) == path)
    for named in ELSEWHERE:
        entry = find_entry(f"{EXAMPLES / named}")
        grid = write_grid(entry, [axis], path.stem, tmp_path / entry.name).grid
        config = next(p.config for p in grid.points if p.labels["arm"] == "model")
        trainer = Trainer(config, "cpu")
        before = [p.detach().clone() for p in trainer.model.parameters()]
        for _ in range(2):  # branches that start at zero hide others from the first step
            assert isfinite(trainer.step(trainer.spans[0]).total.item())
        after = trainer.model.parameters()
        moved = sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
        assert moved > len(before) / 2


@pytest.mark.parametrize("named", ["six_layers_2.yaml", ELSEWHERE[0]])
def test_models_are_trained_at_the_published_sizes(named: str, tmp_path: Path) -> None:
    """A step of few documents; whole batches need a GPU."""
    entry = find_entry(f"{EXAMPLES / named}")
    grid = write_grid(entry, chosen(None, "gpu"), "gpu", tmp_path).grid
    first = {p.part: p.config for p in grid.points if p.labels["arm"] == "model"}
    assert len(first) == 6
    for config in first.values():
        few = config.training.model_copy(update={"batch": 2, "accumulate": 1, "precision": "fp32"})
        trainer = Trainer(config.model_copy(update={"training": few}), "cpu")
        assert isfinite(trainer.step(trainer.spans[0]).total.item())


def test_six_layers_are_compared_as_published(tmp_path: Path) -> None:
    """6⊗{1, 2, 4} on 120,000 of 800,000 questions, and layers that run once for each."""
    found: dict[str, set[str]] = {}
    for entry in find_entries([str(EXAMPLES / f"six_layers_{n}.yaml") for n in (2, 4)]):
        grid = write_grid(entry, chosen(("layered",), "gpu"), "gpu", tmp_path / entry.name).grid
        for point in grid.points:
            task = point.config.task
            assert isinstance(task, Layered)
            assert (task.questions(3), round(task.budget * task.questions(3))) == (800_000, 120_000)
            found.setdefault(point.config.model.label, set()).add(point.run_id)
    # four seeds each; 6⊗1 as long, twice and four times as long
    runs = {"6⊗1": 12, "6⊗2": 4, "6⊗4": 4, "12⊗1": 4, "24⊗1": 4}
    assert {label: len(ids) for label, ids in found.items()} == runs


def test_every_axis_is_found_has_a_grid_and_a_probe_in_it() -> None:
    assert {"ceiling", "composition", "economy", "interchange"} <= axes().keys()
    assert {axis.tag for axis in axes().values()} == set(TAGS)
    for axis in axes().values():
        sizes = [size for size in SIZES if axis.file(size).is_file()]
        assert sizes, axis.name
        for size in sizes:
            probes = load_grid(axis.file(size)).points[0].config.observe.probes or ()
            assert len(set(axis.probes) & {probe.kind for probe in probes}) == 1, axis.name


@pytest.mark.parametrize("name", shipped())
def test_every_record_is_a_model_that_the_suite_can_train(name: str, tmp_path: Path) -> None:
    entry = find_entry(name)
    assert entry.title and entry.source and entry.name == name
    found = write_grid(entry, chosen(("composition",), "tiny"), "tiny", tmp_path)
    arms = {point.labels["arm"] for point in found.grid.points}
    assert len(arms) == (1 if name == "unlooped" else 4)


def test_references_share_parameters_work_or_training(tmp_path: Path) -> None:
    found = grid_of(tmp_path, "model: {core: 2, loops: 3, prelude: 1}", ("composition",))
    assert found.missing == {}
    by_arm = {}
    for point in found.grid.points:
        by_arm.setdefault(point.labels["arm"], []).append(point.config)
    assert {len(configs) for configs in by_arm.values()} == {4}, "two rates, two seeds"
    shapes = {arm: (c[0].model.core, c[0].model.loops) for arm, c in by_arm.items()}
    assert shapes == {
        "model": (2, 3),
        "unlooped": (2, 1),
        "unlooped-deep": (6, 1),
        "unlooped-long": (2, 1),
    }
    ends = {arm: [p.until_step for p in c[0].training.phases] for arm, c in by_arm.items()}
    assert ends["model"] == ends["unlooped"] == ends["unlooped-deep"] == [300, 700, 1400]
    assert ends["unlooped-long"] == [900, 2100, 4200]
    counts = {arm: c[0].model.count_parameters(50, gate=False) for arm, c in by_arm.items()}
    assert counts["model"] == counts["unlooped"] == counts["unlooped-long"]
    flops = {
        arm: c[0].model.forward_flops(50, documents=1, context=6, predicted=1)
        for arm, c in by_arm.items()
    }
    assert flops["model"] == flops["unlooped-deep"] > flops["unlooped"]
    assert {c[0].model.width for c in by_arm.values()} == {32}
    assert all(c[0].model.prelude == 1 for c in by_arm.values())


def arms(entry: Entry, folder: Path, other: Entry | None = None) -> dict[str, list[RunConfig]]:
    found: dict[str, list[RunConfig]] = {}
    for point in write_grid(entry, chosen(None, "tiny"), "tiny", folder, other).grid.points:
        found.setdefault(point.labels["arm"], []).append(point.config)
    return found


@pytest.fixture(scope="module")
def arms_of_loop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[RunConfig]]:
    return arms(find_entry("loop"), tmp_path_factory.mktemp("loop"))


GATED = str(EXAMPLES / "gated_loop.py:GatedLoop")


@pytest.mark.parametrize("named", [*shipped(), GATED])
def test_references_of_another_model_are_that_ones(
    named: str, arms_of_loop: dict[str, list[RunConfig]], tmp_path: Path
) -> None:
    """Whatever the model sets, and of whatever kind it is."""
    entry, loop = find_entry(named), find_entry("loop")
    own, theirs = arms(entry, tmp_path), arms_of_loop
    mixed = arms(entry, tmp_path, loop)
    assert list(mixed) == list(theirs)
    ids = {arm: [c.run_id for c in configs] for arm, configs in mixed.items()}
    assert ids.pop("model") == [c.run_id for c in own["model"]]
    assert ids == {a: [c.run_id for c in configs] for a, configs in theirs.items() if a != "model"}


def test_a_model_from_elsewhere_may_give_the_references(tmp_path: Path) -> None:
    gated, loop = find_entry(GATED), find_entry("loop")
    own, mixed = arms(gated, tmp_path), arms(loop, tmp_path, gated)
    assert list(mixed) == ["model", "unlooped", "unlooped-long"]
    told = write_grid(loop, chosen(None, "tiny"), "tiny", tmp_path, gated).refused
    assert list(told) == ["unlooped", "unlooped-long"], "the looped transformer shows its insides"
    assert all("cannot measure gated-loop-example" in of["interchange"] for of in told.values())
    kinds = {a: {p.kind for c in of for p in c.observe.probes or ()} for a, of in mixed.items()}
    assert {arm for arm, of in kinds.items() if "interchange" in of} == {"model"}
    for arm in ("unlooped", "unlooped-long"):
        assert [c.run_id for c in mixed[arm]] == [c.run_id for c in own[arm]]
    wanted = chosen(("in_context",), "tiny")
    once = write_grid(loop, wanted, "tiny", tmp_path, find_entry("unlooped"))
    assert set(once.missing.values()) == {"unlooped has one loop and is its own reference"}


def test_the_written_grid_is_read_again_as_it_is(tmp_path: Path) -> None:
    first = grid_of(tmp_path, "model: {loops: 2}", ("ceiling", "speed"))
    path = tmp_path / "out" / "score.yaml"
    text, changed = path.read_text(), path.stat().st_mtime_ns
    assert load_grid(path).runs == first.grid.runs and len(first.grid.runs) == 8
    assert "&" not in text, "people read it"
    again = grid_of(tmp_path, "model: {loops: 2}", ("speed", "ceiling"))
    assert again.grid.runs == first.grid.runs and path.stat().st_mtime_ns == changed


def test_what_the_model_trains_with_is_not_given_to_references(tmp_path: Path) -> None:
    text = """
model: {loops: 4, injection: add}
objective: {kind: entropy}
phase: {draw: {kind: uniform, most: 6}, backprop_loops: 2}
"""
    found = grid_of(tmp_path, text, ("in_context",))
    configs = {p.labels["arm"]: p.config for p in found.grid.points}
    assert configs["model"].objective.kind == "entropy"
    assert configs["model"].training.phases[0].backprop_loops == 2
    for arm in ("unlooped", "unlooped-deep", "unlooped-long"):
        assert configs[arm].objective.kind == "last_loop"
        assert configs[arm].training.phases[0].draw is None


def test_reuse_of_layers_becomes_as_many_layers(tmp_path: Path) -> None:
    found = grid_of(tmp_path, "model: {core: 2, loops: 2, reuse: [0, 1, 1]}", ("in_context",))
    deep = next(p.config for p in found.grid.points if p.labels["arm"] == "unlooped-deep")
    assert (deep.model.core, deep.model.loops) == (6, 1)


def test_a_model_of_one_loop_is_its_own_reference(tmp_path: Path) -> None:
    found = grid_of(tmp_path, "model: {core: 3}", ("in_context",))
    assert {p.labels["arm"] for p in found.grid.points} == {"model"}
    assert set(found.missing) == {"unlooped", "unlooped-deep", "unlooped-long"}


def test_a_model_from_elsewhere_lacks_a_reference_and_a_probe_and_says_why(
    tmp_path: Path,
) -> None:
    entry = find_entry(str(EXAMPLES / "gated_loop.py:GatedLoop"))
    found = write_grid(entry, chosen(("composition",), "tiny"), "tiny", tmp_path)
    assert "`core` changes nothing" in found.missing["unlooped-deep"]
    for reasons in found.refused.values():
        assert list(reasons) == ["interchange"] and "looks inside" in reasons["interchange"]
    probes = found.grid.points[0].config.observe.probes or ()
    assert [p.kind for p in probes] == ["accuracy", "extrapolation", "exits", "lens"]
    with_core = find_entry(str(EXAMPLES / "residual_scaled.py:ResidualScaled"))
    found = write_grid(with_core, chosen(("composition",), "tiny"), "tiny", tmp_path)
    assert found.missing == found.refused == {}, "layers and hooks"


def test_a_model_that_a_probe_refuses_leaves_its_references_their_values(tmp_path: Path) -> None:
    """The references of the plain loop are looked into, whatever the model shows."""
    found = write_grid(
        find_entry(GATED), chosen(None, "tiny"), "tiny", tmp_path, find_entry("loop")
    )
    assert list(found.refused) == ["model"] and list(found.refused["model"]) == ["interchange"]
    probes = {
        point.labels["arm"]: [p.kind for p in point.config.observe.probes or ()]
        for point in found.grid.points
        if point.part == "composition"
    }
    suite = ["accuracy", "extrapolation", "exits", "lens", "interchange"]
    assert probes.pop("model") == suite[:-1]
    assert probes == dict.fromkeys(("unlooped", "unlooped-deep", "unlooped-long"), suite)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("ä b.yaml", "a-b"),
        ("-mine-.yaml", "mine"),
        (".mine.yaml", "mine"),
        ("Çok_iyi.v2.yaml", "Cok_iyi.v2"),
        ("x" * 150 + ".yaml", "x" * 100),
    ],
)
def test_a_name_of_a_file_becomes_one_that_files_everywhere_may_have(
    tmp_path: Path, file: str, name: str
) -> None:
    (tmp_path / file).write_text("model: {loops: 2}")
    entry = find_entry(str(tmp_path / file))
    assert entry.name == name and entry.title == file.removesuffix(".yaml")
    assert write_grid(entry, chosen(("in_context",), "tiny"), "tiny", tmp_path).grid.points


def test_names_without_a_letter_that_can_stay_are_told_apart(tmp_path: Path) -> None:
    for file in ("循环.yaml", "圈.yaml"):
        (tmp_path / file).write_text("model: {loops: 2}")
    one, other = find_entries([str(tmp_path / f) for f in ("循环.yaml", "圈.yaml")])
    assert one.name != other.name and one.name.startswith("model-") and one.name.isascii()


def test_the_suite_gives_a_size_only_to_what_has_it(tmp_path: Path) -> None:
    entry = find_entry(str(EXAMPLES / "gated_loop.py:GatedLoop"), ("model.heads=4",))
    found = write_grid(entry, chosen(("in_context", "composition"), "gpu"), "gpu", tmp_path)
    models = [p.config.model.model_dump() for p in found.grid.points]
    assert {(m["width"], m["heads"]) for m in models} == {(128, 4), (512, 4)}
    own = grid_of(tmp_path, "model: {loops: 2}", ("composition",), "gpu")
    assert {p.config.model.model_dump()["heads"] for p in own.grid.points} == {8}


def test_a_class_without_loops_has_four_and_says_so(tmp_path: Path) -> None:
    text = (Path(experiments.__file__).parent / "EXTENDING.md").read_text()
    path = tmp_path / "looped_gru.py"
    path.write_text(text.split("# looped_gru.py\n")[1].split("```")[0])
    entry = find_entry(f"{path}:LoopedGRU")
    assert entry.config.loops == 4 and "4 loops" in entry.notes[0]
    assert find_entry(f"{path}:LoopedGRU", ("model.loops=2",)).config.loops == 2


def test_the_width_is_that_of_the_suite(tmp_path: Path) -> None:
    entry = find_entry(entry_file(tmp_path, "model: {width: 64, loops: 2}"))
    assert "width" not in entry.model and "width is left out" in entry.notes[0]
    more = find_entry(entry_file(tmp_path, "model: {loops: 2}"), ("model.loops=5",))
    assert more.config.loops == 5 and more.notes == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {loops: 2, injektion: add}", r"mine.yaml:1:\d+.*did you mean 'injection'"),
        ("modell: {loops: 2}", r"did you mean 'model'"),
        ("model: {loops: 0}", r"mine.yaml:1:\d+"),
        ("model: {kind: lopped}", r"unknown kind 'lopped' \(did you mean 'looped'"),
        ("model: {loops: 2}\nobjective: {kind: entropie}", r"mine.yaml:2:\d+.*entropy"),
        ("model: {loops: 2}\nphase: {draw: {kind: poisson, mean: 4}}", r"mine.yaml:2:\d+.*mean"),
        ("model: {loops: 2}\nphase: {until_step: 9}", r"mine.yaml:2:\d+.*until_step: how long"),
        ("model: {loops: 2}\nphase: {weights: {1: 1}}", r"mine.yaml:2:\d+.*the suite's to say"),
        ("model: {kind: nowhere.py:Class}", "there is no file"),
        ("", "mapping"),
    ],
)
def test_a_wrong_entry_is_told_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LoopscopeError, match=message):
        find_entry(entry_file(tmp_path, text))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("nothing", "no file and no record 'nothing'"),
        ("nothing.py:Class", "there is no file"),
        ("experiments/examples/gated_loop.py:Module", "Module derives from Module"),
        ("experiments/examples/gated_loop.py:Gated", "has no class Gated"),
    ],
)
def test_a_model_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, named: str, message: str
) -> None:
    monkeypatch.chdir(Path(experiments.__file__).parents[1])
    with pytest.raises(LoopscopeError, match=message):
        find_entry(named)


@pytest.mark.parametrize(
    ("names", "size", "message"),
    [
        (("ceilling",), "tiny", "did you mean 'ceiling'"),
        (("out_of_distribution",), "tiny", "it has small"),
        (None, "tinny", "did you mean 'tiny'"),
    ],
)
def test_a_wrong_axis_or_size_is_told(
    names: tuple[str, ...] | None, size: str, message: str
) -> None:
    with pytest.raises(LoopscopeError, match=message):
        chosen(names, size)
