"""What notebooks use says the same as the commands, needs no network and writes nothing."""

import json
import re
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from chromium import FOUND, NAMES, chromium
from matplotlib import pyplot as plt
from PIL import Image
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.measuring.load import load_subject, load_task
from experiments.notebook import (
    WIDTH,
    compare,
    in_few_colours,
    offline_charts,
    probe_run,
    reference,
    show,
    table,
)
from experiments.results.long_table import load_runs
from generators.streams import Stream, generator
from models.looped import LoopedTransformer
from probes.accuracy import Accuracy
from probes.probe import Subject

INSIDE, QUICK = reference("inside"), reference("quick")
#: of 1⊗4, whose weights are there
LOOPED = "multihop-1x4-a46efb2465c1"
FRAME = pd.DataFrame(
    {"arm": ["1⊗4", "1⊗1", "<b>2⊗1"], "value": [0.5, 0.0625, 10.0], "n": [3, 2, 1]}
)


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(p), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file())


def test_results_that_are_not_there_are_named() -> None:
    with pytest.raises(LoopscopeError, match="no reference results 'qiuck'.*inside.*quick"):
        reference("qiuck")


def test_a_figure_is_shown_and_leaves_nothing_behind() -> None:
    before = listing(QUICK)
    image = show("accuracy_versus_loops", QUICK)
    assert image.data.startswith(b"\x89PNG") and 100 < image.width <= WIDTH
    assert listing(QUICK) == before
    with pytest.raises(LoopscopeError, match="qiuck"):
        show("qiuck", QUICK)


def test_a_verdict_is_that_of_the_command() -> None:
    out = reference("headline")
    asked = ("--claim", "manipulation-better", "--between", "1x1", "1x4", "--grid", "headline")
    said = CliRunner().invoke(app, ["compare", str(out), *asked, "--where", "part=functions"])
    found = compare(out, "manipulation-better", ("1⊗1", "1⊗4"), grid="headline", part="functions")
    assert said.exit_code == 0 and found in said.output
    assert found.startswith("manipulation-better: undecided in 2 of 2 cells"), "of three seeds"
    with pytest.raises(LoopscopeError, match="did you mean 'capacity-equal'"):
        compare(out, "capacity-equals")


def test_committed_weights_give_the_committed_accuracies() -> None:
    runs = load_runs(INSIDE, "inside")
    stored = runs[(runs["run_id"] == LOOPED) & (runs["metric"] == "accuracy")]
    stored = stored[stored["split"] == "test"]
    found = probe_run(INSIDE, LOOPED, Accuracy(loops="all", items=1024, splits=("test",)))
    assert found["difficulty"].tolist() == stored["difficulty"].tolist() == [2] * 4 + [3] * 4
    off = (found["value"].to_numpy() - stored["value"].to_numpy()) * found["n_items"].to_numpy()
    assert abs(off).max() <= 2, "of about 400 and 1024 questions, on whatever machine"
    assert found["value"].iloc[-1] > 0.99 and found["value"].iloc[0] < 0.3


def test_other_weights_do_not() -> None:
    """The control: what is measured hangs on what was loaded."""
    subject = load_subject(INSIDE, LOOPED)
    assert isinstance(subject.model, LoopedTransformer)
    torch.manual_seed(0)
    other = LoopedTransformer(subject.model.config, len(subject.task.vocabulary)).eval()
    strange = Subject(other, subject.task, subject.parameters, subject.seed, subject.device)
    probe = Accuracy(items=256, splits=("test",))
    assert max(row.value for row in probe.measure(strange)) < 0.3
    assert min(row.value for row in probe.measure(subject)) > 0.99


def test_a_run_without_weights_has_its_world_but_no_model() -> None:
    run_id = "multihop-1x1-634631fdd49b"
    task, same = load_task(INSIDE, run_id), load_task(INSIDE, LOOPED)
    documents = [t.sample(generator(1, Stream.EVALUATION), 8).tokens for t in (task, same)]
    assert (documents[0] == documents[1]).all(), "one seed, one world"
    before = listing(INSIDE)
    with pytest.raises(LoopscopeError, match="came without its weights .*shipped"):
        probe_run(INSIDE, run_id, Accuracy())
    assert listing(INSIDE) == before


