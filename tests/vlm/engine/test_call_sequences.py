"""Random sequences of calls on one cache under a plan, against one uncached forward of the reference."""

from __future__ import annotations

import random

import pytest
import torch

from vlm import skipping
from vlm.engine.exactness import ATTENTION
from vlm.engine.exactness_checks import relative
from vlm.engine.masked_reference import planned_logits
from vlm.models import flash_stand_in
from vlm.models.random_batches import PATCHES
from vlm.models.random_models import IMAGE, VOCABULARY, random_model

PLANS = (
    "none",
    "vision:0-2",
    "vision:3-",
    "vision:1-3/text:2-4",
    "vision:0-1/mlp:1-2/freeze:2-4",
    "freeze:0-2/vision:3-",
    "keep:1-=0-12",
    "freeze:0-2/keep:2-=3-15",
    "attention:1-3",
    "merge:2=1~1x0.5,3x0.5/vision:3-",
)
FIRST_WORD, LONGEST_PAD = 10, 4


class Conversation:
    """The rows of a batch so far: ids, padding, and images with the position where they begin."""

    def __init__(self, draw: random.Random, rows: int, padded: bool) -> None:
        self.draw, self.padded = draw, padded
        self.ids: list[list[int]] = [[] for _ in range(rows)]
        self.real: list[list[int]] = [[] for _ in range(rows)]
        self.images: list[list[tuple[int, torch.Tensor]]] = [[] for _ in range(rows)]

    def words(self, count: int) -> list[int]:
        return [self.draw.randrange(FIRST_WORD, VOCABULARY) for _ in range(count)]

    def arguments(self, start: int) -> dict[str, torch.Tensor]:
        """Arguments of a call with everything from this position on."""
        out = {"input_ids": torch.tensor(self.ids)[:, start:]}
        if self.padded:
            out["attention_mask"] = torch.tensor(self.real)
        shown = [pixels for row in self.images for place, pixels in row if place >= start]
        return out | ({"pixel_values": torch.stack(shown)} if shown else {})

    def add_words(self, count: int) -> None:
        for ids, real in zip(self.ids, self.real, strict=True):
            ids += self.words(count)
            real += [1] * count

    def add_images(self, likely: float) -> None:
        """A piece of the same length for all rows; some rows have an image in it, others text instead."""
        first, words = not self.ids[0], self.draw.randint(1, 6)
        for ids, real, images in zip(self.ids, self.real, self.images, strict=True):
            pad = self.draw.randint(0, LONGEST_PAD) if first and self.padded else 0
            rest = LONGEST_PAD - pad if first and self.padded else 0
            before = self.draw.randint(0, words)
            shown = self.draw.random() < likely
            if shown:
                images.append((len(ids) + pad + before, torch.randn(3, 12, 12)))
            middle = [IMAGE] * PATCHES if shown else self.words(PATCHES)
            ids += [0] * pad + self.words(before) + middle + self.words(words - before + rest)
            real += [0] * pad + [1] * (words + PATCHES + rest)

    def crop(self, count: int) -> bool:
        """Remove the last tokens, unless an image would be cut or little would be left."""
        stays = len(self.ids[0]) - count
        if stays < LONGEST_PAD + 1 or any(place + PATCHES > stays for row in self.images for place, _ in row):
            return False
        for row in (*self.ids, *self.real):
            del row[stays:]
        return True

    def reorder(self, order: list[int]) -> None:
        self.ids, self.real, self.images = (
            [list(rows[i]) for i in order] for rows in (self.ids, self.real, self.images)
        )


def converse(model, plan, draw):
    """Error of the last call's logits after a random sequence, or None if there was no call."""
    conversation = Conversation(draw, draw.choice([1, 1, 2, 3]), draw.random() < 0.5)
    cache, logits, done = None, None, 0
    with skipping(model, plan):
        for step in range(draw.randint(2, 7)):
            what = "images" if step == 0 else draw.choice(["images", "words", "word", "word", "word", "crop", "rows"])
            if what == "crop":
                if conversation.crop(count := draw.randint(1, 6)):
                    cache.crop(-count)
                    done, logits = done - count, None
                continue
            if what == "rows":
                conversation.reorder(order := [draw.randrange(len(conversation.ids)) for _ in conversation.ids])
                cache.reorder_cache(torch.tensor(order))
                logits = None
                continue
            if what == "images":
                conversation.add_images(likely=0.0 if step == 0 and draw.random() < 0.3 else 0.7)
            else:
                conversation.add_words(1 if what == "word" else draw.randint(1, 4))
            out = model(**conversation.arguments(done), past_key_values=cache, use_cache=True)
            cache, logits, begun = out.past_key_values, out.logits, done
            done = len(conversation.ids[0])
    if logits is None:
        return None
    real = torch.tensor(conversation.real)[:, begun:].bool()
    return relative(logits[real], planned_logits(model, conversation.arguments(0), plan)[:, begun:][real])


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("attention", ATTENTION)
@torch.no_grad()
def test_any_sequence_of_calls_equals_the_reference(attention, plan):
    model, compared = random_model(attention=attention), 0
    with flash_stand_in.installed():
        for seed in range(25):
            torch.manual_seed(seed)
            error = converse(model, plan, random.Random(f"{attention} {plan} {seed}"))
            if error is not None:
                assert error < 1e-4, seed
                compared += 1
    assert compared >= 10
