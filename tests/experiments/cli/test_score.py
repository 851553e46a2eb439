"""`loopscope check` and `loopscope score` from the command line, at toy size."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from toy_suite import shrink_suite

import experiments
from experiments.cli.score import check, score
from experiments.errors import LoopscopeError
from experiments.suite import entry as suite_entry
from experiments.suite.card import Card
from experiments.suite.entry import shipped
from experiments.suite.recorded import recorded_runs
from experiments.suite.records import add_record

EXAMPLES = Path(experiments.__file__).parent / "examples"
GATED = f"{EXAMPLES / 'gated_loop.py'}:GatedLoop"


@pytest.fixture
def toy_suite(work_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_suite(tmp_path / "suite", monkeypatch)


def run_score(out: Path, **options: object) -> int:
    given = {"models": [GATED], "out": out, "size": "tiny", "axes": "composition,interchange"}
    defaults = {"workers": 1, "stack": None, "changes": ["model.loops=2"], "references": None}
    defaults["train_references"] = False
    with pytest.raises(typer.Exit) as left:
        score(**{**given, **defaults, "dry_run": False, "allow_drift": False, **options})  # type: ignore[arg-type]
    return left.value.exit_code


def test_a_model_from_elsewhere_gets_its_card_and_the_same_command_goes_on(
    toy_suite: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    made = out / "cards" / "GatedLoop"
    assert run_score(out) == 0
    told = capsys.readouterr().out
    assert "**GatedLoop (1⊗2), size tiny**" in told and str(made / "card.html") in told
    assert not (out / "cards.html").exists(), "one card is compared with none"
    card = Card.model_validate_json((made / "card.json").read_text())
    assert [c.label for c in card.columns] == ["model", "unlooped", "unlooped-long"]
    assert "`core` changes nothing" in card.missing["unlooped-deep"]
    assert card.columns[0].scores["composition"].value == 0.0
    assert "looks inside" in card.columns[0].scores["interchange"].reason
    assert card.unfinished == 0 and len(card.run_ids) == 3
    assert card.columns[0].costs["composition"].parameters > 1000

    before = {p: p.read_bytes() for p in out.rglob("result.json")}
    assert run_score(out) == 0
    assert {p: p.read_bytes() for p in out.rglob("result.json")} == before and len(before) == 3
    # one run less: it alone is trained again
    shutil.rmtree(next(iter(before)).parent)
    assert run_score(out) == 0
    assert {p: p.exists() for p in before} == dict.fromkeys(before, True)


def test_the_published_store_is_scored_by_the_probe_of_biographies(
    toy_suite: None, tmp_path: Path
) -> None:
    """Everything that reads bits finds those of bioS, during training, by loop and rounded."""
    out, axes = tmp_path / "out", ("ceiling", "speed", "rounded", "recall_by_loop")
    assert run_score(out, models=["loop"], size="gpu", axes=",".join(axes)) == 0
    card = Card.model_validate_json((out / "cards" / "loop" / "card.json").read_text())
    mine = card.columns[0].scores
    assert {name for name, found in mine.items() if found.value is None} == set(), mine
    end, early = mine["ceiling"].value, mine["speed"].value
    assert end is not None and early is not None and 0 < early < end < mine["ceiling"].ceiling
    assert list(mine["recall_by_loop"].curve) == ["1", "2"]
    assert list(mine["rounded"].curve) == ["8", "4"]


def test_references_are_trained_once_for_several_models(
    toy_suite: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained() -> dict[str, bytes]:
        return {p.parent.name: p.read_bytes() for p in out.glob("*/result.json")}

    def card(name: str) -> Card:
        return Card.model_validate_json((out / "cards" / name / "card.json").read_text())

    out = tmp_path / "out"
    some = {"axes": "in_context", "changes": []}
    assert run_score(out, models=["loop", "random_loops"], **some) == 0
    first = trained()
    assert len(first) == 5, "two models and three references of both"
    assert set(card("loop").run_ids) | set(card("random_loops").run_ids) == set(first)
    assert run_score(out, models=["ouro"], references="loop", **some) == 0
    later = trained()
    assert len(later) == 6 and {name: later[name] for name in first} == first
    mine, theirs = card("ouro"), card("loop")
    assert (mine.references, theirs.references) == ("loop", "")
    assert [c.scores for c in mine.columns[1:]] == [c.scores for c in theirs.columns[1:]]
    assert mine.columns[1].about == "of Plain loop: its parameters, one loop"
    assert capsys.readouterr().out.count(str(out / "cards.html")) == 2
    page = (out / "cards.html").read_text()
    assert all(f"<strong>{name}</strong>" in page for name in ("loop", "ouro", "random_loops"))
    # the control: with references of its own, which have no injection, three more are trained
    assert run_score(out, models=["ouro"], **some) == 0
    assert len(trained()) == 9 and card("ouro").references == ""


def test_references_that_a_record_has_are_read_from_it(
    toy_suite: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    records, first, second = (tmp_path / name for name in ("records", "first", "second"))
    for name in ("loop", "ouro"):
        (records / name).mkdir(parents=True)
        shutil.copyfile(shipped()[name], records / name / "model.yaml")
    monkeypatch.setattr(suite_entry, "RECORDS", records)
    some = {"axes": "in_context", "changes": []}
    assert run_score(first, models=["loop"], **some) == 0
    add_record("loop", first, records)
    capsys.readouterr()

    def trained() -> list[str]:
        return [p.parent.name for p in second.glob("*/result.json")]

    def card(out: Path, name: str) -> Card:
        return Card.model_validate_json((out / "cards" / name / "card.json").read_text())

    theirs = card(first, "loop")
    other = {"models": ["ouro"], "references": "loop"}
    assert run_score(second, **other, **some) == 0
    assert len(trained()) == 1, "the model alone"
    told = capsys.readouterr()
    assert "ouro: 3 runs of references are read from the record; --train-references" in told.err
    assert "3 runs of references are those of record loop." in told.out
    mine = card(second, "ouro")
    assert mine.recorded == 3 and mine.unfinished == 0
    assert mine.columns[1:] and [c.scores for c in mine.columns[1:]] == [
        c.scores for c in theirs.columns[1:]
    ]
    assert [c.costs for c in mine.columns[1:]] == [c.costs for c in theirs.columns[1:]]
    page = (second / "cards" / "ouro" / "card.html").read_text()
    assert "3 runs of references are those of record loop, trained elsewhere" in page
    assert add_record("ouro", second, records) == records / "ouro" / "tiny"

    # asked for they are trained here, and from then on read from here
    assert run_score(second, train_references=True, **other, **some) == 0
    assert len(trained()) == 4 and card(second, "ouro").recorded == 0
    shutil.rmtree(second / "cards")
    assert run_score(second, **other, **some) == 0
    assert len(trained()) == 4 and card(second, "ouro").recorded == 0
    # the control: references that the record has not, of another size or model, are trained
    assert recorded_runs("loop", "small") is None and recorded_runs("mine", "tiny") is None
    third = tmp_path / "third"
    assert run_score(third, models=["ouro"], references="ouro", **some) == 0
    assert len(list(third.glob("*/result.json"))) == 4


def test_a_dry_run_writes_the_grid_alone(
    toy_suite: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    score([GATED], Path("out"), "tiny", None, None, False, None, None, [], True, False)
    files = [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert sorted(files) == ["model.yaml", "score.yaml"]
    path = Path("out/cards/GatedLoop/score.yaml")
    assert capsys.readouterr().out.splitlines() == [
        str(path), f"`loopscope plan {path} --out out` tells times"
    ]  # fmt: skip


def test_a_model_that_cannot_be_trained_is_refused_before_anything_is(
    toy_suite: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gate that is asked for, and widths and lengths of the suite that no width of a check is."""
    text = (EXAMPLES / "gated_loop.py").read_text()
    (tmp_path / "mine.py").write_text(
        text.replace("gate=nn.Linear(self.width, 1) if gate else None", "gate=None")
    )
    entry = tmp_path / "gated.yaml"
    entry.write_text("model: {kind: mine.py:GatedLoop}\nobjective: {kind: entropy}\n")
    out = tmp_path / "out"
    wanted = "gated cannot be scored:\n  gate: its objective reads an exit gate"
    with pytest.raises(LoopscopeError, match=wanted):
        score([str(entry)], out, "tiny", None, None)
    with pytest.raises(typer.Exit):
        check(str(entry), 16, [])
    assert "WRONG gate: its objective reads an exit gate" in capsys.readouterr().out
    short = text.replace("nn.Embedding(512, width)", "nn.Embedding(3, width)")
    (tmp_path / "short.py").write_text(short)
    with pytest.raises(LoopscopeError, match=r"runs: IndexError: .*short.py:\d+\)"):
        score([f"{tmp_path / 'short.py'}:GatedLoop"], out, "tiny", None, None)
    assert not out.exists()