def test_a_table_is_text_and_html() -> None:
    shown = table(FRAME.set_index("arm"), digits=2)
    words = ["arm", "value", "n", "1⊗4", "0.50", "3", "1⊗1", "0.06", "2", "<b>2⊗1", "10.00", "1"]
    assert repr(shown).split() == words
    markup = shown._repr_html_()
    assert re.findall(r"<t[hd]>(.*?)</t[hd]>", markup) == [
        *("arm", "value", "n", "1⊗4", "0.50", "3", "1⊗1", "0.06", "2"),
        *("&lt;b&gt;2⊗1", "10.00", "1"),
    ]
    assert "http" not in markup
    assert "–" in repr(table(FRAME.assign(value=[None, 1.0, 2.0])))


@pytest.mark.browser
@pytest.mark.skipif(FOUND is None, reason=f"needs a Chromium: none of {', '.join(NAMES)}")
def test_a_table_sorts_and_filters(tmp_path: Path) -> None:
    page = tmp_path / "table.html"
    markup = table(FRAME)._repr_html_()
    page.write_text(f"<!doctype html><meta charset=utf-8>{markup}{markup}", encoding="utf-8")
    cells = "[...document.querySelectorAll('tbody')[1].rows].filter(r => r.offsetParent !== null)"
    numbers = f"{cells}.map(r => r.cells[1].textContent)"
    head = "document.querySelectorAll('thead')[1].rows[0].cells[1].click()"
    with chromium(tmp_path / "profile") as browser:
        browser.open(page)
        assert browser.run(numbers) == ["0.500", "0.062", "10.000"]
        browser.run(head)
        assert browser.run(numbers) == ["0.062", "0.500", "10.000"], "by value, not by letters"
        browser.run(head)
        assert browser.run(numbers) == ["10.000", "0.500", "0.062"]
        browser.run("document.querySelectorAll('input')[1].focus()")
        browser.type("1⊗")
        assert browser.run(numbers) == ["0.500", "0.062"]
        browser.type("4")
        assert browser.run(numbers) == ["0.500"]
        assert browser.complaints == []


def test_charts_are_drawn_by_jupyter_or_a_picture() -> None:
    altair = pytest.importorskip("altair", reason="needs the notebooks extra")
    before = altair.renderers.active
    try:
        offline_charts()
        chart = altair.Chart(FRAME).mark_point().encode(x="n:Q", y="value:Q")
        bundle, _ = chart._repr_mimebundle_()
    finally:
        altair.renderers.enable(before)
    # JupyterLab draws Vega-Lite up to 5 by itself; anything later would come from the network
    spec = bundle["application/vnd.vegalite.v5+json"]
    assert bundle["image/png"].startswith(b"\x89PNG")
    links = re.findall(r"https?://[^\"]+", json.dumps(spec))
    assert links == [spec["$schema"]], "a name, not an address that is asked"


def test_charts_without_their_extra_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(LoopscopeError, match=r"vl_convert is missing; .*loopscope\[notebooks\]"):
        offline_charts()


def test_pictures_of_notebooks_are_small_and_look_alike() -> None:
    figure, axes = plt.subplots(dpi=150)
    axes.imshow(np.arange(64).reshape(8, 8), cmap="cividis")
    axes.plot(np.random.default_rng(0).random((9, 30)) * 8, color="red", alpha=0.5)
    whole = BytesIO()
    figure.savefig(whole)
    plt.close(figure)
    few = in_few_colours(whole.getvalue())
    assert len(few) < 0.6 * len(whole.getvalue())
    both = (BytesIO(whole.getvalue()), BytesIO(few))
    pixels = [np.asarray(Image.open(png).convert("RGB"), float) for png in both]
    assert pixels[0].shape == pixels[1].shape
    assert np.abs(pixels[0] - pixels[1]).mean() < 2, "of 255"
