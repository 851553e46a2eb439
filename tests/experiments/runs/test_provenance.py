"""What a run depends on: every source that decides weights is compared before it goes on."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from toys import config

import experiments
from experiments.errors import LoopscopeError
from experiments.runs import provenance
from experiments.runs.folder import RunFolder
from experiments.runs.provenance import drift, source_hashes
from experiments.training.train import train
from generators.plugins import load_class
from generators.task import Task

ROOT = Path(experiments.__file__).parent.parent
#: modules that a worker uses and that decide no weight: they keep, check and report
BESIDE = {
    f"experiments.{name}"
    for name in (
        *("errors", "machine", "shadowing", "text"),
        *("execution.job", "execution.worker", "measuring.measure"),
        *("runs.folder", "runs.integrity", "runs.json_files", "runs.lock", "runs.provenance"),
        *("runs.record_checks", "runs.repair", "runs.schema_version", "runs.status"),
        "runs.moved_files",  # finds the file again that has the hash of the one trained with
    )
} | {"experiments"}


def source(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    found = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return found if found.exists() else None


def imports(path: Path) -> Iterator[str]:
    """Modules of the lab that a file imports anywhere in it, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def closure(*roots: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        path = source(module) if module.split(".")[0] in provenance.LAB else None
        if path is not None and module not in found:
            found[module] = path
            waiting += imports(path)
    return found


def test_every_module_that_a_worker_uses_is_compared_or_known_to_decide_nothing() -> None:
    used = closure(
        "experiments.execution.worker",
        "experiments.training.train",
        "experiments.training.joint_step",
    )
    assert {"experiments.training.growth", "models.fast.fused", "generators.plugins"} <= used.keys()
    hashed = {name for files in source_hashes().values() for name in files}
    left = {
        module
        for module, path in used.items()
        if str(path.relative_to(ROOT)) not in hashed
        and path.read_text().strip()
        and module.split(".")[0] != "probes"  # look at a trained model, which they do not change
    }
    assert left == BESIDE


def test_every_file_of_generators_and_models_is_compared() -> None:
    hashed = {name for files in source_hashes().values() for name in files}
    for package in ("generators", "models"):
        for path in (ROOT / package).rglob("*"):
            name = str(path.relative_to(ROOT))
            if path.suffix in (".py", ".txt"):
                assert name in hashed
            elif path.is_file() and "__pycache__" not in name:
                assert path.name in ("README.md", "py.typed", "manifest.sha256"), name


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The sources of the lab, where they can be changed."""
    here = tmp_path / "lab"
    for package in ("experiments", "generators", "models"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, here / package, ignore=ignored)
    monkeypatch.setattr(provenance, "_root", lambda package: here / package.__name__)
    source_hashes.cache_clear()
    yield here
    source_hashes.cache_clear()


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("models", "models/fast/fused.py"),
        ("training", "experiments/training/growth.py"),
        ("training", "experiments/runs/checkpoint.py"),
        ("generators", "generators/plugins.py"),
        ("pools", "generators/templates/university.txt"),
    ],
)
def test_a_change_between_start_and_resume_is_refused_and_shown(
    tmp_path: Path, copied: Path, group: str, name: str
) -> None:
    run = config(steps=4)
    folder = RunFolder(tmp_path / run.run_id)
    assert not train(run, folder, stop=lambda: True)
    before = folder.checkpoint_path.read_bytes()
    with (copied / name).open("a") as file:
        file.write("\n")
    source_hashes.cache_clear()
    with pytest.raises(LoopscopeError, match=f"{group}: {name} changed"):
        train(run, folder)
    assert folder.checkpoint_path.read_bytes() == before
    assert train(run, folder, allow_drift=True)
    result = folder.result()
    assert result is not None and result["accepted_drift"] == [f"{group}: {name} changed"]


def test_what_a_file_of_a_users_own_imports_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "helpers_of_mine/__init__.py": "from .numbers import SIZE",
        "helpers_of_mine/numbers.py": "import math\nSIZE = 8",
        "unused_by_it.py": "",
        "task_of_mine.py": (
            "from typing import Literal\n"
            "from generators.multihop import MultiHop\n"
            "class Mine(MultiHop):\n"
            "    kind: Literal['mine'] = 'mine'\n"
            "    def bind(self, seed):\n"
            "        from helpers_of_mine import SIZE\n"
            "        return super().bind(seed)\n"
        ),
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    cls = load_class(Task, "generators", f"{tmp_path / 'task_of_mine.py'}:Mine")
    task = cls.model_validate({"entities": 8, "relations": 4, "hops": 2})
    run = config(task=task)
    run.bound_task()  # now they are imported
    then = provenance.environment(run)
    assert set(then["sources"]["plugins"]) == {"task_of_mine.py", "__init__.py", "numbers.py"}
    (tmp_path / "helpers_of_mine" / "numbers.py").write_text("import math\nSIZE = 9")
    assert drift(then, provenance.environment(run)) == ["plugins: numbers.py changed"]
    for name in [name for name in sys.modules if name.startswith("helpers_of_mine")]:
        del sys.modules[name]


def test_the_commit_is_told_where_there_is_one(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert provenance.source_commit(tmp_path) is None
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    head = git("rev-parse", "HEAD")
    provenance.source_commit.cache_clear()
    assert provenance.source_commit(tmp_path) == head
    (tmp_path / "file").write_text("two")
    provenance.source_commit.cache_clear()
    assert provenance.source_commit(tmp_path) == f"{head}-dirty"


@pytest.mark.parametrize(
    ("place", "own"),
    [("mine", True), (".local/lib/python3.12/site-packages", False), ("dist-packages", False)],
)
def test_packages_are_nobodys_own_code_wherever_they_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, own: bool
) -> None:
    """Those of a user, or of an environment below this one, are not in this one's folders."""
    helper = tmp_path / place / "installed_helper.py"
    helper.parent.mkdir(parents=True)
    helper.write_text("FACTOR = 2\n")
    task = tmp_path / "own_task.py"
    task.write_text(
        "from typing import Literal\n"
        "import installed_helper\n"
        "from generators.multihop import MultiHop\n"
        "class Own(MultiHop):\n"
        "    kind: Literal['own'] = 'own'\n"
    )
    monkeypatch.syspath_prepend(str(helper.parent))
    cls = load_class(Task, "generators", f"{task}:Own")
    made = cls.model_validate({"entities": 8, "relations": 4, "hops": 2})
    wanted = {"own_task.py", "installed_helper.py"} if own else {"own_task.py"}
    assert provenance.files_of([made]).keys() == wanted
    del sys.modules["installed_helper"]
