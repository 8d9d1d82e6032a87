"""Records and rankings show themselves in one line; measuring works with gradients switched on."""

from __future__ import annotations

import json

import numpy as np
import pytest

import vlm
from redundancy.display import LONGEST_LINE
from vlm import selectors
from vlm.models.random_batches import batch_for
from vlm.models.random_models import random_model
from vlm.selectors.equal_cost import Ladder
from vlm.selectors.published_choices import PUBLISHED


def check_display(value):
    line = repr(value)
    assert line.startswith(type(value).__name__ + "(")
    assert "\n" not in line
    assert len(line) <= LONGEST_LINE
    assert type(value).__name__ in value._repr_html_()
    return json.loads(value.to_json())


@pytest.fixture(scope="module")
def seen():
    model = random_model(layers=3)
    # No torch.no_grad() here: the records do not need it.
    with selectors.observing(model) as observations:
        check_display(observations)
        model(**batch_for(model, images=(1, 1), after=(4, 4)))
    return observations


def test_records_show_their_size_and_give_their_numbers(seen):
    saved = check_display(seen)
    assert saved["similarity"]["layer_cosines"] == seen.similarity.layer_cosines().tolist()
    assert saved["ranks"]["ranks"] == seen.ranks.ranks().tolist()
    assert saved["tokens"]["scores"]["1"]["last_token"][0] == seen.tokens.last_token(1)[0].tolist()
    for record in (seen.similarity, seen.ranks, seen.tokens):
        assert "samples=2" in repr(record)
        check_display(record)
    if seen.encoder is not None:
        check_display(seen.encoder)


def test_rankings_and_choices_show_themselves():
    ranking = selectors.random_order(5, rng=0)
    assert check_display(ranking)["order"] == list(ranking.order)
    check_display(PUBLISHED[0])
    assert repr(Ladder("a", "b", [vlm.SkipPlan()])).startswith("Ladder(")


def test_the_theorys_rankings_name_a_wrong_record(seen):
    with pytest.raises(TypeError, match=r"record: expected distances .* got AttentionRecord"):
        selectors.redundancy(seen.attention)
    with pytest.raises(TypeError, match=r"record: expected visual attention ratios .* got ProbeRecord"):
        selectors.small_attention(seen.probe)
    assert np.isfinite(selectors.small_attention(seen.attention).scores).all()
