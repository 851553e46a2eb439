"""The page: what it says is what the results say, and nothing in them can become markup."""

import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic_results import config, write_run, write_toy
from typer.testing import CliRunner

from experiments.analysis.explorer.data import explorer_data
from experiments.analysis.report.environments import environment_table
from experiments.analysis.report.grids import ORDER, Asked, asked, in_order
from experiments.analysis.report.page import page as page_of
from experiments.analysis.report.page import write_report
from experiments.analysis.report.tables import run_tables
from experiments.analysis.report.verdicts import Judged, answers, first_with_verdicts, judged
from experiments.analysis.tables.tables import tables
from experiments.cli.main import app
from experiments.cli.report import shipped
from experiments.errors import LoopscopeError
from experiments.grid.grid import SHIPPED, load_grid
from experiments.results.archive import write_archive
from experiments.results.long_table import load_curves, load_runs, read_results
from experiments.results.source import open_source
from experiments.runs.json_files import write_json
from experiments.runs.output import prepare_output, record_grid
from experiments.runs.reference import REFERENCE, name_of, place_of

#: elements that are never closed
VOID = ("br", "img", "input", "meta")
HOSTILE = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>\"'&\1"


class Reader(HTMLParser):
    """Every table as rows of text, every attribute, and whether all that opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.text: dict[str, list[str]] = {}
        self._caption = ""
        self._rows: list[list[str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")
        if tag == "table":
            self._rows = []
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes something else"
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text[self.open[-1]][-1] += data
        if self.open and self.open[-1] in ("td", "th"):
            self._rows[-1][-1] += data
        if self.open and self.open[-1] == "caption":
            self._caption = data


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy results and a run that failed, in a grid whose every name is hostile."""
    folder = write_toy(tmp_path_factory.mktemp("report") / "runs")
    record = json.loads((folder / "grids" / "toy.json").read_text())
    labels = {"arm": HOSTILE, "model.loops": "1"}
    write_run(folder, "lost", config("multihop", 1, 0)).fail(f"disk full {HOSTILE}")
    points = [*record["points"], {"run_id": "lost", "part": HOSTILE, "labels": labels}]
    figures = [{"kind": "capacity_versus_loops"}, {"kind": "plane", "part": HOSTILE}]
    record_grid(folder, "toy", title=HOSTILE, figures=figures, points=points)
    return folder


@pytest.fixture(scope="module")
def text(out: Path) -> str:
    return write_report(out, "toy").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Reader:
    return Reader(text)


def test_everything_is_closed_and_asks_no_network(page: Reader, text: str) -> None:
    assert page.open == []
    links = [value for _, name, value in page.attributes if name in ("src", "href", "srcset")]
    assert links and all(re.match(r"#|data:(image/svg\+xml|text/csv);base64,", v) for v in links)
    assert not {name for _, name, _ in page.attributes if name.startswith("on")}
    assert not {tag for tag, _, _ in page.attributes} & {"link", "iframe", "object", "base"}
    (style,), (script,) = page.text["style"], page.text["script"]
    assert "url(" not in style and "@import" not in style
    assert not re.search(r"fetch|XMLHttpRequest|import\(|eval", script)
    anchors = {value for _, name, value in page.attributes if name == "id"}
    assert {v[1:] for v in links if v.startswith("#")} <= anchors


def test_only_its_own_style_and_script_are_allowed(page: Reader) -> None:
    (policy,) = (v for tag, name, v in page.attributes if tag == "meta" and "default-src" in v)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for kind in ("style", "script"):
        (content,) = page.text[kind]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_hostile_text_stays_text(page: Reader) -> None:
    assert [tag for tag, name, _ in page.attributes if tag == "img" and name == "src"] == ["img"]
    shown = HOSTILE.replace("\1", "\ufffd")
    assert page.text["h1"] == [shown]
    (lost,) = page.tables["Not done: 1 of 28 runs"][1:]
    assert lost == ["lost", shown, shown, "0", "failed", "0", f"disk full {shown}"]
    assert shown in "".join(page.text["p"]), "the figure that was not drawn says why"


