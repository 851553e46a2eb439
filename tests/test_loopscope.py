"""The face `import loopscope`, and what it says where other packages hide those of the lab."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import loopscope
from experiments.shadowing import PACKAGES

ROOT = Path(loopscope.__file__).parent
#: what stands in a package of the user's own: it leaves a trace if it is executed
OWN = "import pathlib; pathlib.Path(__file__).with_name('executed').touch()\n"
USE = "import loopscope; loopscope.load_grid('quick'); print('works')"


def own_package(folder: Path, name: str, *, namespace: bool = False) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / ("thing.py" if namespace else "__init__.py")).write_text(OWN)
    return folder / name


def python(
    *arguments: str, cwd: Path, path: tuple[Path, ...] = (ROOT,), program: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    """Python in a folder, with nothing of the lab on its path but by PYTHONPATH."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [program, *arguments],
        cwd=cwd,
        env={**environment, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=120,
    )


def refused(ran: subprocess.CompletedProcess[str], own: Path, *, status: int, remedy: str) -> None:
    """One sentence says what hides what and the remedy, and nothing of the user's ran."""
    assert ran.returncode == status, ran.stderr
    last = ran.stderr.strip().splitlines()[-1]
    assert f"{own} is found as `{own.name}` in place of its own {ROOT / own.name}, " in last
    assert remedy in last
    assert "works" not in ran.stdout
    assert not list(own.glob("executed"))
    if status == 2:
        assert ran.stderr.strip() == last  # the sentence alone, no traceback


BESIDE = "rename it, or work in another folder"


@pytest.mark.parametrize("name", PACKAGES)
def test_own_folder_where_python_starts(tmp_path: Path, name: str) -> None:
    own = own_package(tmp_path, name)
    refused(python("-c", USE, cwd=tmp_path), own, status=1, remedy=BESIDE)
    refused(python("-m", "loopscope", "--help", cwd=tmp_path), own, status=2, remedy=BESIDE)
    notebook = f"import sys; sys.path.insert(0, ''); {USE}"
    refused(python("-P", "-c", notebook, cwd=tmp_path), own, status=1, remedy=BESIDE)


@pytest.mark.parametrize("name", ["generators", "models", "probes"])
def test_also_where_the_old_places_are_imported(tmp_path: Path, name: str) -> None:
    own = own_package(tmp_path, name)
    ran = python("-c", "from experiments.results import load_runs", cwd=tmp_path)
    refused(ran, own, status=1, remedy=BESIDE)


