"""Records and results of measurements show themselves: one short line, an HTML table, a dictionary for JSON."""

from __future__ import annotations

import json

import pytest

import vlm
from redundancy.display import LONGEST_LINE
from vlm.measure.records import AttentionMeasurement, DistanceMeasurement, check_attention, check_distances
from vlm.models.random_batches import batch_for
from vlm.models.random_models import random_model

CONTEXTS = {
    "ProbeRecord": lambda model: vlm.probe(model, thresholds=[0.01 * i for i in range(1, 60)]),
    "AttentionRecord": vlm.attention,
    "RemovalRecord": vlm.removal,
    "LensRecord": vlm.lens,
}
CONTENTS = {"ProbeRecord": "table", "AttentionRecord": "table", "RemovalRecord": "table", "LensRecord": "result"}


@pytest.fixture(scope="module")
def model():
    return random_model(layers=2)


def check_display(value, name):
    line = repr(value)
    assert line.startswith(name + "(")
    assert "\n" not in line
    assert len(line) <= LONGEST_LINE
    assert f"{value}" == line
    assert name in value._repr_html_()
    return json.loads(value.to_json())


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_record_shows_its_size_and_not_its_contents(model, name):
    with CONTEXTS[name](model) as record:
        assert check_display(record, name)["samples"] == 0
        model(**batch_for(model, images=(1, 1), after=(4, 4)))
    assert "samples=2" in repr(record)
    assert "tensor" not in repr(record)
    saved = check_display(record, name)
    assert (saved["samples"], saved["depth"]) == (2, 2)
    assert CONTENTS[name] in saved


def test_results_show_themselves(model):
    batch = batch_for(model, images=(1, 1), after=(4, 4))
    with vlm.lens(model) as record:
        model(**batch)
    check_display(record.result(), "Lens")
    assert check_display(vlm.Noise(2.0), "Noise") == {"scale": 2.0, "seed": 0, "draws": 4, "deviation": None}
    assert repr(vlm.Noise()) == "Noise(scale=3, seed=0, draws=4, deviation=None)"
    assert check_display(vlm.trace(model, batch, vlm.Noise(), targets=("last",)), "Trace")["targets"] == ["last"]
    result = vlm.consequences(model, [batch], kinds=("freeze",))
    assert check_display(result, "Consequences")["gains"]["head"] == result.gains.head
    check_display(result.gains, "Gains")


def test_what_a_record_can_be_used_for(model):
    with vlm.probe(model) as record, vlm.attention(model) as seen:
        model(**batch_for(model))
    assert isinstance(record, DistanceMeasurement)
    assert isinstance(seen, AttentionMeasurement)
    assert not isinstance(record, AttentionMeasurement)
    assert not isinstance(seen, DistanceMeasurement)
    with pytest.raises(TypeError, match=r"record: expected distances between layers .* got AttentionRecord"):
        check_distances(seen)
    with pytest.raises(TypeError, match=r"attention: expected visual attention ratios .* got ProbeRecord"):
        check_attention(record)
    with pytest.raises(TypeError, match=r"got float$"):
        check_distances(0.5)
