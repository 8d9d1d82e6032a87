"""`vlm.optimize` from end to end: plan, promise and file; bad input; a kill in every stage."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import vlm
from vlm import record_log
from vlm.datasets import read
from vlm.planner.answered_questions import QuestionList
from vlm.planner.image_split import split_images
from vlm.planner.model_card import model_card
from vlm.planner.plan_page import damages_by_layer, write_page
from vlm.plans.plan_file import PlanFile

SETTINGS = dict(max_loss=0.2, actions=["freeze"], fractions=[], batch_size=64, search_images=16, forwards=200)


@pytest.fixture(scope="module")
def tiny():
    torch.set_num_threads(1)
    return vlm.load("tiny")


@pytest.fixture(scope="module")
def items():
    return [item for number, item in enumerate(read("tiny", limit=300)) if number % 5 == number // 5 % 5]


@pytest.fixture(scope="module")
def best(tiny, items, tmp_path_factory):
    return vlm.optimize(*tiny, items, **SETTINGS, out=tmp_path_factory.mktemp("runs"))


def test_the_plan_keeps_its_promise_on_other_images(tiny, best):
    model, processor = tiny
    assert best.plan
    assert best.cost < 0.95
    assert best.file.limit <= 0.2
    assert best.file.cost["operations"] == best.cost
    asked = vlm.tiny.questions(split="validation", limit=100, kinds=vlm.tiny.IMAGE_KINDS)
    full = vlm.tiny.predict(model, processor, asked)
    with vlm.skipping(model, best.plan):
        assert np.mean([a != b for a, b in zip(vlm.tiny.predict(model, processor, asked), full, strict=True)]) <= 0.2


def test_search_and_certification_share_no_image(items):
    split = split_images(items * 2, 20, seed=3)
    assert not {i.image_id for i in split.search} & {i.image_id for i in split.certification}
    assert len(split.search) + len(split.certification) == 2 * len(items)
    # The first prompts of the search show different images; certification goes image by image.
    assert len({i.image_id for i in split.search[:20]}) == 20
    names = [i.image_id for i in split.certification]
    assert sum(a != b for a, b in itertools.pairwise(names)) == len(set(names)) - 1


def test_what_is_written_can_be_used(tiny, best, tmp_path):
    model, _ = tiny
    path = best.folder / "plan.json"
    file = PlanFile.load(path)
    assert file == best.file
    assert "this is wrong with probability at most 0.05" in file.guarantee
    with vlm.skipping(model, str(path)) as plan:
        assert plan == best.plan.resolved(10)
    loaded, _ = vlm.load("tiny", plan=path)
    with pytest.raises(ValueError, match="already active"), vlm.skipping(loaded, "vision:8-"):
        pass
    with pytest.raises(ValueError, match=r"plan: expected the weights \w+ of .*, got \w+; the promise holds for those"):
        vlm.load("tiny-scaled", plan=path)
    pages = write_page(best, tmp_path)
    text = pages[0].read_text()
    assert str(best.plan) in text
    assert "Use this plan" in text
    assert best.file.guarantee.split("(")[0][:60] in text
    assert model_card(file, "p.json").count("p.json") == 1
    by_layer = damages_by_layer(best.damages)
    assert by_layer["layer"].tolist() == list(range(10))
    assert by_layer["freeze"].tolist() == best.damages["kl"].tolist()


def test_equal_calls_give_equal_files_after_a_kill_in_any_stage(tiny, items, best, tmp_path, monkeypatch):
    append = record_log.Log.append
    whole = (best.folder / "measured.jsonl").read_text().splitlines()
    kinds = [(r["kind"], r.get("pool")) for r in map(json.loads, whole)]
    stages = {kinds.index(kind) + 2 for kind in dict.fromkeys(kinds) if kind[0] != "settings"}
    assert len(stages) == 4  # answers and measurements of either half
    for stop in sorted(stages):
        written = []

        def dying(log, records, written=written, stop=stop):
            if len(written) + len(records) > stop:
                raise KeyboardInterrupt
            written.extend(records)
            append(log, records)

        folder = tmp_path / str(stop)
        with monkeypatch.context() as patch:
            patch.setattr(record_log.Log, "append", dying)
            with pytest.raises(KeyboardInterrupt):
                vlm.optimize(*tiny, items, **SETTINGS, out=folder)
        again = vlm.optimize(*tiny, items, **SETTINGS, out=folder)
        assert again.file == best.file
        assert again.forwards == best.forwards
        # Nothing was measured twice.
        assert sorted((again.folder / "measured.jsonl").read_text().splitlines()) == sorted(whole)


def test_a_second_call_measures_nothing(tiny, items, best, monkeypatch):
    def refuse(*args):
        raise AssertionError("measured again")

    monkeypatch.setattr(QuestionList, "_rows", refuse)
    assert vlm.optimize(*tiny, items, **SETTINGS, out=best.folder.parent).file == best.file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(max_loss=0.0),
            "max_loss: expected more than 0, got 0; no number of images shows that nothing is ever lost",
        ),
        (dict(max_loss=1.5), "max_loss: expected a number between 0 and 1, got 1.5"),
        (
            dict(max_loss=0.01),
            "images: 44 certification images cannot promise 0.01, even if no answer differs; expected",
        ),
        (dict(search_images=60), "search_images: expected 1 to 59 of 60 images, got 60"),
        (dict(loss="regret"), "loss: expected one of disagreement, accuracy, kl, got 'regret'"),
        (dict(confidence=1.0), "confidence: expected a number between 0 and 1"),
        (dict(objective="money"), "objective: expected one of operations, prefill, cache, time"),
        (dict(at_least_faster=20), "at_least_faster: expected a share between 0 and 1, got 20"),
        (dict(protocol="mine"), "protocol: expected one of skip-it, lmms-eval"),
        (dict(actions=["jump"]), "actions: expected some of freeze"),
        (dict(forwards=0), "forwards: expected a whole number >= 1, got 0"),
    ],
)
def test_bad_input_is_refused_before_any_work(tiny, items, change, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        vlm.optimize(*tiny, items, **{**SETTINGS, **change})


def test_accuracy_needs_labels(tiny, items):
    bare = [replace(item, answers=()) for item in items]
    with pytest.raises(ValueError, match="loss='accuracy': expected reference answers, got none for 60 of 60 items"):
        vlm.optimize(*tiny, bare, **{**SETTINGS, "loss": "accuracy"})


def test_accuracy_scores_only_answers_that_differ(tiny, items):
    found = vlm.optimize(*tiny, items, **{**SETTINGS, "loss": "accuracy", "max_loss": 0.35, "forwards": 60})
    assert found.file.loss == "accuracy"
    assert all(t.loss <= len(found.changed) for t in found.tested)


def test_a_wish_that_no_plan_can_meet_is_said(tiny, items):
    found = vlm.optimize(*tiny, items, **{**SETTINGS, "forwards": 20}, objective="cache", at_least_faster=0.5)
    # Freezing saves no cache.
    assert any("at least 50% less cache cannot be met: even the cheapest plan" in m for m in found.messages)
    assert any("NOT met" in m for m in found.messages)
    assert not found.plan
    assert found.cost == 1.0


def test_no_candidate_and_items_that_cannot_be_read_are_said(tiny, items):
    from vlm.item import Failure

    found = vlm.optimize(
        *tiny, [*items, Failure("tiny", "broken", "image: none")], **{**SETTINGS, "forwards": 1, "max_loss": 0.2}
    )
    assert found.failures[0].id == "broken"
    assert len(found.table()) >= 0


def test_the_command_writes_everything_it_names(tmp_path, capsys):
    from vlm.__main__ import main

    words = "optimize --limit 200 --max-loss 0.3 --actions freeze --prune --batch-size 64 --forwards 40 --candidates 1"
    assert main([*words.split(), "--quiet", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    written = [line.removeprefix("wrote ") for line in printed.splitlines() if line.startswith("wrote ")]
    assert {"plan.json", "report.html", "model_card.md"} <= {name.rsplit("/", 1)[1] for name in written}
    assert all((tmp_path / name).stat().st_size for name in written)
    assert f"use it: vlm.load('tiny', plan=\"{written[0]}\")" in printed
    assert "24 certification images; a promise of 0.3 probably needs" in printed
