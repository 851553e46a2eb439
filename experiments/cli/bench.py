"""`loopscope bench`: speed of generators, training and generation."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from experiments.cli.options import Changes, Device, JsonFile, Where, telling_problems
from experiments.errors import LoopscopeError
from experiments.machine import device_name
from experiments.text import aligned

bench = typer.Typer(help="Measure speed.", no_args_is_help=True)

Precision = Annotated[Literal["fp32", "bf16"], typer.Option()]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--shapes", metavar="SHAPE", help="a width, or a grid; repeatable"),
]


@bench.command()
def generators(
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="[TASK]...", help="kinds; all if none")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="documents in a batch")] = 4096,
    seconds: Annotated[float, typer.Option(min=0.01, help="time for each measurement")] = 1.0,
) -> None:
    """Tokens per second of every task on one core."""
    from experiments.bench.generators import HEAD, measure_all

    rows = list(measure_all(kinds, batch=batch, seconds=seconds))
    typer.echo(f"speed on one core, padding not counted; batches of {batch}")
    typer.echo(aligned([HEAD, *rows]))


@bench.command()
def train(
    shapes: Shapes = None,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="time of a step by loops and tokens, fitted")
    ] = False,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="memory and time with loops recomputed")
    ] = False,
    precision: Precision = "fp32",
    device: Device = "cpu",
    seconds: Annotated[float, typer.Option(min=0.01, help="for each shape")] = 30.0,
    file: JsonFile = None,
) -> None:
    """Speed of a training step beside a plain loop and, with the extra hf, a Llama."""

    if (scaling or recompute) and (shapes or file or (scaling and recompute)):
        raise LoopscopeError(
            "--scaling and --recompute measure shapes of their own and print one table; give one "
            "of them, without --shapes and --json"
        )
    typer.echo(device_name(device))
    if scaling:
        _scaling(device, precision, seconds)
    elif recompute:
        _recompute(device, precision, seconds)
    else:
        _steps(shapes or ["64", "128", "256"], device, precision, seconds, file)


def _scaling(device: str, precision: str, seconds: float) -> None:
    from experiments.bench.scaling import SCALING_HEAD, scaling

    rows, formula = scaling(device, precision, seconds)
    typer.echo(aligned([SCALING_HEAD, *rows]))
    typer.echo(formula)


def _recompute(device: str, precision: str, seconds: float) -> None:
    from experiments.bench.scaling import RECOMPUTE_HEAD, recomputing

    rows = list(recomputing(device, precision, seconds, width=128))
    typer.echo("memory kept for the backward pass; x time above 1: recomputing takes longer")
    typer.echo(aligned([RECOMPUTE_HEAD, *rows]))


def _steps(
    shapes: list[str], device: str, precision: str, seconds: float, file: Path | None
) -> None:
    from experiments.bench.timing import as_json
    from experiments.bench.train import HEAD, measure, shapes_of
    from experiments.runs.json_files import write_json

    typer.echo("ratios above 1: ours is faster")
    speeds = []
    for name, config in shapes_of(shapes, precision).items():
        speeds.append(measure(name, config, device=device, seconds=seconds))
        if file is not None:
            write_json(file, as_json(speeds, device))
    typer.echo(aligned([HEAD, *(speed.row() for speed in speeds)]))


@bench.command()
def growth(
    runs: Annotated[int, typer.Option(min=5, help="of one grid")] = 2000,
    people: Annotated[int, typer.Option(min=1, help="of one world")] = 500_000,
    lines: Annotated[int, typer.Option(min=1, help="of metrics of every run")] = 36,
) -> None:
    """Processor time and memory of the commands with very many runs and people."""
    from experiments.bench.growth import HEAD, growth

    typer.echo(f"{device_name('cpu')}; imports included, waiting not")
    typer.echo(aligned([HEAD, *growth(runs, people, lines)]))


@bench.command("stack")
def stack_(
    shapes: Shapes = None,
    stack: Annotated[
        list[int] | None,
        typer.Option("--stack", metavar="R", min=2, help="runs in one pass; repeatable"),
    ] = None,
    precision: Precision = "fp32",
    device: Device = "cpu",
    seconds: Annotated[float, typer.Option(min=0.01, help="for each shape and number")] = 10.0,
    file: JsonFile = None,
) -> None:
    """Speed of runs trained in one pass, as with `run --stack`, beside the same one at a time."""
    from experiments.bench.stack import HEAD, RUNS, measure, standard_shapes
    from experiments.bench.timing import as_json
    from experiments.bench.train import shapes_of
    from experiments.execution.stack_planner import reason_not_stackable
    from experiments.runs.json_files import write_json

    found = shapes_of(shapes or ["16", "32", "64"], precision, standard_shapes)
    numbers = stack or RUNS[device.partition(":")[0]]
    refused = {name: reason_not_stackable(config) for name, config in found.items()}
    reasons = {name: why for name, why in refused.items() if why}
    typer.echo(f"{device_name(device)}; ratios above 1: faster than the same runs one at a time")
    speeds = []
    for name, config in found.items():
        for runs in numbers if name not in reasons else ():
            speeds.append(measure(name, config, runs, device=device, seconds=seconds))
            if file is not None:
                write_json(file, as_json(speeds, device, not_stacked=reasons))
    typer.echo(aligned([HEAD, *(speed.row() for speed in speeds)]))
    for name, why in reasons.items():
        typer.echo(f"{name}: not stacked: {why}")


@bench.command("generate")
def generate_(
    run: Annotated[str, typer.Argument(metavar="RUN", help="id or start of an id")],
    out: Annotated[Path, typer.Option(help="folder of runs")] = Path("runs"),
    items: Annotated[int, typer.Option(min=1, help="questions per difficulty")] = 1024,
    split: Annotated[
        str, typer.Option(help="of the questions; train has every difficulty")
    ] = "test",
    new_tokens: Annotated[int, typer.Option(min=1, help="for the cache")] = 256,
    documents: Annotated[int, typer.Option(min=1, help="for the cache")] = 16,
    device: Device = "cpu",
    seconds: Annotated[float, typer.Option(min=0.01, help="for each table")] = 20.0,
) -> None:
    """Speed of early exits beside all loops, and of the cache beside none, on a trained run."""
    from experiments.bench.decoding import (
        CACHE_HEAD,
        HEAD,
        measure_cache,
        measure_exits,
        subject_with_loops,
    )

    subject = subject_with_loops(out, run, device)
    typer.echo(f"{device_name(device)}; ratios above 1: faster than all loops, or than no cache")
    exits = measure_exits(subject, items=items, seconds=seconds, split=split)
    typer.echo(aligned([HEAD, *exits]))
    row = measure_cache(
        subject, documents=documents, prompt=8, new_tokens=new_tokens, seconds=seconds
    )
    typer.echo(aligned([CACHE_HEAD, row]))


@bench.command()
def repeats(
    grid: Annotated[
        str, typer.Argument(metavar="[GRID]", help="trains its runs alone, on two threads, stacked")
    ] = "",
    out: Annotated[Path, typer.Option(help="for a folder of each way")] = Path("runs/repeats"),
    beside: Annotated[
        list[Path],
        typer.Option(metavar="PLACE", help="results of the same runs, as of another machine"),
    ] = [],  # noqa: B006 typer copies it
    device: Device = "cpu",
    file: JsonFile = None,
) -> None:
    """How far a run ends from itself when it is trained again: the least difference that means
    anything for a single run."""
    from experiments.bench.repeats import HEAD, WAYS, spreads, train_all_ways
    from experiments.grid import load_grid
    from experiments.runs.json_files import write_json

    if not grid and not beside:
        raise LoopscopeError(
            "bench repeats needs a grid to train, such as repeats, or --beside with two places "
            "that hold the same runs"
        )
    if grid:
        for line in train_all_ways(list(load_grid(grid).runs.values()), out, device):
            typer.echo(line, err=True)
    found = spreads([*(out / way for way in WAYS if grid), *beside])
    typer.echo(aligned([HEAD, *(spread.row() for spread in found)]))
    if file is not None:
        write_json(file, {"spreads": [spread._asdict() for spread in found]})


@bench.command()
def recipe(
    grid: Annotated[
        str, typer.Argument(metavar="[GRID]", help="trains what it lacks, its arms in turns")
    ] = "",
    out: Annotated[
        Path, typer.Option(help="folder of the runs; without a grid also an archive")
    ] = Path("runs/recipe"),
    stack: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="seeds of an arm in one pass, and a turn")
    ] = None,
    metric: Annotated[str, typer.Option(help="accuracy, or such as bits_per_parameter")] = "",
    difficulty: Annotated[int | None, typer.Option(help="default: the hardest")] = None,
    level: Annotated[float | None, typer.Option(help="value to reach")] = None,
    within: Annotated[
        float | None, typer.Option(min=0, max=1, help="or the share that may lack of the best arm")
    ] = None,
    share: Annotated[
        float | None, typer.Option(min=0, max=1, help="of the seeds; default: .9, bits: their mean")
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(metavar="plain|trainer", help="trains the arms that it can; repeatable"),
    ] = None,
    where: Where = [],  # noqa: B006
    changes: Changes = [],  # noqa: B006
    file: JsonFile = None,
) -> None:
    """Processor time of every arm of a grid until a stated result: what each lever is worth."""
    from experiments.bench.conclusion import usable_ways
    from experiments.bench.recipe import HEAD, all_costs, records, rows, train_in_turns
    from experiments.bench.result_goal import chosen, goal_of
    from experiments.grid import load_grid
    from experiments.results.long_table import read_results
    from experiments.runs.json_files import write_json

    if beside and not grid:
        raise LoopscopeError("--beside trains, and needs the grid; what is trained is read anyway")
    ways = usable_ways(beside) if beside else ()
    loaded = load_grid(grid, changes) if grid else None
    if loaded is not None:
        for outcome in train_in_turns(loaded, out, stack, ways):
            if outcome.interrupted:
                raise typer.Exit(130)
    read = read_results(out, None if loaded is None else loaded.name)
    results = chosen(read, where)
    asked = {"difficulty": difficulty, "level": level, "within": within, "share": share}
    goal = goal_of(results, metric, **asked)
    found, reached = all_costs(results, goal, out)
    with telling_problems(read):
        typer.echo(f"{goal.text(reached)}; processor time of one core, evaluations included")
        typer.echo(aligned([HEAD, *rows(found)]))
    if file is not None:
        write_json(file, {"goal": goal.text(reached), "arms": records(found)})


@bench.command()
def conclusion(
    grid: Annotated[
        str, typer.Argument(metavar="[GRID]", help="its arms, each with every seed")
    ] = "quick",
    part: Annotated[str, typer.Option(help="of the grid; empty: all of it")] = "hops",
    seeds: Annotated[int, typer.Option(min=1, help="of every arm; ours are trained together")] = 4,
    every: Annotated[int, typer.Option(min=1, help="steps between evaluations")] = 100,
    ways: Annotated[
        list[str] | None,
        typer.Option("--way", metavar="plain|trainer", help="beside loopscope; default: both"),
    ] = None,
    changes: Changes = [],  # noqa: B006
    file: JsonFile = None,
) -> None:
    """Processor time and result of a whole grid beside a plain loop and transformers' Trainer."""
    from dataclasses import asdict

    from experiments.bench.conclusion import arms_of, compare, head_of, usable_ways
    from experiments.grid import load_grid
    from experiments.runs.json_files import write_json

    chosen = usable_ways(ways)
    arms = arms_of(load_grid(grid, changes), part, seeds, every)
    typer.echo(f"{device_name('cpu')}; x: processor time through that of loopscope")
    done = []
    for cost in compare(arms, chosen):
        done.append(cost)
        typer.echo(f"{cost.arm} done", err=True)
        if file is not None:
            write_json(file, {"device": device_name("cpu"), "arms": [asdict(c) for c in done]})
    typer.echo(aligned([head_of(chosen), *(row for cost in done for row in cost.rows())]))