def test_what_failed_is_tried_again_where_that_is_asked_for(
    toy_suite: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def run_grid(grid: object, out: Path, **options: object) -> SimpleNamespace:
        asked.append(bool(options["retry_failed"]))
        return SimpleNamespace(exit_status=0, interrupted=True)

    monkeypatch.setattr("experiments.execution.runner.run_grid", run_grid)
    monkeypatch.setattr("experiments.cli.score._write_card", lambda *_: 1)
    run_score(tmp_path / "out")
    run_score(tmp_path / "out", retry_failed=True)
    assert asked == [False, True]


def test_bad_arguments_are_told(tmp_path: Path) -> None:
    with pytest.raises(LoopscopeError, match="--workers needs 1 or more, got 0"):
        score([GATED], tmp_path, "tiny", None, None, False, 0, None, [], False, False)
    with pytest.raises(LoopscopeError, match="two models are called GatedLoop"):
        score(
            [GATED, "loop", GATED], tmp_path, "tiny", None, None, False, 1, None, [], False, False
        )
    with pytest.raises(LoopscopeError, match="no file and no record 'lop'.*did you mean 'loop'"):
        score([GATED], tmp_path, "tiny", None, "lop", False, 1, None, [], False, False)
    with pytest.raises(LoopscopeError, match="name its class as well, gated_loop.py:MyModel"):
        score(["gated_loop.py"], tmp_path, "tiny", None, None)
    with pytest.raises(LoopscopeError, match="there is no axis ''"):
        score([GATED], tmp_path, "tiny", "", None, False, None, None, [], False, False)
    assert list(tmp_path.iterdir()) == []


def test_check_says_what_is_wrong_and_exits_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(GATED, 16, [])
    assert "ok    causality: no gradient comes from a later position" in capsys.readouterr().out
    text = (EXAMPLES / "gated_loop.py").read_text()
    assert "is_causal=True" in text
    bad = tmp_path / "bad.py"
    bad.write_text(text.replace("is_causal=True", "is_causal=False"))
    with pytest.raises(typer.Exit) as left:
        check(f"{bad}:GatedLoop", 16, [])
    told = capsys.readouterr()
    assert left.value.exit_code == 1 and "WRONG causality: what is said at position" in told.out
    assert "models/contract.py" in told.err
