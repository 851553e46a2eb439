"""The face of the lab: what a notebook or a script needs to run grids and read results.

    import loopscope

    loopscope.run_grid(loopscope.load_grid("quick"), "runs/quick")
    runs = loopscope.load_runs("runs/quick")
    loopscope.figure("accuracy_versus_loops", runs)
    model, task = loopscope.load_model("runs/quick", runs.run_id[0])

Importing it checks first that `generators`, `models`, `probes` and `experiments` are the packages
of the lab and not folders of your own; it says what to do where they are not. It imports nothing
heavy before something is asked for. `python -m loopscope` is the command `loopscope`.
"""

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.analysis.figures import picture as figure
    from experiments.execution.runner import run_grid
    from experiments.grid import load_grid
    from experiments.measuring.load import load_model
    from experiments.notebook import compare
    from experiments.notebook.explorer import explore
    from experiments.results import load_curves, load_runs, load_task

    __version__: str

__all__ = [
    "__version__",
    "compare",
    "explore",
    "figure",
    "load_curves",
    "load_grid",
    "load_model",
    "load_runs",
    "load_task",
    "run_grid",
]

#: name here -> (module, name there)
_PLACES = {
    "compare": ("experiments.notebook", "compare"),
    "explore": ("experiments.notebook.explorer", "explore"),
    "figure": ("experiments.analysis.figures", "picture"),
    "load_curves": ("experiments.results", "load_curves"),
    "load_grid": ("experiments.grid", "load_grid"),
    "load_model": ("experiments.measuring.load", "load_model"),
    "load_runs": ("experiments.results", "load_runs"),
    "load_task": ("experiments.results", "load_task"),
    "run_grid": ("experiments.execution.runner", "run_grid"),
}


def _shadowing() -> ModuleType:
    """`experiments.shadowing` of this lab, by its path: its package may be hidden."""
    path = Path(__file__).resolve().parent / "experiments" / "shadowing.py"
    spec = spec_from_file_location("_loopscope_shadowing", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _is_command() -> bool:
    """Whether this is imported by the installed script, whose `main` asks, and says it shortly."""
    return __name__ == "__main__" or Path((sys.argv or [""])[0]).stem == "loopscope"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("experiments.runs.schema_version").release()
    if name in _PLACES:
        module, there = _PLACES[name]
        return getattr(import_module(module), there)
    raise AttributeError(
        f"module 'loopscope' has no attribute {name!r}; it has {', '.join(__all__)}"
    )


def __dir__() -> list[str]:
    return __all__


def main() -> None:
    """The command `loopscope`."""
    try:
        _shadowing().check_packages()
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    from experiments.cli.main import main as command

    command()


if not _is_command():
    _shadowing().check_packages()
if __name__ == "__main__":
    main()
