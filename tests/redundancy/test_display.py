"""Results as one line, as HTML and as plain data; clear errors for what has no such form."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from redundancy.display import LONGEST_LINE, Displayed, plain, short


class Side(Enum):
    LOW = "low"


@dataclass(frozen=True, repr=False)
class Finding(Displayed):
    value: float
    name: str = "a"
    values: object = None
    hidden: object = field(default=None, repr=False)
    _private: object = None


def test_the_line_is_short_whatever_it_holds():
    estimate = Finding(0.123456789, "x" * 1000, np.zeros((100, 7)), hidden=np.zeros(10**6), _private=object())
    assert repr(estimate) == f"Finding(value=0.1235, name={'x' * 45}..., values=array(100, 7))"
    many = Finding(1.0, values={str(i): i for i in range(1000)})
    assert len(repr(many)) <= LONGEST_LINE
    assert "\n" not in repr(Finding(1.0, "a\nb"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1 / 3, "0.3333"),
        (np.float32(2.0), "2"),
        (True, "True"),
        (None, "None"),
        (np.arange(3), "[0, 1, 2]"),
        (np.arange(7), "array(7)"),
        ((1, 0.5), "(1, 0.5)"),
        (list(range(10)), "10 items"),
        (Side.LOW, "low"),
    ],
)
def test_short(value, text):
    assert short(value) == text


def test_plain_data_survives_json():
    estimate = Finding(
        np.float64("inf"), values={"a": (np.int64(1), np.nan), 2: {3, 1}}, hidden=[Side.LOW, Path("p"), True]
    )
    data = json.loads(estimate.to_json())
    assert data == {
        "value": "inf",
        "name": "a",
        "values": {"a": [1, "nan"], "2": [1, 3]},
        "hidden": ["low", "p", True],
    }
    assert plain(estimate) == estimate.to_dict()
    with pytest.raises(TypeError, match="expected numbers, text, arrays or mappings of them, got function"):
        plain(lambda: None)


def test_html_is_escaped():
    text = Finding(1.0, "<script>")._repr_html_()
    assert "<table>" in text
    assert "&lt;script&gt;" in text
    assert "<script>" not in text


def test_format():
    assert f"{Finding(0.25):.1%}" == "25.0%"
    assert f"{Finding(0.25)}" == repr(Finding(0.25))
    with pytest.raises(TypeError, match="no single value"):
        f"{Finding(np.zeros(2)):.2f}"
