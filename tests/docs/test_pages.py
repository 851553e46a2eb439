"""What the pages say exists: links, files, modules, commands and their options."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from experiments.cli.main import app
from experiments.grid.grid import SHIPPED, load_grid

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for folder in (".", "generators", "models", "probes", "experiments", "notebooks", "tests")
    for page in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
)
#: pages about how things were, where paths may be of their time
HISTORY = {"LOG.md", "CHANGELOG.md"}
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: examples name files of the reader's
OF_THE_READER = {"file.py", "mine.yaml", "addition.py", "looped_gru.py", "mean_loss.py"}
OF_THE_READER |= {"confidence.py", "seeds.py", "own.yaml", "mano.parquet"}
OF_THE_READER |= {"path.py", "my_model.py", "score.py", "tiny.yaml", "small.yaml"}
OF_THE_READER |= {"card.json", "card.md", "model.yaml", "runs.zip", "score.yaml"}


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Headings as their links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in HISTORY], ids=ids)
def test_every_file_and_module_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`([\w./-]+\.(?:py|yaml|md|zip|json))(?::\w+)?`", text):
        if Path(name).name in OF_THE_READER or name.startswith(("path/", "OUT/")):
            continue
        places = (ROOT, page.parent, SHIPPED, ROOT / "experiments" / "reference")
        of_a_run = {"config.json", "environment.json", "status.json", "result.json"}
        assert any((p / name).exists() for p in places) or name in of_a_run, name
    for name in re.findall(r"`((?:generators|models|probes|experiments)(?:\.\w+)+)`", text):
        module, _, attribute = name.rpartition(".")
        try:
            import_module(name)
        except ModuleNotFoundError:
            assert hasattr(import_module(module), attribute), name


def commands(page: Path) -> list[list[str]]:
    """Words of every `loopscope …` in code blocks and between backticks, comments left out."""
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    lines = [line for line in blocks.splitlines() if line.startswith("loopscope ")]
    lines += re.findall(r"`(loopscope [a-z][^`]*)`", text)
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "LOG.md"], ids=ids)
def test_every_command_has_the_options_it_is_given(page: Path) -> None:
    for words in commands(page):
        command = get_command(app)
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        if words and words[0] == "--version":
            continue
        no_command = not words or words[0].startswith("--")
        alone = getattr(command, "invoke_without_command", False) and no_command
        assert alone or not hasattr(command, "commands"), f"loopscope has no command {words[:1]}"
        known = {option for parameter in command.params for option in parameter.opts}
        known |= {"--help"}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{command.name} has no {word}"


def test_the_readme_is_short_and_its_targets_are_there() -> None:
    assert len(README.splitlines()) <= 150
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    targets = set(re.findall(r"\bmake ([a-z-]+)", README))
    targets |= set(re.findall(r"`make ([a-z-]+)`", pages))
    assert {"quick", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_readmes_grid_and_imports_work(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    assert len(load_grid(path).runs) == 6
    for module, names in re.findall(r"^from (\S+) import ([\w, ]+)", README, re.MULTILINE):
        for name in names.split(","):
            assert hasattr(import_module(module), name.strip()), (module, name)


def test_every_shipped_grid_and_every_command_is_named() -> None:
    usage = (ROOT / "experiments" / "USAGE.md").read_text(encoding="utf-8")
    for grid in SHIPPED.glob("*.yaml"):
        assert f"`{grid.stem}`" in usage, grid.stem
    root = typer.main.get_command(app)
    for name in root.commands:  # pyrefly: ignore
        assert f"loopscope {name}" in usage, name


def test_published_variants_are_settings_that_there_are() -> None:
    table = (ROOT / "experiments" / "VARIANTS.md").read_text(encoding="utf-8").split("\n## ")[0]
    cells = [row.split(" | ")[1] for row in table.splitlines() if row.count(" | ") == 2][1:]
    code = [" ".join(re.findall(r"`([^`]+)`", cell)) for cell in cells]
    page = (ROOT / "experiments" / "CONFIGURATION.md").read_text(encoding="utf-8")
    fields = {"objective", *re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)}
    assert len(code) > 35
    assert [text for text in code if set(re.findall(r"(\w+):", text)) - fields] == []
    kinds = set(re.findall(r"kind: ([\w-]+)", " ".join(code)))
    assert len(kinds) > 12 and kinds <= set(re.findall(r"`\"?([\w-]+)\"?`", page))


def test_every_task_and_probe_stands_in_its_table() -> None:
    from generators.plugins import choices
    from generators.task import Task
    from probes.probe import Probe

    for base, package in ((Task, "generators"), (Probe, "probes")):
        page = (ROOT / package / "README.md").read_text(encoding="utf-8")
        for kind in choices(base, package):
            assert f"`{kind}`" in page, kind
