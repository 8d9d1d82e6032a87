"""Reports of a synthetic run whose effects, failures and hostile text are known."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.support.synthetic_run import DEPTH, HOSTILE, measured, records, times, write_run
from vlm.evaluation.accuracy import score_accuracy
from vlm.measure.damage_record import Damage
from vlm.record_log import line
from vlm.reports import (
    condition_cells,
    failures,
    html,
    latex,
    markdown,
    plot_cost,
    plot_prediction,
    prediction,
    results,
    summary,
    timing,
    write,
)
from vlm.reports import times as timed
from vlm.reports.accuracy_table import doubts, plan_kind
from vlm.reports.answer_columns import AnswerColumns
from vlm.reports.plots import require_matplotlib
from vlm.reports.reading_plots import plot_consequences
from vlm.table import Table


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return *write_run(folder), folder


@pytest.fixture(scope="module")
def report(run):
    directory, measurement, folder = run
    return {path.name: path for path in write(directory, folder / "out", measurement=measurement)}


def one(table, **where):
    (row,) = table.where(**where).rows()
    return row


# Numbers


def test_accuracy_and_change_are_those_of_the_records():
    run_records = records()
    row = one(summary(run_records), dataset="gqa", plan="vision:0-8")
    mine = {r["item"]: r["score"] for r in run_records if r["dataset"] == "gqa" and r["plan"] == "vision:0-8"}
    full = {r["item"]: r["score"] for r in run_records if r["dataset"] == "gqa" and r["plan"] == "none"}
    assert row["accuracy"] == pytest.approx(np.mean(list(mine.values())))
    assert row["change"] == pytest.approx(np.mean([mine[k] - full[k] for k in mine]))
    assert row["change_low"] <= row["change"] <= row["change_high"]
    assert (row["items"], row["images"], row["kind"], row["layer"]) == (180, 60, "late entry", 8)
    assert one(summary(run_records), dataset="gqa", plan="none")["change_low"] == 0.0
    assert row["operations_ratio"] == pytest.approx((10 * 32 + 90 * 24) / 3200)


def test_failed_unjudged_and_unparsed_are_counted_apart():
    table = summary(records())
    failed = one(table, dataset="gqa", plan="vision:0-4")
    assert (failed["failed"], failed["scored"], failed["unparsed"]) == (3, 177, 0)
    unparsed = one(table, dataset="textvqa", plan="vision:20-")
    assert (unparsed["unparsed"], unparsed["scored"], unparsed["failed"]) == (5, 60, 0)
    unjudged = one(table, dataset="own & odd_set", plan="vision:20-")
    assert (unjudged["unjudged"], unjudged["scored"]) == (2, 118)
    counts = {(r["kind"], r["dataset"]): r["items"] for r in failures(records()).rows()}
    assert counts == {("failed", "gqa"): 3, ("unjudged", "own & odd_set"): 2}


def test_a_failed_item_is_not_a_wrong_one():
    """The change compares the items that both plans answered."""
    run_records = [r for r in records() if r["dataset"] == "gqa" and r["plan"] in ("none", "vision:0-4")]
    for r in run_records:
        if r["failure"] is None:
            r["score"] = 0.0 if r["image_id"] == "image 0" else 1.0
    row = one(summary(run_records), plan="vision:0-4")
    assert row["accuracy"] == 1.0
    assert row["change"] == 0.0


def test_intervals_count_images():
    """Ten questions about each of 30 images are not 300 independent ones."""
    base = next(r for r in records() if r["dataset"] == "textvqa" and r["plan"] == "none")
    asked = [
        {**base, "item": f"{i}-{q}", "image_id": f"{i if grouped else (i, q)}", "score": float(i % 2), "dataset": name}
        for grouped, name in ((True, "grouped"), (False, "apart"))
        for i in range(30)
        for q in range(10)
    ]
    table = summary(asked)
    wide, narrow = (one(table, dataset=name) for name in ("grouped", "apart"))
    assert (wide["images"], narrow["images"]) == (30, 300)
    assert wide["accuracy_high"] - wide["accuracy_low"] > 2 * (narrow["accuracy_high"] - narrow["accuracy_low"])


def test_the_interval_of_every_question_covers_its_truth():
    """Images with one to six dependent questions, the many being harder: 0.95 promised, 120 draws."""
    covered = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        sizes = np.append(rng.integers(1, 7, size=39), 6)
        images = np.repeat(np.arange(40), sizes)
        right = (rng.random(40) < 1 - sizes / 10)[images]
        found = score_accuracy(right, images, weighting="question", max_rows=6)
        # E[sum over an image] / E[questions of an image], sizes uniform on 1..6
        truth = np.mean([k * (1 - k / 10) for k in range(1, 7)]) / 3.5
        covered += found.low <= truth <= found.high
    assert covered >= 110


def test_every_question_counts_the_same_as_benchmarks_do():
    right, images = [1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]
    assert score_accuracy(right, images).value == 0.5
    found = score_accuracy(right, images, weighting="question", max_rows=3)
    assert found.value == 0.75
    assert found.low <= 0.75 <= found.high
    assert found.images == 2


def test_row_5_items_count_the_same_only_where_an_image_has_a_known_number_of_them():
    kept = [r for r in records() if r["dataset"] == "gqa"]
    first = kept[0]["image_id"]
    several = [r for r in kept if r["image_id"] != first or r["item"] == kept[0]["item"]]  # one item for one image
    scores: dict[str, list[float]] = {}
    for r in several:
        if r["plan"] == "vision:0-8" and r["score"] is not None:
            scores.setdefault(r["image_id"], []).append(r["score"])
    by_image = np.mean([np.mean(values) for values in scores.values()])
    by_item = np.mean(np.concatenate(list(scores.values())))
    assert one(summary(several), plan="vision:0-8")["accuracy"] == pytest.approx(by_image)
    assert one(summary(several, max_rows={"gqa": 5}), plan="vision:0-8")["accuracy"] == pytest.approx(by_item)
    with pytest.raises(ValueError, match="max_rows must hold"):
        summary(several, max_rows={"gqa": 2})


def test_a_task_group_is_the_mean_of_its_sets_and_its_interval_combines_theirs():
    run_records = [{**r, "group": "both"} for r in records() if r["dataset"] != "own & odd_set"]
    by_set, by_group = summary(run_records, confidence=0.9), summary(run_records, confidence=0.8, by="group")
    rows, group = list(by_set.where(plan="vision:0-8").rows()), one(by_group, plan="vision:0-8")
    for name in ("accuracy", "accuracy_low", "change_high", "operations_ratio"):
        assert group[name] == pytest.approx(np.mean([row[name] for row in rows]))
    assert (group["dataset"], group["items"], group["unparsed"]) == ("all", 240, 5)


def test_times_are_per_item_and_paired():
    run_records = records()
    row = one(timed(run_records, times(run_records)), dataset="gqa", plan="vision:0-8")
    assert (row["prefill_seconds"], row["prefill_ratio"], row["decode_ratio"]) == (0.5, 0.5, 1.0)
    assert row["decode_seconds"] == pytest.approx(0.2)
    assert one(timed(run_records, times(run_records)), dataset="gqa", plan="vision:0-4")["items"] == 177
    assert len(timing(timed(run_records, []))) == 0


def test_plan_kinds():
    kinds = {
        "none": ("none", -1),
        "vision:0-4": ("late entry", 4),
        "vision:24-": ("early exit", 24),
        "vision:4-8": ("other", -1),
        "vision:0-4+24-": ("other", -1),
        "vision:0-4/text:1-2": ("other", -1),
    }
    assert {text: plan_kind(text) for text in kinds} == kinds


def test_cells_read_the_layers_of_the_plan():
    cells = condition_cells(summary(records()), *measured())
    late = one(cells, dataset="gqa", plan="vision:0-8")
    assert (late["closeness"], late["attention_answer"], late["within"]) == (0.4, 0.3, 0.4)
    assert late["attention"] == pytest.approx(0.35)  # the largest of all text tokens
    assert late["reading"] == "all text tokens, largest head"
    assert late["distance_from_entry"] == pytest.approx(0.02 * 8)
    early = one(cells, dataset="gqa", plan="vision:20-")
    assert np.isnan(early["closeness"])  # nothing comes back, so nothing must stay close
    assert (early["attention_answer"], early["distance"]) == (0.04, 0.07)
    assert "none" not in set(cells["plan"])
    unmeasured = condition_cells(summary(records()), *(t.where(dataset="gqa") for t in measured()))
    assert np.isnan(one(unmeasured, dataset="textvqa", plan="vision:0-4")["attention"])
    with pytest.raises(ValueError, match=r"measured threshold \(within_0.05\)"):
        condition_cells(summary(records()), *measured(), t=0.3)


def test_a_measurement_of_the_answer_token_alone_is_named_and_never_read_as_all_tokens(run):
    near, seen = measured()
    old = Table({name: values for name, values in seen.columns.items() if name != "largest"})
    with pytest.raises(ValueError, match="got one of the answer token alone; measure again"):
        condition_cells(summary(records()), near, old)
    cells = condition_cells(summary(records()), near, old, tokens="answer")
    assert set(cells["reading"]) == {"answer token, mean over heads"}
    assert cells["attention"].tolist() == pytest.approx(cells["attention_answer"].tolist(), nan_ok=True)
    directory, measurement, folder = run
    earlier = folder / "earlier"
    shutil.copytree(measurement, earlier)
    old.save(earlier / "attention.csv")
    pages = {path.name: path for path in write(directory, folder / "out_earlier", measurement=earlier)}
    assert "answer token, mean over heads" in pages["index.html"].read_text()


def test_the_report_says_whose_attention_was_judged_and_what_each_criterion_licensed(report):
    page = report["index.html"].read_text()
    assert "all text tokens, largest head" in page
    assert "conditions (answer token, mean over heads)" in page
    assert {"criterion", "licensed", "degraded", "worst"} <= set(Table.load(report["licences.csv"]).columns)


def test_a_predicted_damage_is_ranked_and_calibrated():
    shifts = np.zeros((1, 1, DEPTH, 2))
    shifts[0, 0, :, 1] = np.linspace(1.0, 0.1, DEPTH)  # early layers matter more
    damage = Damage("surrogate", ("remove",), shifts, np.array([[0.0, -1.0]]), np.ones(1))
    cells = condition_cells(summary(records()), *measured(), damage=damage)
    row = one(cells, dataset="gqa", plan="vision:0-8")
    assert row["damage"] == damage.of("vision:0-8")
    found = prediction(cells, tolerance=0.1, resamples=20)
    assert "predicted damage" in set(found.ranking["predictor"])
    assert found.calibration["cells"].sum() == len(found.cells)
    assert (np.diff(found.calibration["damage"].astype(float)) >= 0).all()
    for group in found.calibration.rows():
        assert group["change_low"] <= group["change"] <= group["change_high"]


def test_the_conditions_are_compared_with_what_happened():
    found = prediction(condition_cells(summary(records()), *measured()), tolerance=0.1, resamples=50)
    broken = one(found.cells, dataset="textvqa", plan="vision:0-8")
    assert broken["degraded"]
    assert not broken["met"]
    assert one(found.cells, dataset="gqa", plan="vision:0-4")["met"]
    # The farther state 0 is from the state that it replaces, the larger the loss: only late entries have one.
    (far,) = found.ranking.where(predictor="distance from entry", statistic="Kendall").rows()
    assert far["value"] > 0
    assert far["cells"] == 6


# The same for the same


def test_tables_do_not_depend_on_the_order_of_records():
    rng = np.random.default_rng(5)
    run_records = [
        {**r, "score": None if r["score"] is None else float(rng.choice([0.1, 0.3, 0.6, 0.9]))} for r in records()
    ]
    shuffled = [run_records[i] for i in np.random.default_rng(0).permutation(len(run_records))]
    for by in ("dataset", "group"):
        assert summary(run_records, by=by).text(17) == summary(shuffled, by=by).text(17)
    assert markdown(results(summary(run_records))) == markdown(results(summary(shuffled)))
    assert failures(run_records).text() == failures(shuffled).text()


def test_records_are_read_once_and_give_the_same_tables():
    run_records = records()
    columns = AnswerColumns.of(iter(run_records))
    assert summary(columns).text() == summary(run_records).text() == summary(iter(run_records)).text()
    assert failures(columns).text() == failures(run_records).text()
    assert columns.versions == ['{"torch": "2"}']


def test_row_13_accuracy_stands_beside_what_was_asked_and_the_worst_case():
    run_records = [r for r in records() if r["dataset"] == "gqa" and r["plan"] == "none"]
    for r in run_records[:9]:
        r.update(score=None, judge={"status": "failed", "reason": "status 402"})
    (row,) = summary(run_records).rows()
    known = [r["score"] for r in run_records[9:]]
    assert (row["items"], row["scored"], row["unjudged"]) == (180, 171, 9)
    assert row["accuracy_if_wrong"] == pytest.approx(sum(known) / 180)
    assert row["accuracy_if_right"] == pytest.approx((sum(known) + 9) / 180)
    (shown,) = results(summary(run_records)).rows()
    assert shown["scored/asked"] == "171/180"
    assert shown["if the others were wrong or right"].startswith("[0.")
    (doubt,) = doubts(summary(run_records))
    assert doubt.startswith("gqa under none: 171 of 180 items are scored")


def test_row_5_labels_without_probability_are_shown_and_doubted():
    run_records = [r for r in records() if r["dataset"] == "gqa" and r["plan"] == "none"]
    for place, r in enumerate(run_records):
        r["letter_probabilities"] = [6e-6, 3e-6] if place < 60 else [0.9, 0.1]
        r["thought"] = "endless" if place < 7 else "none"
    table = summary(run_records)
    (row,) = table.rows()
    assert row["label_mass"] == pytest.approx((60 * 9e-6 + 120) / 180)
    assert (row["off_label"], row["endless"]) == (60, 7)
    found = " ".join(doubts(table))
    assert "in 60 of 180 answers from one pass the labels have less than half of the probability" in found
    assert "7 of 180 answers are thoughts that never end" in found
    (shown,) = results(table).rows()
    assert shown["label mass"] == "0.667"


def test_files_are_the_same_bytes_twice(run, report, tmp_path):
    directory, measurement, _ = run
    again = write(directory, tmp_path, measurement=measurement)
    assert [path.name for path in again] == list(report)
    for path in again:
        assert path.read_bytes() == report[path.name].read_bytes(), path.name


# What came from data


class Reader(HTMLParser):
    """Tags and attributes as a browser sees them."""

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.names, self.targets = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "action", "srcset")]
        self.names += [value for name, value in attrs if name == "id"]
        self.targets += [value for name, value in attrs if name in ("href", "aria-labelledby")]
        assert not any(name.startswith("on") for name, _ in attrs), attrs


ALLOWED = "html head meta title style script body h1 h2 p ul li div table caption thead tbody tr th td figure img "
ALLOWED += "figcaption nav main section footer dl dt dd a pre code button details summary span"


def test_the_page_is_self_contained_and_escaped(report):
    page = report["index.html"].read_text()
    reader = Reader()
    reader.feed(page)
    assert not [tag for tag in reader.tags if tag not in ALLOWED.split()]
    assert reader.tags.count("script") == 1
    assert all(link.startswith("data:image/png;base64,") for link in reader.links)
    assert len(reader.links) == sum(name.endswith(".png") for name in report)
    assert "url(" not in page
    assert "@import" not in page
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; 50% of" in page
    assert "<img src=x" not in page
    # The one script that the page allows is its own, by its digest.
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page


def test_the_page_can_be_found_through(report):
    """Contents lead to every section, every table has a caption and headings of rows, and says when it was made."""
    page = report["index.html"].read_text()
    reader = Reader()
    reader.feed(page)
    assert len(set(reader.names)) == len(reader.names)
    assert {target.removeprefix("#") for target in reader.targets} == set(reader.names)
    assert reader.tags.count("table") == reader.tags.count("caption") == reader.tags.count("thead") > 5
    assert page.count('tabindex="0"') >= reader.tags.count("table")
    for place in ("main", "nav", "footer"):
        assert reader.tags.count(place) == 1
    for fact in ("Last answer", "Command", "Device"):
        assert f"<dt>{fact}</dt>" in page
    # The result and the line to copy come before everything else.
    places = [page.index(part) for part in ("No plan&#39;s loss", "python -m vlm compare", "<nav", "<table")]
    assert places == sorted(places)


def test_failures_are_grouped_by_their_reason(report):
    page = report["index.html"].read_text()
    section = page[page.index(">What was not scored</h2>") :]
    assert section.count("<tr>") >= 3
    assert '<td>3</td><td class="text">gqa</td>' in section


def test_latex_prints_text_literally():
    table = Table({"a_b": np.array([HOSTILE, "[x]", "*", "é≤0.05–Ω\x07"]), "n": np.array([1.0, np.nan, 2.5, 3.0])})
    text = latex(table, caption="50% & more", label="tab:x")
    (row,) = [line for line in text.splitlines() if "onerror" in line]
    cell = row.removesuffix(r" & 1.000 \\")
    assert cell != row
    # What remains when every escape is taken away holds nothing that LaTeX would read.
    assert not re.search(r'[\\{}&%$#_^~<>|"`]', re.sub(r"\\text[a-z]+\{\}|\\[&%$#_{}]", "", cell))
    assert r"\textbackslash{}input\{/etc/passwd\}" in text
    assert "\n{}[x] & -- " in text
    assert r"é$\leq$0.05--??" in text
    assert r"\caption{50\% \& more}" in text
    assert r"a\_b & n \\" in text


def test_markdown_keeps_its_columns():
    table = Table({"text": np.array([HOSTILE, "two\nlines"]), "n": np.array([0.12345, np.nan])})
    lines = markdown(table).splitlines()
    assert len(lines) == 4
    for text in lines:
        assert len(re.split(r"(?<!\\)\|", text)) == 4, text
    assert "\\<img" in lines[2]
    assert lines[2].endswith("| 0.123 |")
    assert lines[3] == "| two lines | – |"
    assert lines[1] == "| --- | --: |"


def test_html_cells_are_escaped():
    text = html(Table({"<b>": np.array(["<script>x</script>"])}))
    assert "<script>" not in text
    assert "&lt;b&gt;" in text
    assert "<caption><div>&lt;i&gt;</div></caption>" in html(Table({"a": np.array([1])}), caption="<i>")


def test_html_joins_intervals_and_names_constant_columns():
    rows = [
        {"plan": p, "model": "m<", "x": x, "x_low": x - 1, "x_high": x + 1, "y": np.nan}
        for p, x in (("a", 1.0), ("b", 2.0))
    ]
    text = html(Table.from_rows(rows), 1)
    assert "1.0 [0.0, 2.0]" in text
    assert "In every row: model m&lt;." in text
    assert text.count('<th scope="col"') == 2
    assert text.count('<th scope="row" class="text">') == 2
    grouped = html(Table.from_rows(rows), 1, by="plan")
    assert grouped.count('scope="rowgroup"') == 2


def test_csv_reads_back(report):
    rows = list(csv.DictReader(io.StringIO(report["results.csv"].read_text())))
    assert len(rows) == 15
    assert rows[0]["dataset"] == "gqa"
    assert HOSTILE in rows[0]["model"]
    assert Table.load(report["rates.csv"])["of"].sum() == 24


# Files


def test_what_is_written(run, report):
    tables = {"results", "groups", "times", "failures", "conditions", "verdicts", "confusion", "rates", "ranking"}
    assert {f"{name}.csv" for name in tables} <= set(report)
    for name in ("results", "groups", "times"):
        assert {f"{name}.md", f"{name}.tex"} <= set(report)
    assert {"redundancy.png", "attention.png", "accuracy_1.png", "cost_3.png", "prediction_closeness.png"} <= set(
        report
    )
    assert not list((run[2] / "out").glob("*.part"))
    assert "seconds" not in report["results.csv"].read_text()
    assert "3 data sets" in report["index.html"].read_text()


def test_cells_of_several_reports_are_judged_together(report):
    """As docs/how-to/reproduce-the-paper.md does it: the cells are read back from the files."""
    first = list(Table.load(report["conditions.csv"]).rows())
    rows = first + [{**row, "model": "another", "dataset": f"{row['dataset']} too"} for row in first]
    found = prediction(Table.from_rows(rows), tolerance=0.1, resamples=50)
    assert len(found.cells) == 2 * len(Table.load(report["verdicts.csv"]))
    assert "over 6 units" in found.assumptions[1]
    assert "2 models" in found.assumptions[1]


def test_the_page_states_the_basis_of_its_numbers(run, report, tmp_path):
    text = report["index.html"].read_text()
    assert "no image in the population has more questions than the largest number in this sample" in text
    assert "within 0.05 in every bypassed layer" in text
    assert "a part of their batch" not in text
    other = shutil.copytree(run[0], tmp_path / "run")
    path = other / "merged" / "times.jsonl"
    path.write_text(path.read_text().replace('"attempt":1', '"attempt":2', 7))
    write(other, tmp_path / "out")
    assert "7 records were answered in a part of their batch" in (tmp_path / "out" / "index.html").read_text()


def test_a_measurement_of_other_weights_is_refused(run, tmp_path):
    folders = [shutil.copytree(folder, tmp_path / folder.name) for folder in run[:2]]
    content = json.loads((run[0] / "spec.json").read_text())
    for folder, model in zip(folders, ("digest 1", "digest 2"), strict=True):
        (folder / "spec.json").write_text(json.dumps({**content, "versions": {"model": model}}))
    with pytest.raises(ValueError, match="other weights than"):
        write(folders[0], tmp_path / "out", measurement=folders[1])
    assert not (tmp_path / "out").exists()


def test_the_threshold_is_a_measured_one(run, tmp_path):
    directory, measurement, _ = run
    other = shutil.copytree(directory, tmp_path / "run")
    content = json.loads((other / "spec.json").read_text())
    content["content"]["thresholds"] = [0.2, 0.3]
    (other / "spec.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"measured threshold \(within_0.05\), got 0.2"):
        write(other, tmp_path / "out", measurement=measurement)
    near = Table.load(measurement / "redundancy.csv")
    renamed = {name.replace("0.05", "0.2"): values for name, values in near.columns.items()}
    Table(renamed).save(tmp_path / "measure" / "redundancy.csv")
    shutil.copyfile(measurement / "attention.csv", tmp_path / "measure" / "attention.csv")
    write(other, tmp_path / "out", measurement=tmp_path / "measure")
    assert "P(d ≤ 0.2)" in (tmp_path / "out" / "results.md").read_text()
    assert "within 0.2 in every" in (tmp_path / "out" / "index.html").read_text()
    write(directory, tmp_path / "asked", measurement=tmp_path / "measure", t=0.2)
    assert (tmp_path / "asked" / "results.csv").read_text() == (tmp_path / "out" / "results.csv").read_text()


def test_without_a_measurement_conditions_are_not_judged(run, tmp_path):
    written = {path.name: path for path in write(run[0], tmp_path)}
    assert "conditions.csv" not in written
    assert "redundancy.png" not in written
    assert "the conditions cannot be judged" in written["index.html"].read_text()
    assert re.search(r"\| gqa \| vision:0-4 \|.* – \| – \| – \| – \| 0 \|", written["results.md"].read_text())


def test_without_matplotlib_there_are_tables_and_a_page(run, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    written = {path.name: path for path in write(run[0], tmp_path, measurement=run[1], tolerance=0.6)}
    assert not [name for name in written if name.endswith(".png")]
    page = written["index.html"].read_text()
    assert "pip install &#39;skipit[plot]&#39;" in page
    # With so wide a tolerance there is a result: the plan comes first, with the line to copy.
    places = [page.index(part) for part in ("Use vision:", "with vlm.skipping(model, &#39;vision:", "<nav", "<table")]
    assert places == sorted(places)


def test_records_without_operations_leave_the_column_blank():
    run_records = [{**r, "operations": None} for r in records() if r["dataset"] == "textvqa"]
    assert np.isnan(summary(run_records)["operations_ratio"]).all()
    assert set(results(summary(run_records))["operations saved"]) == {"–"}


def test_a_plan_under_which_everything_failed_is_shown_as_such(tmp_path):
    gone = {"score": None, "parsed": None, "failure": "too large", "tokens": None, "operations": None, "image_id": None}
    run_records = [{**r, **gone} if r["plan"] == "vision:0-8" else r for r in records() if r["dataset"] == "textvqa"]
    row = one(summary(run_records), plan="vision:0-8")
    assert np.isnan([row["accuracy"], row["accuracy_high"], row["change"], row["operations_ratio"]]).all()
    assert (row["failed"], row["scored"]) == (60, 0)
    run, measurement = write_run(tmp_path)
    (run / "merged" / "records.jsonl").write_text("".join(line(r) for r in run_records))
    written = {path.name: path for path in write(run, tmp_path / "out", measurement=measurement)}
    assert (
        r"| textvqa | vision:0-8 | – | – | – | 0/60 | \[0.000, 1.000\] | 0.070 | 0.400 | 0.350 | – | 0 | 0 | 60 | 0 |"
        in written["results.md"].read_text()
    )
    assert "too large" in written["index.html"].read_text()


def test_the_unskipped_model_alone(tmp_path):
    run, measurement = write_run(tmp_path)
    (run / "merged" / "records.jsonl").write_text("".join(line(r) for r in records() if r["plan"] == "none"))
    written = {path.name: path for path in write(run, tmp_path / "out", measurement=measurement)}
    assert "accuracy_1.png" not in written
    assert "0 skip plans on 360 items" in written["index.html"].read_text()


def test_bad_input(run, tmp_path):
    run_records = records(images=2)
    with pytest.raises(ValueError, match="got none"):
        summary([])
    with pytest.raises(ValueError, match=r"record 0 lacks image_id"):
        summary([{k: v for k, v in run_records[0].items() if k != "image_id"}])
    with pytest.raises(ValueError, match="two records"):
        summary([*run_records, run_records[0]])
    with pytest.raises(ValueError, match="score in"):
        summary([{**run_records[0], "score": 2.0}])
    with pytest.raises(ValueError, match="by:"):
        summary(run_records, by="model")
    with pytest.raises(FileNotFoundError, match="vlm measure"):
        write(run[0], tmp_path, measurement=tmp_path)
    (tmp_path / "spec.json").write_text((run[0] / "spec.json").read_text())
    with pytest.raises(FileNotFoundError, match="vlm merge"):
        write(tmp_path, tmp_path / "out")


def test_figures_take_an_ax():
    plt = require_matplotlib()
    figure, axes = plt.subplots(1, 2)
    table = summary(records(), by="group").where(group="General VQA")
    plot_cost(axes[0], table)
    assert len(axes[0].get_lines()) == 3  # two kinds and the line of no skip
    cells = condition_cells(summary(records()), *measured())
    renamed = {"gqa": "_a$x", "textvqa": r"$\frac{$", "own & odd_set": "c"}
    names = np.array([renamed[name] for name in cells["dataset"]])
    found = prediction(Table({**cells.columns, "dataset": names}), resamples=20)
    plot_prediction(axes[1], found, by="dataset")
    figure.canvas.draw()  # hostile labels would fail here
    assert len(axes[1].get_legend().get_texts()) == 5
    plt.close(figure)


def test_json_of_the_run_is_not_changed(run):
    """A report reads; it writes only into the given folder."""
    assert json.loads((run[0] / "spec.json").read_text())["versions"] == {"torch": "2"}
    assert {path.name for path in run[0].iterdir()} == {"spec.json", "merged"}


def test_figures_take_options_by_name_and_refuse_what_is_not_there():
    ax = require_matplotlib().figure().subplots()
    table = Table.from_rows([{"kind": "freeze", "layer": 0, "error": 0.1, "predicted": 0.2}])
    with pytest.raises(ValueError, match="kind: expected one of freeze, got 'remove'"):
        plot_consequences(ax, table, kind="remove")
    with pytest.raises(TypeError, match="positional"):
        plot_consequences(ax, table, "freeze")
    require_matplotlib().close(ax.figure)


def test_a_prediction_shows_itself_in_one_line():
    result = prediction(condition_cells(summary(records()), *measured()), resamples=20)
    assert repr(result).startswith("Prediction(cells=Table")
    assert result.to_dict()["settings"]["tolerance"] == 0.02
    assert "tolerance=0.02" in repr(result.settings)
