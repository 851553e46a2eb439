"""Results of known truth."""

from pathlib import Path

import pytest
from paired_cells import NOISE, SEEDS
from synthetic_results import accuracies, bits, config, write_run

from experiments.runs.output import prepare_output, record_grid


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two and four loops store the same; four loops answer three hops and two do not."""
    folder = tmp_path_factory.mktemp("verdicts") / "runs"
    prepare_output(folder)
    points = []
    for loops in (2, 4):
        for seed in SEEDS:
            world = 0.1 * seed  # what a seed's world adds to both arms: pairing removes it
            stored = 1.5 + world + (NOISE[seed] if loops == 4 else 0.0)
            hops = {2: 0.97 + NOISE[seed], 3: 0.96 if loops == 4 else 0.15 + NOISE[seed]}
            lines = [
                {"step": step, "measurements": accuracies(loops, {3: value}, 0.2)}
                for step, value in ((500, 0.1), (1000 if loops == 4 else 2000, 0.95))
            ]
            for part, task, rows in (
                ("stored", "bios", bits(loops, stored, 3.0)),
                ("asked", "multihop", accuracies(loops, hops, 0.2)),
            ):
                run_id = f"{part}-{loops}-{seed}"
                points.append({"run_id": run_id, "part": part, "labels": {"seed": str(seed)}})
                lr = 1e-3 * loops
                metrics = lines if part == "asked" else None
                write_run(folder, run_id, config(task, loops, seed, lr=lr), rows, metrics=metrics)
    record_grid(folder, "g", title="", figures=[], points=points)
    return folder
