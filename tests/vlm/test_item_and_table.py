"""Items and tables show themselves: short lines, HTML that is escaped and bounded, plain dictionaries."""

from __future__ import annotations

import csv
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
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


def test_row_14_no_cell_of_a_csv_is_a_formula(tmp_path):
    cells = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "'=1", "plain", "a=b", "'quoted'", "\uff1d1"]
    table = Table({"text": np.array(cells), "number": -np.arange(len(cells), dtype=float)})
    path = table.save(tmp_path / "table.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert not [text for text, _ in rows if text.strip()[:1] in set("=+-@\uff1d")]
    assert rows[1][1] == "-1.0"
    assert Table.load(path)["text"].tolist() == cells


def test_tables_saved_to_one_path_at_once_do_not_meet(tmp_path):
    table = Table({"layer": np.arange(200)})
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: table.save(tmp_path / "table.csv"), range(40)))
    assert len(Table.load(tmp_path / "table.csv")) == 200
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_row_12_an_empty_table_is_written_and_read(tmp_path):
    assert len(Table.load(Table({}).save(tmp_path / "empty.csv"))) == 0
    (tmp_path / "nothing.csv").write_text("")
    assert len(Table.load(tmp_path / "nothing.csv")) == 0
    (tmp_path / "latin.csv").write_bytes(b"name\ncaf\xe9\n")
    with pytest.raises(ValueError, match=r"path: expected a table as Table\.save writes it"):
        Table.load(tmp_path / "latin.csv")


def test_every_block_of_a_table_that_is_folded_says_which_row_is_which():
    rows = [
        {"dataset": d, "plan": p, "first": 0.1 * i, "second": 0.2 * i, "third": 0.3 * i}
        for i, (d, p) in enumerate((d, p) for d in ("tiny", "own") for p in ("vision:0-4", "vision:6-"))
    ]
    blocks = Table.from_rows(rows).fitted(32).split("\n\n")
    assert len(blocks) == 3
    for block in blocks:
        assert len({tuple(line.split()[:2]) for line in block.splitlines()}) == 5
        assert max(map(len, block.splitlines())) <= 32
    # Where no three columns tell them apart the first one is repeated.
    assert Table.from_rows([rows[0], rows[0], {**rows[0], "third": 1.0}]).fitted(20)
