"""What all text tokens give to the image: equal to full eager attention, whatever the padding, block or plan."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vlm import attention, skipping
from vlm.measure import text_rows
from vlm.models.random_batches import batch_for
from vlm.models.random_models import IMAGE, random_model

SHAPES = [
    dict(images=(1,), after=(7,)),
    dict(images=(1, 2), after=(6, 4)),
    dict(images=(1, 0, 1), after=(3, 5, 9)),
]


def of_full_maps(model, batch):
    """Largest, largest mean and mean from the eager implementation's maps, sample by sample."""
    with torch.no_grad():
        maps = model(**batch, output_attentions=True).attentions
    image = batch["input_ids"] == IMAGE
    text = batch["attention_mask"].bool() & ~image & (image.cumsum(1) > 0)
    largest, joined, mean = [], [], []
    for b in range(len(image)):
        rows = [m[b][:, text[b]][:, :, image[b]].double().sum(-1) for m in maps]  # (heads, text tokens)
        empty = torch.zeros(rows[0].shape[0], 1, dtype=torch.float64)
        rows = [row if row.shape[1] else empty for row in rows]
        largest.append([row.amax(1).numpy() for row in rows])
        joined.append([float(row.mean(0).max()) for row in rows])
        mean.append([row.mean(1).numpy() for row in rows])
    return np.array(largest), np.array(joined), np.array(mean)


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [1, 1 << 22])
def test_all_rows_equal_full_eager_attention(kind, shape, block, monkeypatch):
    monkeypatch.setattr(text_rows, "_BLOCK", block)
    model = random_model(attention=kind)
    batch = batch_for(model, **shape)
    with torch.no_grad(), attention(model) as record:
        model(**batch)
    expected = of_full_maps(random_model(attention="eager"), batch)
    assert expected[0].max() > 0.05
    for ours, theirs in zip((record.largest(), record.largest_mean(), record.mean()), expected, strict=True):
        assert np.abs(ours - theirs).max() < 1e-5
    assert np.abs(record.reading() - expected[0].max(axis=2)).max() < 1e-5
    assert np.abs(record.reading(heads="mean") - expected[1]).max() < 1e-5
    np.testing.assert_array_equal(record.reading(tokens="answer", heads="mean"), record.ratios().mean(axis=2))


def test_the_answer_token_is_one_of_them():
    model = random_model()
    with torch.no_grad(), attention(model) as record:
        model(**batch_for(model, images=(1, 2), after=(6, 4)))
    assert (record.largest() >= record.ratios() - 1e-6).all()
    assert (record.largest_mean() <= record.largest().max(axis=2) + 1e-6).all()
    assert (record.mean() <= record.largest() + 1e-6).all()


def test_right_padding_changes_nothing():
    model = random_model()
    batch = batch_for(model, images=(1, 1), after=(3, 8))
    ids, mask = batch["input_ids"].clone(), batch["attention_mask"].clone()
    pad = int((mask[0] == 0).sum())
    ids[0], mask[0] = ids[0].roll(-pad), mask[0].roll(-pad)
    with torch.no_grad():
        with attention(model) as left:
            model(**batch)
        with attention(model) as right:
            model(**{**batch, "input_ids": ids, "attention_mask": mask})
    for name in ("largest", "largest_mean", "mean"):
        np.testing.assert_allclose(getattr(left, name)(), getattr(right, name)(), atol=1e-5)


def test_under_a_plan_only_tokens_that_run_count():
    model = random_model()
    batch = batch_for(model, images=(1, 2), after=(6, 4))
    with torch.no_grad():
        with attention(model) as plain:
            model(**batch)
        with skipping(model, "vision:1-3"), attention(model) as planned:
            model(**batch)
        with skipping(model, "freeze:1-2"), attention(model) as frozen:
            model(**batch)
        with skipping(model, "text:2-3"), attention(model) as dropped:
            model(**batch)
    assert (planned.largest()[:, 1:3] == 0).all()
    np.testing.assert_allclose(planned.largest()[:, 0], plain.largest()[:, 0], atol=1e-6)
    np.testing.assert_allclose(frozen.largest()[:, 1], plain.largest()[:, 1], atol=1e-5)
    assert np.isnan(dropped.largest()[:, 2]).all()
    assert np.isnan(dropped.reading()[:, 2]).all()


def test_a_prompt_without_an_image_reads_nothing():
    model = random_model()
    with torch.no_grad(), attention(model) as seen:
        model(**batch_for(model, images=(0,)))
    for values in (seen.largest(), seen.largest_mean(), seen.mean()):
        assert (values == 0).all()


def test_the_answer_token_alone_is_as_before():
    model = random_model()
    batch = batch_for(model, images=(1,), after=(7,))
    with torch.no_grad(), attention(model) as both, attention(model, tokens="answer") as alone:
        model(**batch)
    np.testing.assert_array_equal(alone.ratios(), both.ratios())
    assert "largest" not in alone.table().columns
    with pytest.raises(ValueError, match="got one of the answer token alone"):
        alone.largest()
    with pytest.raises(ValueError, match="tokens: expected 'all' or 'answer'"), attention(model, tokens="some"):
        pass
