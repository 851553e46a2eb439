"""Settings of probes that do not fit the task or the model are refused as a grid is loaded."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.execution.runner import run_grid
from experiments.grid.grid import load_grid
from experiments.grid.located_yaml import ConfigError
from generators.plugins import choices
from generators.task import Task
from probes.probe import Probe

HOPS = {"kind": "multihop", "entities": 16, "relations": 8, "hops": 3}
BIOS = {"kind": "bios", "people": 40}
LAST = BIOS | {"name_last": True}
ASKED = {"kind": "extraction", "biographies": {"people": 40}}
LEARNED = {"loops": 2, "injection": "add", "loop_embedding": "learned"}
CACHE = {"cache": {"sharing": "full"}}
HUGE = {"kind": "extraction", "biographies": {"people": 60_000_000, "pools": "full"}}

#: probe and task that fit
FITTING: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"kind": "accuracy", "splits": ["train", "test"], "difficulties": [1, 3]}, HOPS),
    (
        {"kind": "accuracy"},
        {"kind": "mixture", "components": {"a": {"task": BIOS}, "b": {"task": HOPS}}},
    ),
    ({"kind": "accuracy", "splits": ["ood"]}, {"kind": "composition"}),
    ({"kind": "accuracy_by", "latent": "hop.1"}, HOPS),
    ({"kind": "capacity"}, ASKED),
    ({"kind": "capacity_biod"}, {"kind": "biod"}),
    ({"kind": "capacity_sequences"}, {"kind": "random_sequences"}),
    ({"kind": "decoding", **CACHE, "exit": {"kind": "static", "loop": 2}}, HOPS),
    ({"kind": "dynamics", "loops": 40}, HOPS),
    ({"kind": "exits", "static": [1, 2]}, HOPS),
    ({"kind": "extrapolation", "counts": [1, 9]}, HOPS),
    ({"kind": "interchange", "swap": ["all", "relations"], "difficulties": [2, 3]}, HOPS),
    ({"kind": "lens", "span": "relations", "blocks": True}, HOPS),
    ({"kind": "lens", "span": "name", "split": "train"}, HUGE),
    ({"kind": "linear", "targets": ["hop.1", "answer"], "back": [0, 2]}, HOPS),
    (
        {"kind": "linear", "targets": ["hop.1"], "split": "ood"},
        {"kind": "composition"},
    ),
    ({"kind": "p_probing"}, LAST),
    ({"kind": "pass_at_k", "difficulties": [2]}, HOPS),
    ({"kind": "q_probing"}, HUGE),
]
#: probe, task, fields of the model, and (field of the probe, words of the message)
UNFIT: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[tuple[str, str]]]] = [
    (
        {"kind": "accuracy", "splits": ["tset", "ood", "test"]},
        HOPS,
        {},
        [
            ("splits", "no split 'tset'; it has train, validation, test"),
            ("splits", "no split 'ood'"),
        ],
    ),
    (
        {"kind": "accuracy", "difficulties": [2, 7, 9]},
        HOPS,
        {},
        [("difficulties", "no difficulty 7; it has 1, 2, 3"), ("difficulties", "no difficulty 9")],
    ),
    (
        {"kind": "accuracy", "splits": ["test"], "difficulties": [1]},
        HOPS,
        {},
        [("difficulties", "test of multihop has none of 1")],
    ),
    (
        {"kind": "accuracy_by", "latent": "hop.9"},
        HOPS,
        {},
        [("latent", r"multihop has no latent 'hop.9' \(did you mean 'hop.[0-9]'\?\)")],
    ),
    ({"kind": "accuracy"}, BIOS, {}, [("", "does not apply to task bios; it needs questions")]),
    ({"kind": "capacity"}, HOPS, {}, [("", "task multihop; it needs biographies")]),
    ({"kind": "capacity"}, LAST, {}, [("", "with the name first")]),
    ({"kind": "capacity_biod"}, BIOS, {}, [("", "needs facts of kind biod")]),
    ({"kind": "capacity_sequences"}, BIOS, {}, [("", "of kind random_sequences")]),
    (
        {"kind": "decoding", **CACHE, "split": "ood"},
        HOPS,
        {},
        [("split", "no split 'ood'; it has train")],
    ),
    (
        {"kind": "decoding", **CACHE, "exit": {"kind": "quantile", "q": 0.5}},
        HOPS,
        {},
        [("", "exit quantile reads a gate .* objective last_loop trains none")],
    ),
    (
        {"kind": "decoding", **CACHE, "loops": 9},
        HOPS,
        LEARNED,
        [("loops", "runs 9 loops; .* has 2")],
    ),
    ({"kind": "dynamics", "split": "ood"}, HOPS, {}, [("split", "no split 'ood'")]),
    ({"kind": "exits", "static": [1, 5, 7]}, HOPS, {}, [("static", "loop 5, 7, but loops is 2")]),
    ({"kind": "exits", "loops": 3}, HOPS, LEARNED, [("loops", "runs 3 loops")]),
    ({"kind": "extrapolation", "counts": [3, 4]}, HOPS, LEARNED, [("counts", "runs 3 loops")]),
    (
        {"kind": "extrapolation", "difficulties": [8]},
        HOPS,
        {},
        [("difficulties", "no difficulty 8")],
    ),
    (
        {"kind": "interchange", "swap": ["all", "entitty", "where"], "difficulties": [9]},
        HOPS,
        {},
        [
            ("difficulties", "no difficulty 9 in its test split; it has 2, 3"),
            (
                "swap",
                r"no span 'entitty' \(did you mean 'entity'\?\); "
                "it has all, each, entity, relations",
            ),
            ("swap", "no span 'where'"),
        ],
    ),
    (
        {"kind": "interchange", "difficulties": [1], "split": "train"},
        HOPS,
        {},
        [("difficulties", "2 or more hops")],
    ),
    ({"kind": "interchange"}, ASKED, {}, [("", "needs questions of two and more hops")]),
    ({"kind": "lens", "span": "nmae"}, HUGE, {}, [("span", r"'nmae' \(did you mean 'name'\?\)")]),
    ({"kind": "lens", "loops": 5}, HOPS, LEARNED, [("loops", "runs 5 loops")]),
    (
        {"kind": "linear", "targets": ["hop.1", "hop.8", "x"], "back": [-1]},
        HOPS,
        {},
        [
            ("back", "0 or more"),
            ("targets", "no latent 'hop.8'"),
            ("targets", "no latent 'x'; it has hop.0"),
        ],
    ),
    ({"kind": "p_probing"}, HOPS, {}, [("", "needs biographies")]),
    (
        {"kind": "pass_at_k", "split": "train", "difficulties": [4]},
        HOPS,
        {},
        [("difficulties", "it has 1, 2, 3")],
    ),
    ({"kind": "q_probing"}, LAST, {}, [("", "with the name first")]),
]


def written(
    path: Path, task: dict[str, Any], model: dict[str, Any], probes: dict[str, list[dict[str, Any]]]
) -> Path:
    """A grid; the fields of probes stand on lines of their own."""
    run = {
        "task": task,
        "model": {"width": 16, "heads": 1, "loops": 2} | model,
        "training": {"batch": 8, "phases": [{"until_step": 2}]},
        "observe": probes,
    }
    path.write_text(yaml.safe_dump({"baseline": run}, sort_keys=False, default_flow_style=None))
    return path


@pytest.mark.parametrize(("probe", "task"), FITTING, ids=lambda part: part["kind"])
def test_what_fits_is_taken(probe: dict[str, Any], task: dict[str, Any], tmp_path: Path) -> None:
    at = {"probes": [probe], "evaluate_every": 1, "evaluate_with": [probe]}
    (config,) = load_grid(written(tmp_path / "grid.yaml", task, {}, at)).runs.values()
    assert config.observe.probes is not None and config.observe.probes[0].kind == probe["kind"]


@pytest.mark.parametrize("place", ["probes", "evaluate_with"])
@pytest.mark.parametrize(
    ("probe", "task", "model", "wrong"),
    UNFIT,
    ids=[f"{p['kind']}-{i}" for i, (p, *_) in enumerate(UNFIT)],
)
def test_what_does_not_fit_is_told_with_its_place(
    probe: dict[str, Any],
    task: dict[str, Any],
    model: dict[str, Any],
    wrong: list[tuple[str, str]],
    place: str,
    tmp_path: Path,
) -> None:
    probes: dict[str, Any] = {place: [probe]}
    if place == "evaluate_with":
        probes["evaluate_every"] = 1
    path = written(tmp_path / "grid.yaml", task, model, probes)
    lines = path.read_text().splitlines()
    with pytest.raises(ConfigError) as error:
        run_grid(load_grid(path), tmp_path / "out", progress=False)
    told = error.value.problems
    assert len(told) == len(wrong), str(error.value)
    for field, words in wrong:
        (problem,) = (p for p in told if re.search(words, p.message))
        assert problem.location == ("observe", place, "0", *filter(None, [field]))
        about = field if field in probe else "kind"
        assert f"{about}:" in lines[problem.mark.line - 1], str(problem.mark)
    assert not (tmp_path / "out").exists()


def test_problems_of_several_probes_are_told_at_once(tmp_path: Path) -> None:
    probes = [
        {"kind": "lens", "span": "nothing"},
        {"kind": "capacity"},
        {"kind": "linear", "targets": ["y"]},
    ]
    path = written(tmp_path / "grid.yaml", HOPS, {}, {"probes": probes})
    with pytest.raises(ConfigError) as error:
        load_grid(path)
    places = [problem.location[2:] for problem in error.value.problems]
    assert places == [("0", "span"), ("1",), ("2", "targets")]


def test_every_probe_is_among_them() -> None:
    kinds = set(choices(Probe, "probes"))
    assert (
        {probe["kind"] for probe, _ in FITTING} == kinds == {probe["kind"] for probe, *_ in UNFIT}
    )


def test_no_world_is_made_to_check_a_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are more people than those of a sketch."""
    from generators import biographies

    drawn: list[int] = []
    draw = biographies.draw_world
    monkeypatch.setattr(
        biographies, "draw_world", lambda rng, n, *rest: drawn.append(n) or draw(rng, n, *rest)
    )
    monkeypatch.setenv("LOOPSCOPE_MEMORY", "80G")
    probes = [{"kind": "accuracy"}, {"kind": "linear"}, {"kind": "lens", "span": "name"}]
    load_grid(written(tmp_path / "grid.yaml", HUGE, {}, {"probes": probes}))
    assert max(drawn) <= 1000
    assert choices(Task, "generators")["bios"].sketch is not Task.sketch  # pyrefly: ignore
