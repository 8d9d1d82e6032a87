"""`vlm.profile` on the embedded model and on recorded states: agreement with the plain estimators, gaps, refusals."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

import redundancy as rd
import vlm
from tests.support.toy_transformer import ToyTransformer
from vlm.__main__ import main
from vlm.item import Item
from vlm.notions.choices import Choices, choices, layer_pairs
from vlm.notions.measured_profile import Prompts
from vlm.notions.measures import NOTIONS
from vlm.notions.profile_page import profile_section, write_profile
from vlm.notions.profile_result import value_in_words
from vlm.notions.readable_tables import gap_bounds, summary, verdicts
from vlm.notions.targets import OTHER, by_item, row_target
from vlm.notions.view_profile import fitting_rows

QUICK = ("geometric", "proximal", "functional", "next state", "informational", "usable information", "pid")


@pytest.fixture(scope="module")
def tiny():
    return vlm.load("tiny")


@pytest.fixture(scope="module")
def items():
    return list(vlm.datasets.read("tiny", limit=150))


@pytest.fixture(scope="module")
def measured(tiny, items):
    """A profile of three states, with the states that a plain recording gives."""
    model, processor = tiny
    options = {"views": ("last", "vision-mean"), "layers": (2, 5, 10), "batch_size": 50}
    found = vlm.profile(
        model,
        processor,
        items,
        notions=QUICK,
        predictors="ridge",
        codes=6,
        replicates=4,
        tokens=False,
        progress=False,
        **options,
    )
    with vlm.states(model, views=options["views"], layers=options["layers"]) as states:
        Prompts(model, processor, states, batch_size=50, progress=False).over(items)
    return found, states


def test_each_number_agrees_with_the_plain_estimators_on_recorded_states(measured):
    profile, states = measured
    for view in ("last", "vision-mean"):
        answers = states.index(view)["answer"]
        for pair in ((2, 5), (5, 10)):
            x, y, groups = states.pair(*pair, view)
            x, y = x.astype(float), y.astype(float)
            here = profile.table.where(layer=pair[0], later=pair[1], view=view)

            def value(method, here=here):
                return here.where(method=method)["value"].item()

            assert value("cosine distance") == rd.geometric(x, y, groups=groups).value
            assert value("within 0.05") == rd.proximal(x, y, t=0.05, groups=groups).value
            ridge = __import__("vlm.notions.task_losses", fromlist=["regressor_of"]).regressor_of("ridge")
            assert value("ridge: Brier score") == rd.functional(answers, x, y, ridge, 2, groups, 0).value
            fit = fitting_rows(groups, 0.5, 0)
            book = rd.Codebook.fit(np.vstack([x[fit], y[fit]]), size=6, rng=0)
            cx, cy = book.encode(x[~fit]), book.encode(y[~fit])
            assert value("plug-in") == rd.informational(cx, cy, size=6, groups=groups[~fit]).value
            target = np.searchsorted(np.unique(answers), answers[~fit])
            pid = rd.broja_from_samples(target, cx, cy, groups=groups[~fit], on_doubt="ignore")
            assert value("BROJA: redundant") == pytest.approx(pid.redundant, abs=2e-7)
            chain = profile.chain.where(layer=pair[0], later=pair[1], view=view)
            assert chain.where(theorem="fano")["left"].item() == pytest.approx(value("plug-in"), abs=1e-12)
        for layer in (2, 5, 10):
            linear = rd.usable_information(
                answers, states.layer(layer, view).astype(float), folds=2, groups=states.groups(view), rng=0
            )
            row = profile.table.where(layer=layer, later=layer, view=view, method="linear")
            assert row["value"].item() == linear.value


def test_profile_of_recorded_states_is_the_same(measured):
    profile, states = measured
    again = vlm.profile_states(states, notions=QUICK, predictors="ridge", codes=6, replicates=4, progress=False)
    for name, column in profile.table.columns.items():
        assert np.array_equal(column, again.table[name], equal_nan=column.dtype.kind == "f"), name


def test_the_table_is_tidy_and_shown(measured):
    profile, _ = measured
    assert set(profile.table["notion"].tolist()) == set(QUICK)
    assert repr(profile).startswith("Profile(2 pairs of layers, views last, vision-mean, 30 images, ")
    keys = list(zip(*(profile.table[n].tolist() for n in ("layer", "later", "view", "notion", "method")), strict=True))
    assert len(keys) == len(set(keys))
    kinds = {text.split(",")[0].split(":")[0].split(" ")[0] for text in profile.table["guarantee"].tolist()}
    assert kinds <= {"certified", "bootstrap", "estimate", "exact", "absent"}
    for row in profile.table.rows():
        assert math.isnan(row["value"]) == row["guarantee"].startswith("absent: ")
        if row["guarantee"].startswith(("certified", "bootstrap")):
            assert row["low"] <= row["high"]
    assert len(profile.rows(view="last", notion="geometric")) == 2
    assert "<table>" in profile._repr_html_()
    assert json.loads(profile.to_json())["settings"]["simultaneous"] == 2
    shown = summary(profile)
    assert list(shown.columns) == [
        "layers",
        "view",
        "distance",
        "close",
        "answer lost",
        "H(X|Y), nats",
        "not rebuilt",
    ]
    assert len(shown) == 4
    table = verdicts(profile)
    assert len(table) == 4
    assert all(table["bite"] > 10)


def test_limits_are_shown_rounded_outward():
    assert value_in_words(0.12345, 0.10049, 0.15001, 3) == "0.123 [0.100, 0.151]"
    assert value_in_words(-0.5, -0.50001, -0.4999, 3) == "-0.500 [-0.501, -0.499]"
    assert value_in_words(1.0, 0.25, math.inf, 2) == "1.00 [0.25, inf]"
    assert value_in_words(1.0, math.nan, math.nan, 2) == "1.00"
    assert value_in_words(math.nan, math.nan, math.nan, 2) == "–"


def test_figures_and_files(measured, tmp_path):
    profile, _ = measured
    ax = Figure().subplots()
    vlm.plot_notion(ax, profile, "informational")
    assert [c.get_label() for c in ax.containers] == ["last", "vision-mean"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["2–5", "5–10"]
    with pytest.raises(ValueError, match="notion: expected one that was measured, got 'similarity'"):
        vlm.plot_notion(ax, profile, "similarity")
    with pytest.raises(ValueError, match="method: expected one of"):
        vlm.plot_notion(ax, profile, "informational", method="x")
    with pytest.raises(ValueError, match="which was not measured"):
        vlm.plot_pid(ax, profile, view="text-mean")
    paths = write_profile(profile, tmp_path / "page", title="a <title>")
    names = {path.name for path in paths}
    assert names == {
        *("notions.csv", "theorems.csv", "notions.md", "notions.tex", "profile.json", "index.html"),
        *("notions.png", "usable_information.png", "pid_last.png", "pid_vision-mean.png"),
    }
    page = (tmp_path / "page" / "index.html").read_text()
    assert "a &lt;title&gt;" in page
    assert page.count("data:image/png") == 4
    back = vlm.Table.load(tmp_path / "page" / "notions.csv")
    assert np.array_equal(back["value"], profile.table["value"], equal_nan=True)


def test_a_constant_view_and_few_images_say_so(tiny):
    model, processor = tiny
    items = list(vlm.datasets.read("tiny", limit=15))
    profile = vlm.profile(model, processor, items, views="last", layers=(0, 3), progress=False, predictors="ridge")
    gone = profile.absent()
    assert set(NOTIONS) == set(profile.table["notion"].tolist())
    reasons = dict(zip(gone["method"].tolist(), gone["reason"].tolist(), strict=True))
    assert reasons["linear CKA, debiased"].startswith("cka: expected at least 4 images")
    assert reasons["critic"].startswith(("folds: expected", "x: expected a column that varies"))
    assert not np.isnan(profile.rows()["value"]).any()
    with pytest.raises(ValueError, match="expected states of at least two images, got 1"):
        vlm.profile(model, processor, items[:1], views="last", layers=(0, 3), progress=False)
    with pytest.raises(ValueError, match="items: expected at least one item, got none"):
        vlm.profile(model, processor, [], progress=False)


def test_one_class_and_numbers_and_items_without_an_answer(tiny, items):
    model, processor = tiny
    some, common = (
        items[:60],
        {
            "views": "last",
            "layers": (4, 9),
            "progress": False,
            "predictors": "ridge",
            "tokens": False,
        },
    )
    notions = ("geometric", "functional", "usable information", "pid")
    one = vlm.profile(model, processor, some, target=["x"] * 60, notions=notions, **common)
    assert {row["reason"] for row in one.absent().rows()} == {"target: expected at least two classes, got only 'x'"}
    assert set(one.rows()["notion"].tolist()) == {"geometric"}
    numbers = vlm.profile(
        model, processor, some, target=[i / 60 for i in range(60)], target_range=(0.0, 1.0), notions=notions, **common
    )
    assert numbers.rows(notion="functional")["method"].tolist() == ["ridge: squared error"]
    assert not np.isnan(numbers.rows(notion="functional")["low"]).any()
    assert numbers.absent().where(notion="pid")["reason"][0].startswith("target: expected classes, got floats")
    with pytest.raises(ValueError, match="target: expected one value per item, 60, got 2"):
        vlm.profile(model, processor, some, target=[1, 2], **common)
    silent = [Item("mine", i.id, i.image_id, i.question, i.images, i.options, (), i.kind) for i in some[:30]]
    mixed = vlm.profile(model, processor, [*some[30:], *silent], notions=("functional",), **common)
    assert mixed.notes == ("30 items have no target and are left out where one is needed",)
    mute = vlm.profile(model, processor, silent, notions=("geometric", "functional"), **common)
    assert mute.absent()["reason"].tolist() == ["target: expected recorded answers, found none for 30 items"]
    assert len(mute.rows(notion="geometric")) == 1


def test_prompts_without_an_image_count_in_the_views_that_they_have(tiny, items):
    model, processor = tiny
    written = [
        Item("tiny", f"text-{i}", f"text-{i}", "which digit is at b2?", (), (), (str(i % 3),)) for i in range(20)
    ]
    profile = vlm.profile(
        model, processor, [*items[:40], *written], layers=(3, 4), notions="geometric", progress=False, batch_size=20
    )
    assert dict(zip(profile.table["view"].tolist(), profile.table["images"].tolist(), strict=True)) == {
        "last": 28,
        "vision-mean": 8,
        "vision": 8,
        "text": 28,
    }


def test_rows_of_all_tokens_are_those_of_the_probe_and_of_maps_fitted_on_other_images(tiny, items):
    model, processor = tiny
    some = items[:100]
    profile = vlm.profile(
        model,
        processor,
        some,
        views="last",
        pairs=[(3, 4), (0, 4), (4, 6)],
        notions=("geometric", "proximal", "next state", "similarity", "effective rank"),
        batch_size=50,
        progress=False,
    )
    with vlm.states(model, views="last", layers=(0,)) as states, vlm.probe(model, thresholds=0.05) as record:
        Prompts(model, processor, states, batch_size=50, progress=False).over(some)
    images = states.groups("last")
    fit = fitting_rows(images, 0.5, 0)
    for modality in ("vision", "text"):
        table = record.table().where(modality=modality)
        for pair, layer, name in (((3, 4), 3, "distance"), ((0, 4), 3, "distance_from_entry")):
            here = profile.table.where(layer=pair[0], later=pair[1], view=modality)
            values = table.where(layer=layer)[name]
            expected = rd.Estimate.over_units(values, images, quantity="mean", support=(0, 2))
            assert here.where(notion="geometric")["value"].item() == pytest.approx(expected.value, rel=1e-12)
            judged = rd.Estimate.over_units(values[~fit], images[~fit], quantity="mean", support=(0, 2))
            rows = here.where(method="ridge: later from earlier, not divided")
            assert rows["baseline"].item() == pytest.approx(2 * judged.value, rel=1e-5)
            assert rows["value"].item() < rows["baseline"].item()
            assert rows["images"].item() == 10
            assert 0 < here.where(method="ridge: earlier from later")["value"].item() < 1
        gone = profile.absent().where(layer=4, later=6, view=modality)
        assert gone["notion"].tolist() == ["geometric", "proximal"]
        assert "adjacent states and from state 0" in gone["reason"][0]
    both = gap_bounds(profile, digits=4)
    assert both["layers"].tolist() == ["3-4", "0-4"] * 2
    for row in both.rows():
        earlier, later = map(int, row["layers"].split("-"))
        here = profile.table.where(layer=earlier, later=later, view=row["view"])
        near = here.where(notion="geometric")
        loss = here.where(method="ridge: later from earlier, not divided")
        for name, value, high in (
            ("by cosine distance", *(near[end].item() * (2 - near[end].item()) for end in ("value", "high"))),
            ("by reconstruction", loss["value"].item(), loss["high"].item()),
        ):
            assert float(row[name].split(" ")[0]) == pytest.approx(value, abs=5.1e-5)
            assert 0 <= float(row[name].rstrip("]").split(", ")[1]) - high <= 1.01e-4
    page = "".join(profile_section(profile, []))
    assert "Theorem 1 in both of its forms" in page
    assert gap_bounds(profile)["by reconstruction"][0] in page


def test_items_that_cannot_be_asked_are_listed(tiny, items):
    model, processor = tiny
    broken = Item("tiny", "broken", "broken", "which <image> is it?", (), (), ("1",))
    long = Item("tiny", "unknown", "unknown", "what <image 1> <image 2>?", items[0].images, (), ("1",))
    profile = vlm.profile(
        model, processor, [*items[:20], broken, long], notions="geometric", layers=(1, 2), progress=False
    )
    assert len(profile.notes) <= 2
    with pytest.raises(ValueError, match="items: expected each item once, got tiny/"):
        vlm.profile(model, processor, [items[0], items[0]], progress=False)


def test_options_are_checked_before_anything_runs():
    assert choices({}) == Choices()
    assert choices({"notions": "pid", "rng": np.random.default_rng(0)}).notions == ("pid",)
    for options, message in (
        ({"notions": ["entropy"]}, "notions: expected one of"),
        ({"notions": []}, "notions: expected some of"),
        ({"folds": 1}, "folds: expected"),
        ({"codes": 1}, "codes: expected"),
        ({"confidence": 1.0}, "confidence: expected"),
        ({"t": -0.1}, "t: expected"),
        ({"simultaneous": 0}, "simultaneous: expected"),
        ({"predictors": "forest"}, "predictors: expected one of"),
    ):
        with pytest.raises(ValueError, match=message):
            choices(options)
    with pytest.raises(TypeError, match="threshold: not an option of a profile"):
        choices({"threshold": 1})
    assert layer_pairs("adjacent", (0, 3, 5)) == [(0, 3), (3, 5)]
    assert layer_pairs("entry", (0, 3, 5)) == [(0, 3), (0, 5)]
    assert layer_pairs([(0, 5)], (0, 3, 5)) == [(0, 5)]
    for pairs, message in (([(5, 0)], "pairs"), ([(0, 4)], "pairs"), ([], "at least one pair"), ("next", "pairs")):
        with pytest.raises(ValueError, match=message):
            layer_pairs(pairs, (0, 3, 5))
    with pytest.raises(ValueError, match="at least two recorded states"):
        layer_pairs("adjacent", (3,))


def test_rare_answers_are_pooled_on_other_images():
    items = np.array([str(i) for i in range(12)])
    answers = np.array(["a", "a", "a", "b", "b", "c", "a", "b", "c", "d", "e", "a"])
    fit = np.arange(12) < 6
    target = row_target("answer", items=items, answers=answers, fit=fit, classes=3)
    assert target.classes == (OTHER, "a", "b")
    assert target.rows.tolist() == (~fit).tolist()
    assert target.values.tolist() == ["a", "b", OTHER, OTHER, OTHER, "a"]
    assert target.codes.tolist() == [1, 2, 0, 0, 0, 1]
    assert "5 different targets: the 2 most frequent" in target.notes[0]
    whole = row_target("answer", items=items, answers=answers, fit=fit, classes=5)
    assert whole.rows.all()
    assert row_target({"3": 1, "4": 2}, items=items, answers=answers, fit=fit, classes=5).values.tolist() == ["1", "2"]
    with pytest.raises(ValueError, match="target: expected 'answer' or one value per item, got 'label'"):
        row_target("label", items=items, answers=answers, fit=fit, classes=5)
    with pytest.raises(ValueError, match="expected finite numbers"):
        row_target({"3": math.nan, "4": 1.0}, items=items, answers=answers, fit=fit, classes=5)
    assert by_item([np.int64(1), "x"], ["i", "j"]) == {"i": 1, "j": "x"}


def test_images_of_one_split_stay_whole():
    groups = np.repeat(["a", "b", "c", "d"], 3)
    fit = fitting_rows(groups, 0.5, 0)
    assert {tuple(fit[groups == g]) for g in "abcd"} == {(True,) * 3, (False,) * 3}
    assert fit.sum() == 6
    assert fitting_rows(groups, 0.01, 0).sum() == 3
    assert fitting_rows(groups, 0.99, 0).sum() == 9


def test_the_toy_transformer_can_be_profiled():
    record = ToyTransformer().draw(60, np.random.default_rng(0))
    profile = vlm.profile_states(record, notions=("geometric", "pid"), codes=4, replicates=2, progress=False)
    assert len(profile.rows(notion="geometric")) == 6
    assert set(profile.chain["verdict"].tolist()) <= {"attained", "bites", "vacuous", "does not apply"}


def test_command(tmp_path, capsys):
    out = tmp_path / "out"
    flags = "--limit 60 --layers 6 8 10 --views last --notions geometric functional --batch-size 30 --quiet"
    assert main(["notions", "--model", "tiny", "--data", "tiny", *flags.split(), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "State 0 enters decoder layer 0" in text
    assert f"wrote {out / 'index.html'}" in text
    assert vlm.Table.load(out / "notions.csv")["notion"].tolist().count("geometric") == 6
    assert main(["notions", "--notions", "magic", "--limit", "5", "--out", str(out)]) == 1
    assert "notions: expected one of" in capsys.readouterr().err
