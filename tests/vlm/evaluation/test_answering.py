"""Answers of a model: letters and texts, the same in a batch and alone; items that cannot be answered are named."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import vlm
from vlm import tiny
from vlm.evaluation.answering import Answer, Answerer, Unusable
from vlm.evaluation.batch_failures import Refused, TooLarge
from vlm.item import Item
from vlm.models.prompts import inputs, wording
from vlm.plans.plan import SkipPlan

WORDS = {"choice": ("A", "B", "C", "D"), "comparison": ("yes", "no"), "existence": ("yes", "no")}
PROTOCOL = SimpleNamespace(
    prompt=lambda item: "<image>" * len(item.images) + item.question,
    reading=lambda item: "letter" if item.kind in WORDS else "generate",
    max_new_tokens=lambda item: 3,
    labels=lambda item: WORDS[item.kind],
)
FULL, PLAN = SkipPlan(), SkipPlan.parse("vision:0-1+6-")


@pytest.fixture(scope="module")
def model_and_processor():
    return vlm.load("tiny")


@pytest.fixture(scope="module")
def questions():
    return tiny.questions(limit=12)


@pytest.fixture(scope="module")
def items(questions):
    return [
        Item(
            "tiny",
            str(i),
            str(q.image_id),
            q.prompt.removeprefix("<image> ").removesuffix(" answer:"),
            (q.image,) if q.image else (),
            kind=q.kind,
        )
        for i, q in enumerate(questions)
    ]


@pytest.fixture
def ask(model_and_processor):
    return Answerer(*model_and_processor, PROTOCOL)


def answers(ask, items, plan=FULL):
    return ask.answers(ask.questions(items), plan)


@pytest.mark.parametrize("plan", [FULL, PLAN], ids=str)
def test_answers_are_the_models_own(ask, items, questions, plan):
    results = answers(ask, items, plan)
    with vlm.skipping(ask.model, plan):
        expected = tiny.predict(ask.model, ask.processor, questions)
    for item, answer, word in zip(items, results, expected, strict=True):
        assert answer.prediction.split()[0] == word
        # <s>, the prompt's words, the image
        assert answer.tokens["vision"] == 36 * len(item.images)
        assert answer.tokens["text"] == len(ask.processor.tokenizer(item.question + " answer:").input_ids)
        if item.kind in WORDS:
            assert len(answer.letter_probabilities) == len(WORDS[item.kind])
            assert sum(answer.letter_probabilities) <= 1 + 1e-6
            assert answer.tokens["new"] == 1
            assert answer.run["seconds_decode"] == 0
        else:
            assert answer.letter_probabilities is None
            assert answer.prediction == word  # the end token follows, and ends it
            assert answer.tokens["new"] == 2
            assert answer.run["seconds_decode"] > 0
        assert answer.run["seconds_prefill"] > 0
        assert answer.run["batch"] == sum((q.kind in WORDS) == (item.kind in WORDS) for q in questions)


def test_every_plan_sees_the_same_inputs_and_leaves_the_model_alone(ask, items):
    questions = ask.questions(items)
    before = ask.answers(questions, FULL)
    under = ask.answers(questions, PLAN)
    after = ask.answers(questions, FULL)
    assert [a.letter_probabilities for a in before] == [a.letter_probabilities for a in after]
    assert [a.letter_probabilities for a in before] != [a.letter_probabilities for a in under]


def test_items_of_another_data_set_with_the_same_ids_are_other_items(ask, items):
    first = answers(ask, items[:3])
    swapped = [replace(item, images=other.images) for item, other in zip(items[:3], items[6:9], strict=True)]
    assert answers(ask, swapped) != first
    probabilities = [a.letter_probabilities for a in answers(Answerer(ask.model, ask.processor, PROTOCOL), swapped)]
    assert [a.letter_probabilities for a in answers(ask, swapped)] == probabilities


def test_without_memory_batches_shrink_and_answers_stay(ask, items, monkeypatch):
    expected = [a.prediction for a in answers(ask, items)]
    forward = ask.model.model.forward

    def small(*args, **kwargs):
        if len(kwargs["input_ids"]) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return forward(*args, **kwargs)

    monkeypatch.setattr("vlm.evaluation.batch_failures.free", lambda: None)  # collecting garbage takes a while
    monkeypatch.setattr(ask.model.model, "forward", small)
    results = answers(ask, items)
    assert [a.prediction for a in results] == expected
    assert max(a.run["batch"] for a in results) <= 2
    assert min(a.run["attempt"] for a in results) >= 2

    def none(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(ask.model.model, "forward", none)
    results = answers(ask, items)
    assert all(isinstance(a, TooLarge) for a in results)


@pytest.mark.parametrize("error", [RuntimeError("sizes differ"), ValueError("image features"), IndexError("index 7")])
def test_errors_of_the_model_are_failures_of_one_item(ask, items, monkeypatch, error):
    expected = answers(ask, items)
    odd = items[3]
    forward, ids = ask.model.model.forward, ask.inputs(ask.questions([odd]))["input_ids"][0]

    def picky(*args, **kwargs):
        if any(ids[ids != 0].tolist() == row[-len(ids) :].tolist() for row in kwargs["input_ids"]):
            raise error
        return forward(*args, **kwargs)

    monkeypatch.setattr(ask.model.model, "forward", picky)
    results = answers(ask, items)
    assert results[3] == Refused(f"{type(error).__name__}: {error}")
    assert [a.prediction for a in results if isinstance(a, Answer)] == [
        a.prediction for a in expected if a is not expected[3]
    ]
    alone = [a for a in results if isinstance(a, Answer) and a.run["attempt"] == 2]
    assert alone
    assert all(a.run["batch"] == 1 for a in alone)


@pytest.mark.parametrize("error", [torch.AcceleratorError("CUDA error"), NotImplementedError("cache"), TypeError("x")])
def test_errors_not_caused_by_one_item_are_raised(ask, items, monkeypatch, error):
    def broken(*args, **kwargs):
        raise error

    monkeypatch.setattr(ask.model.model, "forward", broken)
    with pytest.raises(type(error)):
        answers(ask, items)


def test_an_image_that_the_processor_refuses_affects_no_other(ask, items):
    broken = Item("tiny", "broken", "x", "which digit is at b2?", ("no image",), kind="location")
    mixed = [*items[:5], broken, *items[5:]]
    results = answers(ask, mixed)
    assert isinstance(results[5], Unusable)
    assert results[5].reason.startswith("the processor refused it")
    assert [a.prediction for a in results if isinstance(a, Answer)] == [a.prediction for a in answers(ask, items)]


@pytest.mark.parametrize(
    "error", [IndexError("list index"), KeyError("pixel_values"), ValueError("aspect ratio"), RuntimeError("resize")]
)
def test_errors_of_the_processor_are_failures_of_one_item(ask, items, monkeypatch, error):
    odd = replace(items[2], images=(items[2].images[0].copy(),))

    def picky(model, processor, texts, images):
        if any(image is odd.images[0] for image in images):
            raise error
        return inputs(model, processor, texts, images)

    monkeypatch.setattr("vlm.evaluation.answering.inputs", picky)
    results = ask.questions([*items[:2], odd, *items[3:5]])
    assert [isinstance(q, Unusable) for q in results] == [False, False, True, False, False]
    assert str(error) in results[2].reason


def test_marks_and_images_must_agree(ask, items):
    question = Item("tiny", "more", "x", "<image> which digit is at b2?", items[0].images, kind="location")
    (results,) = answers(ask, [question])
    assert results == Unusable("prompt: expected 1 <image> marks, one per image, got 2")


def test_logits_that_are_nan_are_a_failure(ask, items, monkeypatch):
    forward = ask.model.forward

    def broken(*args, **kwargs):
        out = forward(*args, **kwargs)
        out.logits[kwargs["input_ids"][:, 8] == kwargs["input_ids"][0, 8]] = torch.nan
        return out

    monkeypatch.setattr(ask.model, "forward", broken)
    chosen = [item for item in items if item.kind in WORDS]
    results = answers(ask, chosen)
    assert any(isinstance(a, Refused) and "NaN" in a.reason for a in results)


def test_without_a_chat_template_the_text_stands_alone():
    bare = SimpleNamespace(chat_template=None, image_token="<img>")
    assert wording(bare, "<image>\nWhat?", 1) == "<img>\nWhat?"


def test_a_chat_template_gets_images_in_their_places():
    heard = []

    def template(messages, **how):
        heard.append((messages, how))
        return "".join(part.get("text", "<img>") for part in messages[0]["content"])

    chat = SimpleNamespace(chat_template="...", image_token="<img>", apply_chat_template=template)
    assert wording(chat, "<image>\nIs it like <image> ?", 2) == "<img>Is it like <img> ?"
    ((messages, how),) = heard
    assert messages[0]["content"] == [
        {"type": "image"},
        {"type": "text", "text": "Is it like "},
        {"type": "image"},
        {"type": "text", "text": " ?"},
    ]
    assert how == {"add_generation_prompt": True, "tokenize": False}


def test_a_template_that_puts_images_first_gets_a_text_that_says_which_is_where():
    def template(messages, **how):  # as LLaVA's
        content = messages[0]["content"]
        texts = "".join(part["text"] + " " for part in content if part["type"] == "text")
        return "USER: " + "".join("<image>\n" for part in content if part["type"] == "image") + texts + "ASSISTANT:"

    chat = SimpleNamespace(chat_template="...", image_token="<image>", apply_chat_template=template)
    assert wording(chat, "<image>\nWhat?\nA. 1", 1) == "USER: <image>\nWhat?\nA. 1 ASSISTANT:"
    assert wording(chat, "<image><image>\nWhat?", 2) == "USER: <image>\n<image>\nWhat? ASSISTANT:"
    assert (
        wording(chat, "Which is right?\nA. <image>\nB. <image>\nSay a letter.", 2)
        == "USER: <image>\n<image>\nWhich is right?\nA. <image 1>\nB. <image 2>\nSay a letter. ASSISTANT:"
    )
    assert wording(chat, "What?", 0) == "USER: What? ASSISTANT:"


def test_the_first_token_comes_once(model_and_processor):
    model, processor = model_and_processor
    image = Image.new("RGB", (24, 24))
    plain = inputs(model, processor, ["<image> which digit is at b2? answer:"], [image])
    started = inputs(model, processor, ["<s><image> which digit is at b2? answer:"], [image])
    assert torch.equal(plain["input_ids"], started["input_ids"])
