"""The committed weights: small, and as good on digits they never saw as the documentation says."""

from pathlib import Path

import numpy as np
import pytest
import torch

import vlm
from vlm.models.loading import EMBEDDED
from vlm.tiny import IMAGE_KINDS, accuracy_by_kind, chance_by_kind, correct, predict, questions
from vlm.tiny.__main__ import main

FOLDERS = sorted(set(EMBEDDED.values()))


def test_all_weights_together_stay_below_eight_megabytes() -> None:
    root = Path(vlm.tiny.__file__).parent / "weights"
    assert sum(file.stat().st_size for file in root.rglob("*") if file.is_file()) <= 8e6
    assert not [file for file in root.rglob("*") if file.suffix in {".bin", ".pt", ".pkl", ".py"}]


# The accuracies are of these seeded questions, not of a population: no error level is involved.
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_held_out_accuracy_with_and_without_the_image(folder: Path) -> None:
    model, processor = vlm.load(folder)
    asked = questions(split="test", limit=360, seed=0)
    seen = accuracy_by_kind(asked, correct(model, processor, asked))
    blank = accuracy_by_kind(asked, correct(model, processor, asked, blank=True))
    chance = chance_by_kind(asked)
    assert seen["image"] >= 0.90
    assert seen["text"] >= 0.90
    assert blank["text"] == seen["text"]  # no image to blank
    assert blank["image"] <= chance["image"] + 0.10
    for kind in IMAGE_KINDS:
        assert seen[kind] > chance[kind] + 0.25, kind


def test_the_command_prints_accuracy_with_limits_per_kind(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--limit", "60", "--seed", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny, test split, seed 2, 60 questions"
    asked = questions(split="test", limit=60, seed=2)
    scores = accuracy_by_kind(asked, correct(*vlm.load("tiny"), asked))
    for line in lines[2:]:
        kind, n, accuracy = line.split()[:3]
        assert float(accuracy) == pytest.approx(scores[kind], abs=5e-4)
        assert int(n) == (50 if kind == "image" else 10)
        assert ("[" in line) == (kind != "image")


def test_answers_do_not_depend_on_the_batch() -> None:
    model, processor = vlm.load("tiny")
    asked = questions(limit=30, seed=4)
    words = predict(model, processor, asked, batch_size=30)
    assert words == predict(model, processor, asked, batch_size=1)
    assert words == predict(model, processor, asked, batch_size=7)
    right = correct(model, processor, asked)
    assert right.tolist() == [w == q.answer for w, q in zip(words, asked, strict=True)]


def test_generation_says_the_answer_and_stops() -> None:
    model, processor = vlm.load("tiny")
    asked = [q for q in questions(limit=12, seed=5) if q.image is not None]
    batch = processor(
        images=[q.image for q in asked], text=[q.prompt for q in asked], return_tensors="pt", padding=True
    )
    with torch.inference_mode():
        out = model.generate(**batch, max_new_tokens=5, do_sample=False)
    new = processor.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    assert [text.strip() for text in new] == predict(model, processor, asked)


def test_scores_are_means_over_questions() -> None:
    asked = questions(limit=12)
    right = np.array([q.kind != "count" for q in asked])
    scores = accuracy_by_kind(asked, right)
    assert scores["count"] == 0.0
    assert scores["location"] == scores["text"] == 1.0
    assert scores["image"] == pytest.approx(0.8)
    text_only = [q for q in asked if q.image is None]
    assert "image" not in accuracy_by_kind(text_only, np.ones(len(text_only), dtype=bool))
    assert "image" not in chance_by_kind(text_only)