def test_tables_are_those_of_the_terminal(page: Reader, out: Path) -> None:
    runs, curves = load_runs(out, "toy"), load_curves(out, "toy")
    wanted = tables(runs[runs["status"] == "done"], curves)
    assert len(wanted) == 5, "capacity, and accuracy and emergence of two worlds"
    for table in wanted:
        assert page.tables[table.title] == [list(table.columns), *map(list, table.rows)]


def test_every_run_stands_in_a_row_with_its_numbers(page: Reader, out: Path) -> None:
    runs = load_runs(out, "toy")
    found = {table.title: table for table in run_tables(runs)}
    table = found["functions: every run"]
    assert page.tables[table.title] == [list(table.columns), *map(list, table.rows)]
    assert len(table.rows) == 9
    shown = {row[-1]: row[table.columns.index("3 hops")] for row in table.rows}
    rows = runs.query("metric == 'accuracy' and difficulty == 3 and loop == n_loops")
    for row in rows[rows["part"] == "functions"].itertuples():
        assert float(shown[row.run_id]) == pytest.approx(row.value, abs=5e-4)
        assert shown[row.run_id].value == row.value, "it sorts by what was measured"
    (failed,) = found[f"{HOSTILE}: every run"].rows
    assert failed[-2:] == ("failed", "lost")


def test_verdicts_are_those_of_compare(page: Reader, out: Path) -> None:
    for claim in ("capacity-equal", "manipulation-better", "needs-fewer-steps"):
        arguments = ["compare", str(out), "--grid", "toy", "--claim", claim, "--json"]
        verdicts = json.loads(CliRunner().invoke(app, arguments).stdout)["verdicts"]
        verdicts.sort(key=lambda v: v["outcome"] == "no verdict")
        head, *rows = page.tables[f"{claim}: cell by cell"]
        assert [(row[0], row[1], row[2]) for row in rows] == [
            (v["cell"], v["outcome"], f"{v['b']} against {v['a']}") for v in verdicts
        ]
        if claim == "manipulation-better":
            assert {row[1] for row in rows} == {"undecided"}, "three seeds are too few"
            at = head.index("B − A")
            differences = [v["difference"] for v in verdicts]
            assert [float(row[at]) for row in rows] == pytest.approx(differences, abs=5e-4)


def test_commands_on_the_page_give_its_numbers(page: Reader, out: Path) -> None:
    lines = [line for line in page.text["code"] if line.startswith("loopscope ")]
    verbs = {shlex.split(line)[1] for line in lines}
    assert verbs == {"compare", "table", "figure", "run", "report", "probe"}
    for line in lines:
        _, verb, *arguments = shlex.split(line)
        if verb in ("compare", "table"):
            found = CliRunner().invoke(app, [verb, *arguments])
            assert found.exit_code == 0 and "1⊗" in found.stdout, line
        if verb == "figure" and "capacity_versus_loops" in line:
            found = CliRunner().invoke(app, [verb, *arguments])
            assert found.exit_code == 0 and "toy-capacity_versus_loops.png" in found.stdout


def test_what_cannot_be_written_is_said_before_anything_is(tmp_path: Path, out: Path) -> None:
    prepare_output(tmp_path / "empty")
    for arguments, message in (
        ((tmp_path / "none",), "is no folder"),
        ((tmp_path / "empty",), "has no runs yet"),
        ((out, "tyo"), "has no results of a grid 'tyo'"),
        ((out, "toy", tmp_path / "no" / "x.html"), "is no folder; make it"),
        ((out, "toy", tmp_path), "needs the name of a file"),
        ((out, "toy", out / "loopscope.json"), "ends in .html"),
        ((out, "toy", None, ("capacity-eqal",)), "did you mean"),
    ):
        with pytest.raises(LoopscopeError, match=message):
            write_report(*arguments)


