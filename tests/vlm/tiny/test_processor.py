"""The processor behaves as a transformers processor: shapes, padding, text-only prompts, and clear refusals."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast, ProcessorMixin

from vlm.tiny import blank_image, questions
from vlm.tiny.architecture import IMAGE_TOKENS, VOCABULARY, new_processor
from vlm.tiny.scenes import draw_scene, scans
from vlm.tiny.training_batches import scene_sequence

PROMPT = "<image> which digit is at b2? answer:"


@pytest.fixture(scope="module")
def processor() -> ProcessorMixin:
    return new_processor()


def test_it_is_made_of_transformers_classes(processor) -> None:
    assert isinstance(processor, ProcessorMixin)
    assert isinstance(processor.tokenizer, PreTrainedTokenizerFast)


def test_one_image_becomes_36_tokens_and_one_array(processor) -> None:
    batch = processor(images=[blank_image()], text=[PROMPT], return_tensors="pt")
    assert (batch["input_ids"] == VOCABULARY["<image>"]).sum() == IMAGE_TOKENS == 36
    assert batch["input_ids"].shape == (1, 1 + 36 + 8)
    assert batch["pixel_values"].shape == (1, 3, 24, 24)
    assert torch.equal(batch["pixel_values"], torch.full((1, 3, 24, 24), -1.0))


def test_padding_is_on_the_left_and_masked(processor) -> None:
    texts = [PROMPT, "<image> which digit is there? A 1 B 2 C 3 D 4 answer:", "is there a 7? answer:"]
    batch = processor(images=[blank_image()] * 2, text=texts, return_tensors="pt", padding=True)
    assert batch["input_ids"].shape == (3, 52)
    assert batch["attention_mask"].sum(-1).tolist() == [45, 52, 8]
    assert (batch["input_ids"][:, -1] == VOCABULARY[":"]).all()
    assert (batch["input_ids"][2, :44] == VOCABULARY["<pad>"]).all()
    assert batch["input_ids"][2, 44] == VOCABULARY["<s>"]


def test_text_only_prompts_need_no_images(processor) -> None:
    batch = processor(images=None, text=["a1 7 which digit is at a1? answer:"], return_tensors="pt")
    assert "pixel_values" not in batch
    assert batch["input_ids"].shape == (1, 11)


def test_pixels_are_the_ink_between_minus_one_and_one(processor) -> None:
    scene = draw_scene(np.random.default_rng(0), scans("test"))
    image = Image.fromarray(scene.canvas).convert("RGB")
    batch = processor(images=[image], text=[PROMPT], return_tensors="pt")
    expected = torch.from_numpy(scene.canvas.astype(np.float32)) / 127.5 - 1
    assert torch.allclose(batch["pixel_values"][0], expected.expand(3, 24, 24), atol=1e-6)


def test_images_of_other_sizes_and_modes_are_brought_to_the_canvas(processor) -> None:
    for image in (Image.new("L", (48, 48)), Image.new("RGBA", (24, 30)), np.zeros((24, 24, 3), np.uint8)):
        batch = processor(images=[image], text=[PROMPT], return_tensors="pt")
        assert batch["pixel_values"].shape == (1, 3, 24, 24)


def test_training_sequences_are_tokenised_as_the_processor_does(processor) -> None:
    rng = np.random.default_rng(3)
    scene = draw_scene(rng, scans("train"))
    ids, labels = scene_sequence(scene, rng, written=False, task="ask")
    words = [word for word in re.split(r" +", processor.tokenizer.decode(ids)) if word]
    first = words[: words.index("</s>") - 1]  # up to the first answer
    text = " ".join(first[first.index("<s>") + 1 + IMAGE_TOKENS :])
    again = processor(images=[blank_image()], text=["<image> " + text], return_tensors="pt")["input_ids"][0]
    assert again.tolist() == ids[: len(again)]
    assert set(labels[: len(again)]) == {-100}
    assert labels[len(again)] == ids[len(again)]
    assert sum(label != -100 for label in labels) == 8  # four answers and four ends


def test_the_chat_template_writes_the_same_prompt(processor) -> None:
    question = questions(limit=1)[0]
    text = question.prompt.removeprefix("<image> ").removesuffix(" answer:")
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
    assert processor.apply_chat_template([message], add_generation_prompt=True) == question.prompt


@pytest.mark.parametrize("wrong", ["no such file", 3, None, np.zeros((5, 5)), {"pixels": 1}])
def test_inputs_that_are_not_images_are_refused(processor, wrong: object) -> None:
    with pytest.raises((ValueError, TypeError), match=r"image|list of entries"):
        processor(images=[wrong], text=[PROMPT], return_tensors="pt")


def test_placeholders_and_images_must_match(processor) -> None:
    with pytest.raises(ValueError, match="1 <image> tokens and 2 images"):
        processor(images=[blank_image()] * 2, text=[PROMPT])
    with pytest.raises(ValueError, match="0 <image> tokens and 1 images"):
        processor(images=[blank_image()], text=["is there a 7? answer:"])
    with pytest.raises(ValueError, match="no images were passed"):
        processor(images=None, text=[PROMPT])
