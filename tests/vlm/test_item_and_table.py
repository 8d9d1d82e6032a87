"""Items and tables show themselves: short lines, HTML that is escaped and bounded, plain dictionaries."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from vlm.item import Failure, Item
from vlm.table import Table


def test_a_table_shows_at_most_twenty_rows_and_escapes_its_text():
    table = Table({"name": np.array(["<b>&"] * 30), "value": np.linspace(0, 1, 30)})
    page = table._repr_html_()
    assert page.count("<tr>") == 1 + 20
    assert "30 rows, the first 20 shown" in page
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page
    assert repr(table) == "Table(30 rows: name, value)"
    assert "shown" not in Table({"a": np.arange(3)})._repr_html_()


def test_a_table_is_a_dictionary_of_plain_columns():
    table = Table({"layer": np.arange(2), "ratio": np.array([0.5, np.nan])})
    assert table.to_dict() == {"layer": [0, 1], "ratio": [0.5, "nan"]}
    assert json.loads(table.to_json()) == table.to_dict()


def test_an_item_shows_its_question_and_no_pixels():
    item = Item("gqa", "7", "a", "what " * 40, (Image.new("RGB", (4, 3)),), answers=("blue",))
    assert repr(item).startswith("Item(gqa/7: 'what what")
    assert repr(item).endswith("...', open, 1 image)")
    assert item.to_dict()["images"] == ["RGB 4x3"]
    assert json.loads(item.to_json())["answers"] == ["blue"]
    assert "image: broken" in repr(Failure("gqa", "8", "image: broken"))