def test_the_command_writes_the_page(out: Path, text: str, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    arguments = ["report", str(out), "--grid", "toy", "--file", str(target)]
    found = CliRunner().invoke(app, arguments)
    assert (found.exit_code, found.stdout) == (0, f"{target}\n")
    assert target.read_text(encoding="utf-8") == text, "the same results give the same page"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    found = CliRunner().invoke(app, ["report", str(tmp_path / "none")])
    assert isinstance(found.exception, LoopscopeError)


def test_a_shipped_grid_is_known_by_its_points(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    grid = load_grid("quick")
    points = [{"run_id": p.run_id, "part": p.part, "labels": p.labels} for p in grid.points]

    def recorded() -> Asked:
        return asked("quick", open_source(tmp_path).grids["quick"], shipped("quick"))

    record_grid(tmp_path, "quick", title=grid.title, figures=[], points=points)
    known = recorded()
    assert known.source.startswith("# Minutes on a laptop") and "baseline:" in known.source
    assert known.question.startswith("Minutes on a laptop, one seed")
    assert known.command("run", "a b") == "loopscope run quick --out 'a b'"
    assert ("capacity", "model.loops", "1 | 2 | 4") in known.axes.rows
    text = grid.source.replace("Minutes", "Hours")
    extra = {"source": text, "overrides": ["seed=3"]}
    record_grid(tmp_path, "quick", title=grid.title, figures=[], points=points, **extra)
    edited = recorded()
    assert (edited.source, edited.file, edited.overrides) == (text, "quick.yaml", ("seed=3",))
    assert edited.question.startswith("Hours on a laptop")
    record_grid(tmp_path, "quick", title=grid.title, figures=[], points=points[1:])
    other = recorded()
    assert (other.source, other.file, other.question) == ("", "quick.yaml", "")


def test_environments_are_counted(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    versions = {"python": "3.12", "torch": "2.13", "numpy": "2.4"}
    machine = {"processor": "a", "cores": 2, "device": "cpu", "platform": "x", "accelerator": None}
    for name, changed in (("a", {}), ("b", {}), ("c", {"device": "cuda:0", "accelerator": "H"})):
        folder = write_run(tmp_path, name, config("bios", 1, 0))
        environment = {"versions": versions, "machine": machine | changed, "sources": {}}
        environment["commit"] = "abc" if changed else None
        write_json(folder.path / "environment.json", environment)
    write_run(tmp_path, "d", config("bios", 2, 0))
    source = open_source(tmp_path)
    table = environment_table(source.environments("abcd"))
    assert table is not None
    place = table.columns.index("device")
    told = [(row[0], row[place], row[-1]) for row in table.rows]
    assert told == [("2", "cpu", "not known"), ("1", "H", "abc")]
    assert environment_table(source.environments("d")) is None


def test_figures_hold_their_numbers(page: Reader, out: Path) -> None:
    (csv,) = (v for _, name, v in page.attributes if name == "href" and v.startswith("data:"))
    content = base64.b64decode(csv.partition("base64,")[2]).decode()
    runs = load_runs(out, "toy")
    rows = runs.query("metric == 'bits_per_parameter' and item == 'total'")
    assert len(content.splitlines()) == 1 + len(rows) == 10
    (picture,) = (v for tag, name, v in page.attributes if (tag, name) == ("img", "src"))
    svg = base64.b64decode(picture.partition("base64,")[2]).decode()
    assert "<svg" in svg and "<text" not in svg, "letters are outlines: no font is needed"


def test_an_archive_has_the_same_page(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "runs", seeds=1)
    record = json.loads((folder / "grids" / "toy.json").read_text())
    figures = [{"kind": "capacity_versus_loops"}]
    record_grid(folder, "toy", title="A toy", figures=figures, points=record["points"])
    write_archive(folder, tmp_path / "results.zip")
    places = (folder, tmp_path / "results.zip")
    pages = [write_report(place, hypotheses=("capacity-equal",)) for place in places]
    assert pages[1] == tmp_path / "report.html"
    first, second = (Reader(path.read_text(encoding="utf-8")) for path in pages)
    assert first.tables == second.tables
    assert first.text["figcaption"] == second.text["figcaption"] and len(first.tables) > 8


def test_a_folder_with_several_grids_has_a_section_for_each(out: Path, tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "runs", seeds=1)
    record = json.loads((folder / "grids" / "toy.json").read_text())
    some = [p for p in record["points"] if p["part"] == "capacity"][:2]
    unknown = [{"kind": "capacity_versus_lops"}]
    record_grid(folder, "toy", title="A toy", figures=unknown, points=record["points"])
    record_grid(folder, "other", title="Another", figures=unknown, points=some)
    write_run(folder, "loose", config("bios", 1, 0))
    found = Reader(write_report(folder).read_text(encoding="utf-8"))
    assert found.text["h1"] == [f"Results in {folder}"]
    titles = ["Another", "A toy", "Runs outside every grid"]
    assert found.text["h2"] == [*titles, "Runs that are not done", "Computed with"]
    said = "".join(found.text["p"])
    assert said.count("was not drawn: figure 'capacity_versus_lops'") == 2
    assert said.count("Not judged") == 2, "two claims about the grid that only stores"


def test_what_was_asked_and_answered_comes_first(page: Reader, text: str) -> None:
    head = text[text.index("<h1>") : text.index("<nav")]
    assert "manipulation better: undecided in 8 of 8" in head
    assert head.index("<h1>") < head.index("manipulation better: ")
    main = text[text.index("<main>") :]
    places = [main.index(f"<h3>{name}</h3>") for name in ("Verdicts", "Tables", "Figures")]
    assert places == sorted(places)


def test_verdicts_come_before_what_has_none() -> None:
    claims = [
        Judged("a", "", {}, reason="nothing measured"),
        Judged("b", "", {"no verdict": 2}),
        Judged("c", "", {"undecided": 1, "no verdict": 1}),
    ]
    assert [claim.claim for claim in first_with_verdicts(claims)] == ["c", "a", "b"]
    first = first_with_verdicts(claims)
    assert answers(first) == [("c", "undecided", 1, 1), ("b", "no verdict", 2, 2)]


def test_results_that_come_along_are_named_as_one_types_them() -> None:
    """The page holds no path of the machine that wrote it, and no command that is refused."""
    quick = REFERENCE / "quick"
    page_text = page_of(open_source(quick), "quick", ("manipulation-better",), lambda _: None)
    assert str(REFERENCE) not in page_text
    found = Reader(page_text)
    commands = [line for line in found.text["code"] if line.startswith("loopscope")]
    assert "loopscope table reference:quick --grid quick" in commands
    own = [c for c in commands if c.startswith(("loopscope run", "loopscope probe"))]
    assert own == ["loopscope run quick.yaml --out runs/quick"]
    explored = explorer_data(read_results(quick, "quick"))
    assert explored["commands"] == {"quick": own[0]}
    assert name_of(quick) == "reference:quick" and place_of("reference:quick") == quick
    assert name_of(Path("runs/quick")) == "runs/quick"


def test_rows_without_a_verdict_stand_last() -> None:
    results = read_results(Path(__file__).parents[4] / "experiments/reference/headline", "headline")
    for claim in ("manipulation-better", "capacity-equal", "needs-fewer-steps"):
        table = judged(results, claim).table
        assert table is not None
        outcomes = [row[1] for row in table.rows]
        assert outcomes == sorted(outcomes, key=lambda outcome: outcome == "no verdict")
        assert "no verdict" in outcomes or claim == "capacity-equal"


def test_grids_stand_as_in_the_projects_tables() -> None:
    assert in_order(["zoo", "quick", "capacity", "headline", "own"]) == [
        *("headline", "capacity", "quick"),
        *("zoo", "own"),
    ]
    assert set(ORDER) <= {path.stem for path in SHIPPED.glob("*.yaml")}
