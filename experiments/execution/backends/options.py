"""Settings of the back ends, from the command line or a YAML file; none of them is science."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError

from experiments.errors import LoopscopeError
from experiments.grid.located_yaml import load_yaml
from generators.plugins import nearest


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    workers: int | None = Field(
        None, ge=1, description="runs, or packs of runs, at once; None: as many as there is room"
    )


class LocalOptions(_Options):
    """Processes on this machine."""

    backend: Literal["local"] = "local"
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: GPUs if there are any"
    )
    slots_per_gpu: int = Field(1, ge=1, description="runs on one GPU at the same time")
    memory_gb: float | None = Field(
        None, gt=0, description="for all runs together; None: what is free when the grid starts"
    )
    stack: PositiveInt | Literal["auto"] | None = Field(
        None,
        description="most runs of one shape whose steps are taken together; auto: as it pays; "
        "None: auto on a GPU, 1 on a CPU",
    )


class RayOptions(_Options):
    """Core tasks on a Ray cluster that there is already, or on one of this machine alone."""

    backend: Literal["ray"] = "ray"
    address: str | None = Field(
        None, description="of a cluster, or auto; None: RAY_ADDRESS if set, else a local one"
    )
    namespace: str = Field("loopscope", min_length=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cpus: float = Field(1.0, gt=0, description="of one task")
    gpus: float = Field(0.0, ge=0, description="of one task; 0.25 puts four on one GPU")
    memory_gb: float | None = Field(None, gt=0, description="of one task")
    pack: int = Field(1, ge=1, description="runs in one task, one after the other")
    stack: PositiveInt | Literal["auto"] = Field(
        1, description="most runs of one shape whose steps one task takes together"
    )
    temp_dir: Path | None = Field(None, description="of a local cluster; its path must be short")


class SlurmOptions(_Options):
    """Array jobs sent by submitit."""

    backend: Literal["slurm"] = "slurm"
    cluster: Literal["slurm", "local"] = Field(
        "slurm", description="local: the same jobs as processes of this machine, to try it out"
    )
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    minutes: int = Field(240, ge=1, description="time limit; a run that needs more is requeued")
    signal_seconds: int = Field(120, ge=1, description="warning before the time limit")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cpus: int = Field(1, ge=1, description="of one job")
    gpus: int = Field(0, ge=0, description="of one job")
    memory_gb: float | None = Field(None, gt=0, description="of one job")
    pack: int = Field(1, ge=1, description="runs in one job, one after the other")
    stack: PositiveInt | Literal["auto"] = Field(
        1, description="most runs of one shape whose steps one job takes together"
    )
    setup: tuple[str, ...] = Field((), description="shell lines before the job")
    sbatch: dict[str, str | int | bool] = Field(
        default_factory=dict, description="further options of sbatch, by their long names"
    )


BackendOptions = Annotated[LocalOptions | RayOptions | SlurmOptions, Field(discriminator="backend")]
_KINDS: dict[str, type[_Options]] = {
    "local": LocalOptions,
    "ray": RayOptions,
    "slurm": SlurmOptions,
}


def backend_options(
    backend: str = "local", settings: Sequence[str] = (), **given: Any
) -> BackendOptions:
    """Options from a name or a YAML file, then from KEY=VALUE texts, then from arguments.

    Args:
        backend: local, ray, slurm, or a YAML file with `backend:` and its options.
        given: values by name; None is not given.

    Raises:
        LoopscopeError: no such back end, file or option, or a value that does not fit.
    """
    workers = given.get("workers")
    if workers is not None and workers < 1:
        raise LoopscopeError(f"--workers needs 1 or more, got {workers}")
    fields = _from_name_or_file(backend)
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise LoopscopeError(f"--option {text}: needs KEY=VALUE, such as cpus=2")
        if name == "backend":
            raise LoopscopeError(f"--option {text}: the back end is chosen with --backend")
        try:
            fields[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise LoopscopeError(f"--option {text}: the value is no YAML") from error
    fields |= {name: value for name, value in given.items() if value is not None}
    return _checked(fields)


def _from_name_or_file(backend: str) -> dict[str, Any]:
    if backend in _KINDS:
        return {"backend": backend}
    path = Path(backend)
    if not path.is_file():
        raise LoopscopeError(
            f"there is no back end {backend!r}{nearest(backend, _KINDS)}; there are "
            f"{', '.join(_KINDS)}, and a path to a YAML file with `backend:` is also possible"
        )
    data, _ = load_yaml(path)
    if not isinstance(data, dict) or data.get("backend") not in _KINDS:
        raise LoopscopeError(f"{path} needs `backend:` with one of {', '.join(_KINDS)}")
    return dict(data)


def _checked(fields: dict[str, Any]) -> BackendOptions:
    """Raises LoopscopeError with everything that is wrong."""
    kind = _KINDS[fields["backend"]]
    try:
        return TypeAdapter(BackendOptions).validate_python(fields)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = str(problem["loc"][1]) if len(problem["loc"]) > 1 else ""
            if problem["type"] == "extra_forbidden":
                known = sorted(kind.model_fields.keys() - {"backend"})
                hint = nearest(name, known) or f"; it has {', '.join(known)}"
                lines.append(f"  back end {fields['backend']} has no option {name!r}{hint}")
            else:
                given = problem["input"]
                lines.append(f"  {name}: {problem['msg'].lower()}, got {given!r}")
        raise LoopscopeError("options of the back end:\n" + "\n".join(lines)) from error
