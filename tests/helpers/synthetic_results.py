"""Synthetic result folders for other tests, written as the runner writes them."""

from pathlib import Path
from typing import Any

import pandas as pd
from pandas.testing import assert_frame_equal

from experiments.results.long_table import load_curves, load_runs
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import write_json
from experiments.runs.output import prepare_output, record_grid
from experiments.runs.status import Status
from generators.streams import Stream, generator

LOOPS = (1, 2, 4)


def write_run(
    out: Path,
    run_id: str,
    config: dict[str, Any],
    measurements: list[dict[str, Any]] | None = None,
    *,
    exposures: float | None = None,
    steps: int = 1000,
    metrics: list[dict[str, Any]] | None = None,
) -> RunFolder:
    """One run folder; without measurements it stays unfinished."""
    folder = RunFolder(out / run_id)
    folder.path.mkdir(parents=True)
    write_json(folder.path / "config.json", config)
    for line in metrics or []:
        folder.append_metrics(line)
    if measurements is not None:
        folder.write_result(
            {
                "run_id": run_id,
                "parameters": {"embedding": 2000, "head": 2000, "core": 6000, "total": 10_000},
                "train_flops": 1e12 * config["model"]["loops"],
                "exposures": exposures,
                "steps": steps,
                "timings": {"cpu_seconds": 12.5},
                "measurements": measurements,
            }
        )
    return folder


def config(task: str, loops: int, seed: int, **training: Any) -> dict[str, Any]:
    return {
        "task": {"kind": task},
        "model": {"kind": "looped", "width": 32, "core": 1, "loops": loops},
        "objective": {"kind": "last_loop"},
        "training": {"lr": 1e-3, "phases": [{"until_step": 1000}], **training},
        "seed": seed,
        "observe": {},
    }


def bits(loops: int, total: float, ceiling: float = 3.0) -> list[dict[str, Any]]:
    """Capacity rows as the capacity probe gives them, read from the last loop."""
    shares = {"name": 0.3, "value": 0.7, "total": 1.0}
    return [
        {
            "metric": "bits_per_parameter",
            "item": item,
            "loop": loops,
            "value": share * total,
            "floor": 0.0,
            "ceiling": share * ceiling,
            "low": share * total - 0.05,
            "high": share * total + 0.05,
            "n_items": 500,
        }
        for item, share in shares.items()
    ]


def accuracies(loops: int, by_hops: dict[int, float], floor: float) -> list[dict[str, Any]]:
    """Accuracy rows of every loop (earlier loops read .01), split train for one hop."""
    return [
        {
            "metric": "accuracy",
            "split": "train" if hops == 1 else "test",
            "difficulty": hops,
            "loop": loop,
            "value": value if loop == loops else 0.01,
            "floor": floor,
            "ceiling": 1.0,
            "n_items": 200,
        }
        for hops, value in by_hops.items()
        for loop in range(1, loops + 1)
    ]


def write_toy(out: Path, seeds: int = 3) -> Path:
    """A folder with grid `toy`: capacity and two worlds × loops × seeds; `out` itself."""
    prepare_output(out)
    points = []
    for loops in LOOPS:
        for seed in range(seeds):
            noise = float(generator(seed, Stream.PROBE, loops).normal(0, 0.02))
            labels = {"model.loops": str(loops), "seed": str(seed)}
            for part in ("capacity", "functions", "permutations"):
                run_id = f"{part}-1x{loops}-{seed}"
                points.append({"run_id": run_id, "part": part, "labels": labels})
                if part == "capacity":
                    stored = bits(loops, 1.5 + 0.2 * loops + noise)
                    write_run(out, run_id, config("bios", loops, seed), stored, exposures=100)
                else:
                    _write_questions(out, run_id, loops, seed, noise)
    record_grid(out, "toy", title="A toy", figures=[], points=points)
    return out


def _write_questions(out: Path, run_id: str, loops: int, seed: int, noise: float) -> None:
    """Accuracy rises with the loops, and over training in proportion to the step."""
    floor = 0.2 if run_id.startswith("functions") else 0.0625
    top = {2: min(1.0, 0.3 * loops + noise), 3: 0.2 * loops + noise}
    lines: list[dict[str, Any]] = [{"step": 1, "loss": 3.0}]
    for step in (250, 500, 750, 1000):
        now = {hops: value * step / 1000 for hops, value in top.items()}
        lines.append({"step": step, "measurements": accuracies(loops, now, floor)})
    measured = accuracies(loops, {1: 1.0, **top}, floor)
    write_run(out, run_id, config("multihop", loops, seed), measured, metrics=lines)


def write_mixed(folder: Path) -> Path:
    """Done runs, one that failed, one outside every grid, one with nan and torn metrics."""
    out = write_toy(folder, seeds=1)
    write_run(out, "failed", config("multihop", 4, 5), metrics=[{"step": 5, "loss": 2.0}])
    RunFolder(out / "failed").fail("the loss is nan\nat step 120")
    odd = [{"step": 10, "loss": float("nan"), "exit.1": 0.5}, {"step": 20, "loss": 1}]
    write_run(out, "loose", config("bios", 1, 7), bits(1, 1 / 3), exposures=50, metrics=odd)
    RunFolder(out / "loose").write_status(Status(state="done", step=20, reason="“ünïcode”"))
    return out


def frames(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return load_runs(path), load_curves(path)


def same(first: tuple[pd.DataFrame, ...], second: tuple[pd.DataFrame, ...]) -> None:
    for one, other in zip(first, second, strict=True):
        assert len(one) > 10
        one, other = one.copy(), other.copy()
        one.attrs, other.attrs = {}, {}  # what was read is another matter
        assert_frame_equal(one, other, check_exact=True)
