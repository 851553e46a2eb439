"""Kinds are found without a registry, and classes from files survive being written down."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from experiments.config.memory import run_memory
from experiments.config.phases import Frozen
from experiments.config.run import AnyTask, RunConfig
from experiments.errors import LoopscopeError
from generators.multihop import MultiHop
from generators.plugins import choices, kind_of, nearest, path_of
from generators.task import Task
from models.config import LoopedConfig
from models.objectives.objective import Objective
from probes.probe import Probe

SOURCE = """
from typing import ClassVar, Literal

from pydantic import Field

from generators.multihop import MultiHop


class Renamed(MultiHop):
    version: ClassVar[int] = {version}
    kind: Literal["{kind}"] = "{kind}"
    extra: int = Field(1, ge=1)


class SameKind(MultiHop):
    pass


class NoTask:
    pass
"""


class Holder(Frozen):
    task: AnyTask


def plugin(folder: Path, kind: str = "renamed", version: int = 1, name: str = "mine.py") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(SOURCE.format(kind=kind, version=version))
    return path


def config(kind: str, folder: Path | None = None, **task: Any) -> RunConfig:
    fields = {
        "task": {"kind": kind, **task},
        "model": {"width": 16},
        "training": {"phases": [{"until_step": 5}]},
    }
    return RunConfig.model_validate(fields, context={"folders": (folder,) if folder else ()})


def message(kind: str, **fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate({"task": {"kind": kind, **fields}})
    return str(caught.value)


def test_shipped_kinds_are_found_by_their_own_names() -> None:
    for base, package, wanted in (
        (Task, "generators", {"multihop", "bios"}),
        (LoopedConfig, "models", {"looped"}),
        (Objective, "models.objectives", {"last_loop", "entropy"}),
        (Probe, "probes", {"accuracy", "capacity"}),
    ):
        found = choices(base, package)
        assert wanted <= set(found)
        assert all(kind_of(cls) == kind and issubclass(cls, base) for kind, cls in found.items())


def test_abstract_bases_are_no_choice() -> None:
    assert kind_of(Task) is None
    assert kind_of(Objective) is None


def test_a_plugin_can_be_frozen_and_made_again(tmp_path: Path) -> None:
    path = plugin(tmp_path)
    run = config(f"{path}:Renamed", extra=3)
    frozen = json.loads(json.dumps(run.model_dump(mode="json")))
    assert frozen["task"]["kind"] == f"{path.resolve()}:Renamed"
    again = RunConfig.model_validate(frozen)
    assert again == run
    assert type(again.task) is type(run.task)
    assert again.run_id == run.run_id
    assert run.task.kind == "renamed"
    assert run.run_id.startswith("renamed-1x1-")


def test_the_id_of_a_plugin_forgets_where_its_file_lies(tmp_path: Path) -> None:
    first = plugin(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    here, there = (config(f"{p}:Renamed") for p in (first, tmp_path / "b" / "mine.py"))
    assert type(here.task) is not type(there.task)
    assert here.run_id == there.run_id
    assert str(tmp_path) not in json.dumps(here.identity())


def test_version_kind_and_fields_of_a_plugin_enter_the_id(tmp_path: Path) -> None:
    base = config(f"{plugin(tmp_path / 'a')}:Renamed").run_id
    newer = config(f"{plugin(tmp_path / 'b', version=2)}:Renamed").run_id
    other = config(f"{plugin(tmp_path / 'c', kind='other')}:Renamed").run_id
    field = config(f"{tmp_path / 'a' / 'mine.py'}:Renamed", extra=2).run_id
    shipped = config("multihop").run_id
    assert len({base, newer, other, field, shipped}) == 5


def test_relative_paths_mean_the_grids_folder_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(tmp_path / "grid", kind="near")
    plugin(tmp_path / "here", kind="far")
    plugin(tmp_path / "here", kind="only-here", name="other.py")
    monkeypatch.chdir(tmp_path / "here")
    assert config("mine.py:Renamed", tmp_path / "grid").task.kind == "near"
    assert config("mine.py:Renamed").task.kind == "far"
    assert config("other.py:Renamed", tmp_path / "grid").task.kind == "only-here"


def test_two_plugins_of_one_file_name_do_not_shadow_each_other(tmp_path: Path) -> None:
    one = config(f"{plugin(tmp_path / 'a', kind='one')}:Renamed").task
    two = config(f"{plugin(tmp_path / 'b', kind='two')}:Renamed").task
    assert (one.kind, two.kind) == ("one", "two")
    assert path_of(type(one)) != path_of(type(two))
    assert path_of(MultiHop) is None


def test_plugins_do_not_become_shipped_kinds(tmp_path: Path) -> None:
    config(f"{plugin(tmp_path, kind='hidden')}:Renamed")
    assert "hidden" not in choices(Task, "generators")
    assert "unknown kind 'hidden'" in message("hidden")


def test_what_is_wrong_with_a_plugin_is_said(tmp_path: Path) -> None:
    path = plugin(tmp_path)
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('no luck')")
    assert "there is no file" in message(f"{tmp_path}/absent.py:Renamed")
    assert "RuntimeError: no luck" in message(f"{broken}:Renamed")
    assert "has no class Missing that derives from Task" in message(f"{path}:Missing")
    assert "has no class NoTask that derives from Task" in message(f"{path}:NoTask")
    assert "which a shipped class has" in message(f"{path}:SameKind")
    spaced = plugin(tmp_path / "spaced", kind="A b/c")
    assert "needs a name of its own" in message(f"{spaced}:Renamed")


def test_fields_of_a_plugin_are_checked_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate(
            {"task": {"kind": f"{plugin(tmp_path)}:Renamed", "extra": 0, "hops": "x", "hop": 1}}
        )
    assert {e["loc"] for e in caught.value.errors()} == {
        ("task", "extra"),
        ("task", "hops"),
        ("task", "hop"),
    }


def test_errors_of_shipped_kinds() -> None:
    assert "did you mean 'multihop'?" in message("multihops")
    assert "`kind` is missing; it is one of" in str(
        pytest.raises(ValidationError, Holder.model_validate, {"task": {}}).value
    )
    assert "needed a mapping with `kind`, got 3" in str(
        pytest.raises(ValidationError, Holder.model_validate, {"task": 3}).value
    )


def test_a_base_with_a_kind_is_the_default() -> None:
    assert config("multihop").model == LoopedConfig(width=16)


def test_objects_pass_through() -> None:
    task = MultiHop(hops=2)
    assert Holder(task=task).task is task


def test_the_schema_describes_every_kind() -> None:
    text = json.dumps(RunConfig.model_json_schema())
    for name in ("multihop", "bios", "looped", "entropy", "held_out", "norm_between_loops"):
        assert name in text


def test_nearest_is_silent_about_strangers() -> None:
    assert nearest("widht", ["width", "heads"]) == " (did you mean 'width'?)"
    assert nearest("zzz", ["width", "heads"]) == ""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 'x'", "task odd: its context_length is 'x', and a whole number is needed"),
        ("return {}['no']", r"task odd: its context_length failed in .*odd.py:\d+: KeyError: 'no'"),
    ],
)
def test_a_task_that_cannot_tell_its_sizes_is_named(
    tmp_path: Path, body: str, message: str
) -> None:
    (tmp_path / "odd.py").write_text(
        "from typing import Literal\n"
        "from generators.multihop import MultiHop\n"
        "class Odd(MultiHop):\n"
        "    kind: Literal['odd'] = 'odd'\n"
        "    @property\n"
        "    def context_length(self):\n"
        f"        {body}\n"
    )
    with pytest.raises(LoopscopeError, match=message):
        run_memory(config(f"{tmp_path}/odd.py:Odd"))