def test_a_module_in_one_file_hides_a_package_too(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(OWN)
    ran = python("-c", USE, cwd=tmp_path)
    assert ran.returncode == 1
    assert f"{tmp_path / 'models.py'} is found as `models`" in ran.stderr
    assert not (tmp_path / "executed").exists()


def test_pythonpath(tmp_path: Path) -> None:
    own = own_package(tmp_path / "lib", "experiments")
    elsewhere = tmp_path / "work"
    elsewhere.mkdir()
    remedy = f"because PYTHONPATH names {own.parent}: rename it, or take {own.parent} off"
    path = (own.parent, ROOT)
    refused(python("-c", USE, cwd=elsewhere, path=path), own, status=1, remedy=remedy)
    script = tmp_path / "bin" / "loopscope"  # as pip writes it
    script.parent.mkdir()
    script.write_text("import sys\nfrom loopscope import main\nsys.exit(main())\n")
    ran = python(str(script), "plan", "quick", cwd=elsewhere, path=path)
    refused(ran, own, status=2, remedy=remedy)
    assert python(str(script), "--version", cwd=elsewhere).stdout.startswith("loopscope ")


def test_another_installed_package(tmp_path: Path) -> None:
    """Real folders of a virtual environment, in which the lab lies on a later path."""
    lab = tmp_path / "lab"
    for name in PACKAGES:
        (lab / name).mkdir(parents=True)
        shutil.copy(ROOT / name / "__init__.py", lab / name)
    shutil.copy(ROOT / "experiments" / "shadowing.py", lab / "experiments")
    shutil.copy(ROOT / "loopscope.py", lab)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    program = str(tmp_path / "env" / "bin" / "python")
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    (site / "lab.pth").write_text(f"{lab}\n")
    found = python("-c", "import loopscope, models", cwd=tmp_path, path=(), program=program)
    assert found.returncode == 0, found.stderr

    other = own_package(site, "models")
    ran = python("-c", "import loopscope", cwd=tmp_path, path=(), program=program)
    assert f"because a package installed in {site} brings it: uninstall" in ran.stderr
    assert f"{other} is found as `models` in place of its own {lab / 'models'}" in ran.stderr
    assert not list(other.glob("executed"))

    shutil.rmtree(other)
    (lab / "models" / "__init__.py").write_text(OWN)  # pip lets packages write over each other
    ran = python("-c", "import loopscope", cwd=tmp_path, path=(), program=program)
    assert "another package has written its own models over that of loopscope" in ran.stderr
    assert not (lab / "models" / "executed").exists()


def test_a_folder_without_init_hides_nothing_of_an_installed_lab(tmp_path: Path) -> None:
    """Python takes a package on a later path before a folder that is none: so it works."""
    own_package(tmp_path, "models", namespace=True)
    ran = python("-c", USE, cwd=tmp_path)
    assert ran.stdout == "works\n", ran.stderr


#: as `pip install --editable` finds packages: after all paths
EDITABLE = f"""
import importlib.machinery, importlib.util, pathlib, sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        root = pathlib.Path({str(ROOT)!r})
        for file in (root / name / "__init__.py", root / (name + ".py")):
            if "." not in name and file.exists():
                return importlib.util.spec_from_file_location(name, file)
sys.meta_path = [f for f in sys.meta_path if "ditable" not in str(f)] + [Finder]
"""


def test_a_folder_without_init_hides_that_of_an_editable_installation(tmp_path: Path) -> None:
    own = own_package(tmp_path, "models", namespace=True)
    ran = python("-c", EDITABLE + USE, cwd=tmp_path, path=())
    refused(ran, own, status=1, remedy=BESIDE)
    (own / "thing.py").unlink()
    own.rmdir()
    assert python("-c", EDITABLE + USE, cwd=tmp_path, path=()).stdout == "works\n"


def test_two_copies_of_the_lab(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    shutil.copy(ROOT / "models" / "__init__.py", tmp_path / "models")
    ran = python("-c", USE, cwd=tmp_path)
    assert "another copy of loopscope: install one of the two" in ran.stderr


def test_what_was_imported_before_is_named_as_such(tmp_path: Path) -> None:
    own = own_package(tmp_path, "probes")
    ran = python("-c", f"import probes; {USE}", cwd=tmp_path)
    assert f"{own} is imported already as `probes` in place of" in ran.stderr


def test_an_own_folder_that_python_does_not_look_into_is_left_alone(tmp_path: Path) -> None:
    own = own_package(tmp_path, "models")
    ran = python("-P", "-c", USE, cwd=tmp_path)  # as the installed script starts
    assert ran.stdout == "works\n", ran.stderr
    assert not (own / "executed").exists()


def test_the_face_holds_what_it_lists() -> None:
    assert sorted(loopscope.__all__) == loopscope.__all__ == sorted(dir(loopscope))
    assert all(callable(getattr(loopscope, n)) for n in loopscope.__all__ if n != "__version__")
    assert isinstance(loopscope.__version__, str)
    with pytest.raises(AttributeError, match=r"no attribute 'load_run'; it has .*load_runs"):
        loopscope.load_run  # noqa: B018  # pyrefly: ignore


def test_importing_the_face_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, loopscope; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    assert python("-c", code, cwd=tmp_path).stdout == "set()\n"


def test_figures_and_verdicts_of_rows_that_were_chosen() -> None:
    runs = loopscope.load_runs(ROOT / "experiments" / "reference" / "quick")
    chosen = runs[runs["n_loops"] < 4]
    picture = loopscope.figure("accuracy_versus_loops", chosen, title="two arms")
    assert picture.get_suptitle() == "two arms"
    drawn = {float(x) for axes in picture.axes for line in axes.lines for x in line.get_xdata()}
    assert not {x for x in drawn if x > 3}
    said = loopscope.compare(chosen, "manipulation-better", ("1⊗1", "1⊗2"))
    assert "1⊗2 against 1⊗1" in said and "1⊗4" not in said
