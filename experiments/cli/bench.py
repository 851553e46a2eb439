"""`loopscope export-data`, and `loopscope bench` of generators and of training."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from experiments.cli.options import check_device

bench = typer.Typer(help="Measure speed.", no_args_is_help=True)


Device = Annotated[str, typer.Option(help="cpu, or cuda", callback=check_device)]
Precision = Annotated[Literal["fp32", "bf16"], typer.Option()]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--shapes", metavar="SHAPE", help="a width, or a grid; repeatable"),
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="all numbers, for programs")]


def export_data(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="a kind of task, a file.py:Class or a grid")
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="the card goes beside it")],
    n: Annotated[int, typer.Option("--n", "-n", help="documents")] = 10_000,
    difficulty: Annotated[int | None, typer.Option(help="default: as in training")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test")] = "train",
    seed: Annotated[int | None, typer.Option(help="of world and documents")] = None,
    part: Annotated[str | None, typer.Option(help="of a grid with several")] = None,
    overrides: Annotated[
        list[str], typer.Option("--set", metavar="A.B=V", help="a field of the task; repeatable")
    ] = [],  # noqa: B006 typer copies it
) -> None:
    """Write documents as Parquet, with a card: definition, seed, hash, floors, bits, sources."""
    from experiments.errors import LoopscopeError
    from experiments.export.dataset import export_data as export
    from experiments.grid.lookup import tasks_of

    found = tasks_of(task, overrides, part=part, seed=seed)
    if len(found) > 1:
        raise LoopscopeError(f"{task} has several tasks: {', '.join(found)}; choose with --part")
    (bound,) = found.values()
    for path in export(bound, file, n=n, split=split, difficulty=difficulty):
        typer.echo(path)


@bench.command()
def generators(
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="[TASK]...", help="kinds; all if none")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="documents in a batch")] = 4096,
    seconds: Annotated[float, typer.Option(min=0.01, help="time for each measurement")] = 1.0,
    world: Annotated[
        bool, typer.Option("--world", help="time and memory of 500,000 people instead")
    ] = False,
    shapes: Annotated[
        bool,
        typer.Option("--shapes", help="time of a batch beside a training step; grids for tasks"),
    ] = False,
) -> None:
    """Tokens per second on one core, beside plain Python that writes one document at a time."""
    from experiments.bench.generators import measure_all, measure_world
    from experiments.text import aligned

    if world:
        typer.echo(measure_world())
        return
    if shapes:
        from experiments.bench import shapes as bench_shapes

        typer.echo("medians of the time of the process, one thread; the cheapest model of a shape")
        found = bench_shapes.measure_shapes(kinds or [], seconds=seconds)
        typer.echo(aligned([bench_shapes.HEAD, *found]))
        return
    rows = measure_all(kinds, batch=batch, seconds=seconds)
    typer.echo(f"million tokens a second on one core, padding not counted; batches of {batch}")
    typer.echo(aligned(rows))


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
    from experiments.bench import train as bench_train
    from experiments.machine import device_name
    from experiments.runs.json_files import write_json
    from experiments.text import aligned

    typer.echo(device_name(device))
    if scaling:
        from experiments.bench.scaling import scaling as measure_scaling

        rows = list(measure_scaling(device=device, precision=precision, seconds=seconds))
        typer.echo(aligned(rows[:-1]))
        typer.echo(rows[-1][0])
        return
    if recompute:
        from experiments.bench.scaling import RECOMPUTE_HEAD, recomputing

        measured = recomputing(device=device, precision=precision, seconds=seconds, width=128)
        typer.echo("memory kept for the backward pass; x time above 1: recomputing takes longer")
        typer.echo(aligned([RECOMPUTE_HEAD, *measured]))
        return
    typer.echo("ratios above 1: ours is faster")
    found = []
    for name, config in bench_train.shapes_of(shapes or ["64", "128", "256"], precision).items():
        found.append(bench_train.measure(name, config, device=device, seconds=seconds))
        if file is not None:
            write_json(file, bench_train.as_json(found, device))
    typer.echo(aligned([bench_train.HEAD, *(speed.row() for speed in found)]))


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
    from experiments.bench import stack as bench_stack
    from experiments.bench.train import shapes_of
    from experiments.machine import device_name
    from experiments.runs.json_files import write_json
    from experiments.text import aligned
    from experiments.training.ensemble import why_alone

    found = shapes_of(shapes or ["16", "32", "64"], precision, bench_stack.standard_shapes)
    numbers = stack or bench_stack.RUNS[device.partition(":")[0]]
    reasons = {name: why for name, config in found.items() if (why := why_alone(config))}
    typer.echo(f"{device_name(device)}; ratios above 1: faster than the same runs one at a time")
    speeds = []
    for name, config in found.items():
        for runs in numbers if name not in reasons else ():
            speeds.append(bench_stack.measure(name, config, runs, device=device, seconds=seconds))
            if file is not None:
                write_json(file, bench_stack.as_json(speeds, reasons, device))
    typer.echo(aligned([bench_stack.HEAD, *(speed.row() for speed in speeds)]))
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
    from experiments.bench import decoding as bench_generate
    from experiments.machine import device_name
    from experiments.text import aligned

    subject = bench_generate.subject_with_loops(out, run, device)
    typer.echo(f"{device_name(device)}; ratios above 1: faster than all loops, or than no cache")
    exits = bench_generate.measure_exits(subject, items=items, seconds=seconds, split=split)
    typer.echo(aligned([bench_generate.HEAD, *exits]))
    row = bench_generate.measure_cache(
        subject, documents=documents, prompt=8, new_tokens=new_tokens, seconds=seconds
    )
    typer.echo(aligned([bench_generate.CACHE_HEAD, row]))
