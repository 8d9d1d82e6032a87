"""Where items come from: hub ids and aliases, folders, single files, your own JSONL; the error messages."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image as PILImage

from tests.support.make_datasets import image, mmmu_row, parquet, png, write
from vlm.datasets import DATASETS, read
from vlm.datasets.catalogue import MMMU_SUBJECTS
from vlm.datasets.images import content_id, rgb_image
from vlm.item import Failure, Item


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


class Hub:
    """Stands for `datasets.load_dataset`: has some ids, and records the requests."""

    def __init__(self, tables: dict[str, list[dict[str, Any]]]) -> None:
        self.tables, self.requests = tables, []

    def __call__(self, name: str, config: str | None = None, **settings: Any) -> Any:
        self.requests.append((name, config, settings["split"], settings["streaming"]))
        if name not in self.tables:
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{name}' doesn't exist on the Hub")
        rows = [{**row, "id": f"{config or 'x'}_{row['id']}"} if "id" in row else row for row in self.tables[name]]
        table = datasets.Dataset.from_list(rows)
        return table.to_iterable_dataset() if settings["streaming"] else table


ROW = {"question": "What?", "options": ["a", "b"], "answer": "1", "image": image(1)}


def test_aliases_are_tried_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub({"lmms-lab/ai2d": [ROW]})
    monkeypatch.setattr(datasets, "load_dataset", hub)
    (item,) = read("ai2d")
    assert isinstance(item, Item)
    assert hub.requests == [("lmms-lab-encoder/ai2d", None, "test", False), ("lmms-lab/ai2d", None, "test", False)]
    hub.requests.clear()
    list(read("ai2d", source="lmms-lab/ai2d", streaming=True))
    assert hub.requests == [("lmms-lab/ai2d", None, "test", True)]


def test_no_id_loads_says_why_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", Hub({}))
    with pytest.raises(OSError, match="none of its ids loads") as caught:
        read("ai2d")
    for name in ("lmms-lab-encoder/ai2d: DatasetNotFoundError", "lmms-lab/ai2d: DatasetNotFoundError"):
        assert name in str(caught.value)


def test_mmmu_puts_the_subjects_of_its_own_copy_together_in_the_stated_order(monkeypatch: pytest.MonkeyPatch) -> None:
    row = mmmu_row(1, question="<image 1>?", options="['a', 'b']", answer="A", image_1=image(1))
    hub = Hub({"MMMU/MMMU": [row]})
    monkeypatch.setattr(datasets, "load_dataset", hub)
    items = list(read("mmmu"))
    assert [config for name, config, *_ in hub.requests if name == "MMMU/MMMU"] == list(MMMU_SUBJECTS)
    assert [item.id for item in items] == [f"{subject}_validation_Art_1" for subject in MMMU_SUBJECTS]
    assert list(MMMU_SUBJECTS) == sorted(MMMU_SUBJECTS)
    assert len(MMMU_SUBJECTS) == 30


def test_every_declaration_names_a_place_or_says_what_it_needs() -> None:
    for dataset in DATASETS:
        assert dataset.ids or dataset.name == "visual7w"
        assert all(name.count("/") == 1 for name in dataset.ids)
        assert dataset.licence


def test_one_file_without_the_hubs_marks(tmp_path: Path) -> None:
    cells = [{"bytes": png(1), "path": None}, {"bytes": b"", "path": "beside.png"}]
    (tmp_path / "beside.png").write_bytes(png(2))
    table = pyarrow.table(
        {
            "question": ["What?", "Which?"],
            "options": [["a", "b"], ["c", "d"]],
            "answer": ["1", "0"],
            "image": pyarrow.array(cells, pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "mine.parquet")
    for streaming in (False, True):
        items = list(read("ai2d", source=tmp_path / "mine.parquet", streaming=streaming))
        assert [item.answers for item in items if isinstance(item, Item)] == [("B",), ("A",)]


def test_json_lines_with_image_paths(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(png(3))
    rows = [{"question": "What?", "answer": "3", "image": name} for name in ("one.png", "two.png")]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    first, second = read("realworldqa", source=tmp_path)
    assert isinstance(first, Item)
    assert second == Failure("realworldqa", "1", "image: expected a file, got 'two.png', which does not exist")


@pytest.mark.parametrize(
    ("name", "settings", "error", "words"),
    [
        ("coco", {}, ValueError, "expected one of gqa, vqav2, .*, tiny, jsonl, got 'coco'"),
        ("ai2d", {"limit": 0}, ValueError, "limit: expected an integer of at least 1, got 0"),
        ("ai2d", {"source": "/no/such"}, FileNotFoundError, "source: expected a file, a folder"),
        ("ai2d", {"source": "./ai2d"}, FileNotFoundError, "source: expected a file, a folder"),
        ("visual7w", {}, FileNotFoundError, "expected source=, a folder with dataset_v7w_telling.json"),
        ("jsonl", {}, FileNotFoundError, "expected source=, a file with one JSON object per line"),
        ("ai2d", {"limit": 3, "seed": 1, "streaming": True}, ValueError, "a stream can be cut but not sampled"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_read(
    name: str, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        read(name, **settings)


def test_a_folder_without_the_split_or_the_columns_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, "ai2d")
    with pytest.raises(FileNotFoundError, match="files of split 'train' in"):
        read("ai2d", source=folder, split="train")
    with pytest.raises(ValueError, match=r"expected columns dataset, question, .* question_type missing"):
        list(read("ocrbench", source=folder))
    with pytest.raises(FileNotFoundError, match="of configuration 'testdev_balanced_instructions'"):
        read("gqa", source=folder, split="test")


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, "ai2d")
    (file,) = (folder / "data").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match="ai2d: expected readable parquet files"):
        list(read("ai2d", source=folder))
    (tmp_path / "dataset_v7w_telling.json").write_text('{"images": [{"filename": ')
    with pytest.raises(ValueError, match="visual7w: expected images"):
        read("visual7w", source=tmp_path)
    (tmp_path / "dataset_v7w_telling.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match="questions of split 'val'"):
        read("visual7w", source=tmp_path)


def test_your_own_questions(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "b.png").write_bytes(png(2))
    lines = [
        {"id": "x", "image": "a.png", "question": "Which?", "options": ["red", "blue"], "answer": "blue"},
        {"image": ["a.png", "b.png"], "question": "Same?", "answer": "no", "image_id": "pair"},
        {"image": "a.png", "question": "What?", "answer": ["cat", "kitten"], "details": {"page": 3}},
        {"question": "2 +\u2028 2?", "answer": 4, "kind": "math"},
        {"image": "c.png", "question": "What?", "answer": "x"},
        {"image": "a.png", "question": "What?", "answers": "cat"},
        {"image": "a.png", "question": "Which?", "options": ["red", "blue"], "answer": "green"},
        ["no", "object"],
        {"image": "a.png", "question": "What?"},
    ]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + '\n\n{"question": \n'
    (tmp_path / "mine.jsonl").write_text("\ufeff" + text, encoding="utf-8")
    found = list(read("jsonl", source=tmp_path / "mine.jsonl"))
    items = [entry for entry in found if isinstance(entry, Item)]
    assert [(i.id, i.kind, i.answers, len(i.images)) for i in items] == [
        ("x", "choice", ("B",), 1),
        ("line 2", "yes/no", ("no",), 2),
        ("line 3", "open", ("cat", "kitten"), 1),
        ("line 4", "math", ("4",), 0),
        ("line 9", "open", (), 1),  # unlabelled
    ]
    assert items[0].image_id == items[2].image_id == content_id([png(1)])
    assert items[1].image_id == "pair"
    assert items[2].details == {"page": "3"}
    reasons = {entry.id: entry.reason for entry in found if isinstance(entry, Failure)}
    assert reasons["line 5"] == "image: expected a file, got 'c.png', which does not exist"
    assert reasons["line 6"] == "row: expected a column 'answer', got image, question, answers, id"
    assert reasons["line 7"] == "answer: expected one of A, B or an option's text, got 'green'"
    assert reasons["line 8"] == "line 8: expected a JSON object, got list"
    assert reasons["line 11"].startswith("line 11: expected JSON, got ")
    assert len(found) == 10


def test_lines_of_your_own_that_no_answer_could_get_right_are_failures(tmp_path: Path) -> None:
    lines = [
        {"question": "Which? A. red B. blue", "answer": "b", "kind": "choice"},
        {"question": "Which?", "answer": "red", "kind": "choice"},
        {"question": "Which?", "answer": "E", "kind": "choice"},
        {"question": "Which?", "options": ["red", "blue"], "answer": "red", "kind": "open"},
        {"question": "Which?", "options": ["1", "2"], "answer": "2", "kind": "math"},
        {"question": "What?", "answer": "x", "details": None},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join([*map(json.dumps, lines), "[" * 100_000]))
    found = list(read("jsonl", source=path))
    assert [e.answers if isinstance(e, Item) else e.id for e in found] == [
        ("B",),
        "line 2",
        "line 3",
        "line 4",
        ("B",),
        "line 6",
        "line 7",
    ]


def test_two_lines_with_one_id_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"id": 1}\n{"id": "1"}\n')
    with pytest.raises(ValueError, match="expected ids that differ, got '1' more than once"):
        read("jsonl", source=tmp_path / "mine.jsonl")


def test_images_of_every_kind_become_rgb_and_upright() -> None:
    for mode in ("1", "L", "P", "RGBA", "CMYK"):
        stored = PILImage.new("RGB", (4, 2), (200, 0, 0)).convert(mode)
        assert rgb_image(stored).mode == "RGB"
    turned = PILImage.new("RGB", (4, 2))
    exif = turned.getexif()
    exif[0x0112] = 6  # turn by 90 degrees

    buffer = io.BytesIO()
    turned.save(buffer, "JPEG", exif=exif)
    assert rgb_image(buffer.getvalue()).size == (2, 4)


@pytest.mark.parametrize("stored", [None, {}, {"bytes": None, "path": None}, {"bytes": b""}, b"", ""])
def test_no_image(stored: Any) -> None:
    with pytest.raises(ValueError, match="image: expected an image, got none"):
        rgb_image(stored)


@pytest.mark.parametrize("cut", [1, 20, 40, 60, 70])
def test_a_cut_image_is_an_error_and_says_nothing_of_this_machine(cut: int) -> None:
    with pytest.raises(ValueError, match="image: expected a readable image") as caught:
        rgb_image({"bytes": png(1, size=(64, 64))[:cut], "path": "x.png"})
    assert "0x" not in str(caught.value)


def test_an_image_larger_than_memory_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(PILImage, "MAX_IMAGE_PIXELS", 10)
    rows = [{"question": "What?", "options": ["a", "b"], "answer": "1", "image": image(1)}]
    features = {
        "question": datasets.Value("string"),
        "options": datasets.List(datasets.Value("string")),
        "answer": datasets.Value("string"),
        "image": datasets.Image(),
    }
    parquet(tmp_path / "test.parquet", rows, features)
    (failure,) = read("ai2d", source=tmp_path)
    assert isinstance(failure, Failure)
    assert "DecompressionBombError" in failure.reason


def test_a_declaration_shows_itself_without_its_function() -> None:
    gqa = next(d for d in DATASETS if d.name == "gqa")
    assert "read=" not in repr(gqa)
    assert repr(gqa).startswith("Dataset(name=gqa, places=")
    facts = gqa.to_dict()
    assert "read" not in facts
    assert (facts["task_group"], facts["places"][0]["id"]) == ("General VQA", "lmms-lab-encoder/GQA")


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_row_6_grey_of_16_bits_is_scaled_and_not_clipped(mode: str) -> None:
    ramp = PILImage.new("I", (4, 1))
    ramp.putdata([0, 257, 32896, 65535])
    stored = ramp if mode == "I" else PILImage.frombytes("I;16", (4, 1), b"\0\0\1\1\x80\x80\xff\xff")
    stored = PILImage.frombytes("I;16B", (4, 1), b"\0\0\1\1\x80\x80\xff\xff") if mode == "I;16B" else stored
    assert [rgb_image(stored).getpixel((i, 0)) for i in range(4)] == [(v, v, v) for v in (0, 1, 128, 255)]
    buffer = io.BytesIO()
    PILImage.frombytes("I;16", (4, 1), b"\0\0\1\1\x80\x80\xff\xff").save(buffer, "PNG")
    assert [rgb_image(buffer.getvalue()).getpixel((i, 0))[0] for i in range(4)] == [0, 1, 128, 255]


def test_row_6_grey_without_a_known_range_fails() -> None:
    for value in (-1, 70_000):
        with pytest.raises(ValueError, match=r"image: expected grey values from 0 to (255|65535), got"):
            rgb_image(PILImage.new("I", (1, 1), value))
    with pytest.raises(ValueError, match="image: expected grey values from 0 to 255"):
        rgb_image(PILImage.new("F", (1, 1), 300.0))
    assert rgb_image(PILImage.new("F", (1, 1), 0.5)).getpixel((0, 0)) == (128, 128, 128)
    assert rgb_image(PILImage.new("F", (1, 1), 200.0)).getpixel((0, 0)) == (200, 200, 200)


def test_row_6_a_pil_image_is_turned_as_its_file_is() -> None:
    stored = PILImage.new("RGB", (4, 2))
    stored.getexif()[0x0112] = 6
    assert rgb_image(stored).size == (2, 4)


@pytest.mark.parametrize(("ink", "ground"), [((0, 0, 0), 255), ((250, 250, 250), 0), ((200, 30, 30), 255)])
def test_row_6_what_is_drawn_on_transparent_ground_is_seen(ink: tuple[int, int, int], ground: int) -> None:
    stored = PILImage.new("RGBA", (3, 1), (0, 0, 0, 0))
    stored.putpixel((1, 0), (*ink, 255))
    seen = rgb_image(stored)
    assert [seen.getpixel((i, 0)) for i in range(3)] == [(ground,) * 3, ink, (ground,) * 3]
    palette = PILImage.new("P", (2, 1), 0)
    palette.putpalette([0, 0, 0, 200, 30, 30])
    palette.putpixel((1, 0), 1)
    palette.info["transparency"] = 0
    assert rgb_image(palette).getpixel((0, 0)) == (255, 255, 255)


def test_row_6_white_letters_with_a_black_dot_or_grey_edges_are_seen() -> None:
    for inks in (((255, 255, 255, 255),) * 5 + ((0, 0, 0, 255),), ((255, 255, 255, 255), (120, 120, 120, 100))):
        stored = PILImage.new("RGBA", (8, 1), (0, 0, 0, 0))
        for place, ink in enumerate(inks):
            stored.putpixel((place, 0), ink)
        seen = rgb_image(stored)
        ground = seen.getpixel((7, 0))
        assert all(abs(seen.getpixel((i, 0))[0] - ground[0]) >= 40 for i in range(len(inks)))


def test_row_9_an_answer_that_is_a_letter_and_another_option_is_refused(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"question": "Which vertex?", "options": ["C", "A", "B"], "answer": "A"},
        {"question": "Which vertex?", "options": ["C", "A", "B"], "answer_index": 1},
        {"question": "Which vertex?", "options": ["A", "B", "C"], "answer": "B"},
        {"question": "Which vertex?", "options": ["c", "a"], "answer": "a"},
        {"question": "Which vertex?", "options": ["C", "A", "B"], "answer_index": 3},
        {"question": "Which?", "options": ["red", "red"], "answer": "red"},
        {"question": "Which?", "options": ["Blue", "red"], "answer": "blue"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    found = list(read("jsonl", source=path))
    assert [e.answers if isinstance(e, Item) else e.reason.partition(":")[0] for e in found] == [
        "answer",
        ("B",),
        ("B",),
        "answer",
        "answer_index",
        "answer",
        ("A",),
    ]
    assert isinstance(found[0], Failure)
    assert 'position of the right option, counted from 0, as "answer_index"' in found[0].reason


def test_row_3_the_digest_of_an_item_follows_texts_and_pictures(tmp_path: Path) -> None:
    row = {"id": "1", "image": "a.png", "image_id": "n", "question": "What?", "answer": "x", "details": {"page": 1}}

    def digest(**changes: Any) -> str:
        (tmp_path / "mine.jsonl").write_text(json.dumps({**row, **changes}))
        (entry,) = read("jsonl", source=tmp_path / "mine.jsonl", decoded=lambda _: False)
        return entry.digest

    (tmp_path / "a.png").write_bytes(png(1))
    first = digest()
    assert digest() == first
    changes: list[dict[str, Any]] = [
        {"question": "Which?"},
        {"answer": "y"},
        {"image_id": "m"},
        {"details": {"page": 2}},
    ]
    assert len({first, *(digest(**change) for change in changes)}) == 5
    (tmp_path / "a.png").write_bytes(png(2))
    assert digest() != first
    broken = {digest(answer=None), digest(answer=None, question="Which?"), digest(image="b.png")}
    assert len(broken) == 3


def test_row_14_a_file_in_another_encoding_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes('{"question": "a", "answer": "b"}\n{"question": "caf\u00e9"}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"expected UTF-8 in .*mine.jsonl, got byte 0xe9 in line 2; convert it"):
        read("jsonl", source=path)
    with pytest.raises(ValueError, match="NUL character"):
        read("jsonl", source="a\0b")


def test_row_14_repeated_ids_are_found_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(f'{{"id": {i % 200_000}}}\n' for i in range(200_001)))
    with pytest.raises(ValueError, match="got '0' more than once"):  # in quadratic time this would take minutes
        read("jsonl", source=path)


LINE: dict[str, Any] = {"question": "Which?", "answer": "red", "image": "a.png"}
VERTICES = {"options": ["C", "A", "B"]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image": "x" * 300}, "cannot be read: File name too long"),
        ({"image": "data:image/png;base64," + "A" * 9000}, "expected a file, got 'data:image/png;base64,AAAA"),
        ({"image": 5}, "expected bytes of a file, its name or a PIL image, got int"),
        ({"image": None, "images": ["a.png"]}, ""),
        ({"images": ["a.png"]}, "image: expected a column 'image' (null for none), got 'images'"),
        ({"picture": "a.png"}, "image: expected a column 'image' (null for none), got 'picture'"),
        ({"choices": ["red", "blue"]}, "options: expected a column 'options' (null for none), got 'choices'"),
        ({"answer": float("nan")}, "answer: expected text or a number, got nan"),
        ({"answer": True}, "answer: expected text or a number, got True"),
        ({"answer": [["red"]]}, "answer: expected text or a number, got ['red']"),
        ({"answer": " "}, "answer: expected text or a number, got ' '"),
        ({"options": ["red", None]}, "options: expected text or a number, got None"),
        ({"options": ["red", ""]}, "options: expected text or a number, got ''"),
        ({**VERTICES, "answer": "C", "answer_index": 1}, "answer: 'C' is not the option at answer_index 1"),
        ({**VERTICES, "answer": "A", "answer_index": 1}, ""),
        ({**VERTICES, "answer": "A", "answer_index": 0}, ""),
        ({"kind": "yes/no", "answer": "maybe"}, "answer: expected yes or no"),
        ({"details": ["page"]}, "details: expected names and values, got ['page']"),
        ({"image_id": float("nan")}, "image_id: expected text or a number, got nan"),
        ({"image_id": ""}, "image_id: expected text or a number, got ''"),
        ({"question": "\ud800?"}, "half of a surrogate pair"),
        ({"image": {"path": "a.png"}, "broken": "a column of one's own"}, ""),
    ],
)
def test_rows_9_and_14_a_line_that_would_be_scored_wrongly_in_silence_fails(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    row = {**LINE, **changes}
    if {"images", "picture"} & changes.keys() and "image" not in changes:
        del row["image"]
    (tmp_path / "mine.jsonl").write_text(json.dumps(row))
    (entry,) = read("jsonl", source=tmp_path / "mine.jsonl")
    assert isinstance(entry, Failure) == bool(reason), entry
    assert not isinstance(entry, Failure) or reason in entry.reason
    assert not isinstance(entry, Failure) or len(entry.reason) < 300


def test_row_9_a_picture_or_a_reference_under_another_name_is_not_passed_over(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        *({"question": "q?", "answer": "x", name: "a.PNG"} for name in ("file", "filename", "pixels")),
        *({"question": "q?", name: "x"} for name in ("gold", "target", "reference", "ground_truth", "correct")),
        *({"question": "q?", "answer": "x", "id": name} for name in ([1], {"a": 1}, True)),
        *({"question": "q?", "answer": "x", "id": name} for name in (None, None, 3)),
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    entries = list(read("jsonl", source=tmp_path / "mine.jsonl"))
    reasons = [entry.reason.partition(",")[0] for entry in entries if isinstance(entry, Failure)]
    assert reasons == [
        *["image: expected a column 'image' (null for none)"] * 3,
        *["row: expected a column 'answer'"] * 5,
        *["id: expected text or a number"] * 3,
    ]
    assert [entry.id for entry in entries[-3:]] == ["line 12", "line 13", "3"]


def test_a_name_that_comes_twice_in_one_line_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(
        '{"question": "a?", "question": "b?", "answer": 1.0}\n{"question": "a?", "answer": 1.0}'
    )
    first, second = read("jsonl", source=tmp_path / "mine.jsonl")
    assert isinstance(first, Failure)
    assert "'question' twice" in first.reason
    assert isinstance(second, Item)
    assert second.answers == ("1",)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_row_14_wide_encodings_are_one_line(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "mine.jsonl").write_bytes(json.dumps(LINE).encode(encoding))
    with pytest.raises(ValueError, match="iconv -f utf-16 -t utf-8"):
        read("jsonl", source=tmp_path / "mine.jsonl")


def test_row_6_values_of_fewer_than_16_bits_are_not_made_black() -> None:
    ramp = np.tile(np.arange(16), (16, 1))
    assert rgb_image(PILImage.fromarray((ramp * 17).astype(np.int32))).getpixel((15, 0)) == (255, 255, 255)
    assert rgb_image(PILImage.fromarray((ramp * 4369).astype(np.int32))).getpixel((15, 0)) == (255, 255, 255)
    assert rgb_image(PILImage.fromarray(np.zeros((4, 4), np.uint16))).getpixel((0, 0)) == (0, 0, 0)
    for values in ((ramp * 17).astype(np.uint16), (ramp * 273).astype(np.uint16), (ramp * 273).astype(np.int32)):
        with pytest.raises(ValueError, match="expected grey values up to 65535, got none above"):
            rgb_image(PILImage.fromarray(values))
    grey = PILImage.fromarray(np.full((4, 4), 90, np.uint8))
    assert rgb_image(PILImage.merge("LA", (grey, grey)).convert("La")).mode == "RGB"


def test_row_3_a_pictures_colours_and_orientation_are_part_of_its_content() -> None:
    def painted(colours: list[int]) -> PILImage.Image:
        image = PILImage.new("P", (2, 2), 0)
        image.putpalette(colours + [0] * 765)
        return image

    assert content_id([painted([255, 0, 0])]) != content_id([painted([0, 255, 0])])
    turned, data = PILImage.Exif(), io.BytesIO()
    turned[274] = 6
    PILImage.new("RGB", (4, 2)).save(data, "PNG", exif=turned)
    assert content_id([PILImage.open(data)]) != content_id([PILImage.new("RGB", (4, 2))])
    clear = PILImage.new("L", (2, 2))
    clear.info["transparency"] = 0
    assert content_id([clear]) != content_id([PILImage.new("L", (2, 2))])
