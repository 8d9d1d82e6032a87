"""Every loader on small files with the real schemas: items as stated, a broken image or row a listed failure."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest

from tests.support.make_datasets import WRITERS, png, write
from vlm.datasets import DATASETS, GROUPS, group_of, read
from vlm.item import Failure, Item

NO_FORMAT = "image: expected a readable image, got bytes of no known format"
NONE = "image: expected an image, got none"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All ten data sets, one folder each."""
    base = tmp_path_factory.mktemp("datasets")
    for name in WRITERS:
        write(base, name)
    return base


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and no cache in the home folder."""
    import datasets

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def read_all(folder: Path, name: str, **settings: object) -> tuple[dict[str, Item], dict[str, str]]:
    """Items by id, and reasons of failures by id."""
    entries = list(read(name, source=folder / name, **settings))  # type: ignore[arg-type]
    assert all(entry.dataset == name for entry in entries)
    items = {entry.id: entry for entry in entries if isinstance(entry, Item)}
    failures = {entry.id: entry.reason for entry in entries if isinstance(entry, Failure)}
    assert len(items) + len(failures) == len(entries)  # no id twice
    return items, failures


def test_gqa_joins_questions_with_images(folder: Path) -> None:
    items, failures = read_all(folder, "gqa")
    assert [(i.id, i.image_id, i.answers, i.kind) for i in items.values()] == [
        ("201", "n1", ("yes",), "yes/no"),
        ("202", "n1", ("red",), "open"),
        ("203", "n2", ("man",), "open"),
    ]
    assert items["202"].images[0].getpixel((0, 0)) == items["201"].images[0].getpixel((0, 0)) == (37, 91, 17)
    assert items["203"].images[0].getpixel((0, 0)) == (74, 182, 34)
    assert failures == {"204": NO_FORMAT, "205": NONE}


def test_vqav2_keeps_ten_annotators_and_reads_all_files_of_the_split(folder: Path) -> None:
    items, failures = read_all(folder, "vqav2")
    assert list(items) == ["42000", "42001", "43000"]
    assert items["42000"].answers == ("cake",) * 6 + ("a cake",) * 3 + ("pie",)
    assert [i.kind for i in items.values()] == ["open", "yes/no", "open"]
    assert [i.image_id for i in items.values()] == ["42", "42", "43"]
    assert failures == {"44000": NO_FORMAT}
    other, _ = read_all(folder, "vqav2", split="test")
    assert list(other) == ["43000"]


def test_visual7w_hides_where_the_right_option_is(folder: Path) -> None:
    items, failures = read_all(folder, "visual7w")
    for number, item in items.items():
        assert sorted(item.options) == [f"Right {number}.", "Wrong 0.", "Wrong 1.", "Wrong 2."]
        assert item.options["ABCD".index(item.answers[0])] == f"Right {number}."
    # Drawn from the id by SHA-256: these letters hold on every machine.
    assert "".join(item.answers[0] for item in items.values()) == "ADBAABBA"
    assert {i.image_id for i in items.values()} == {"v7w_1.jpg"}
    assert failures == {
        "30": NO_FORMAT,
        "40": "image: expected a file, got 'images/v7w_4.jpg', which does not exist",
    }


def test_visual7w_puts_the_right_option_everywhere_equally_often(tmp_path: Path) -> None:
    pair = {"question": "?", "answer": "r", "multiple_choices": ["1", "2", "3"], "type": "what"}
    entry = {"filename": "a.jpg", "split": "val", "qa_pairs": [{**pair, "qa_id": i} for i in range(2000)]}
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(png(1, size=(1, 1)))
    (tmp_path / "dataset_v7w_telling.json").write_text(json.dumps({"images": [entry]}))
    letters = [i.answers[0] for i in read("visual7w", source=tmp_path) if isinstance(i, Item)]
    assert all(400 < letters.count(letter) < 600 for letter in "ABCD")  # 500 +- 5 standard deviations


def test_ai2d_turns_an_index_into_a_letter(folder: Path) -> None:
    items, failures = read_all(folder, "ai2d")
    assert {name: i.answers for name, i in items.items()} == {"0": ("C",), "1": ("A",), "5": ("B",)}
    assert items["0"].options == ("root", "stem", "leaf", "flower")
    assert items["0"].image_id == items["1"].image_id != items["5"].image_id  # named by content
    assert items["5"].images[0].mode == "RGB"  # stored in grey
    assert failures == {"2": "answer: expected an index below 4, got 4", "3": NO_FORMAT, "4": NONE}


def test_ocrbench_keeps_the_subset(folder: Path) -> None:
    items, failures = read_all(folder, "ocrbench")
    assert [(i.answers, i.details["dataset"], i.kind) for i in items.values()] == [
        (("CENTRE",), "IIIT5K", "ocr"),
        (("x ^ { 2 } + X",), "HME100k", "ocr"),
    ]
    assert list(failures) == ["2"]


def test_textvqa(folder: Path) -> None:
    items, failures = read_all(folder, "textvqa")
    assert items["34602"].answers == ("nous les gosses", "dakota") + ("dakota digital",) * 8
    assert items["34602"].image_id == items["34603"].image_id == "im0"
    assert list(failures) == ["34604"]


def test_mmmu_reads_options_as_data_and_images_in_order(folder: Path) -> None:
    items, failures = read_all(folder, "mmmu")
    first, second, third = items.values()
    assert first.options == ("Manet", "Monet's")
    assert (first.answers, first.kind, first.details["subject"]) == (("B",), "choice", "Art")
    assert second.options == ("<image 3>", "none", "both <image 1>")
    assert [i.getpixel((0, 0))[0] for i in second.images] == [21 * 37 % 256, 22 * 37 % 256, 23 * 37 % 256]
    assert (third.answers, third.options, third.kind) == (("5.5", "5 1/2"), (), "open")
    assert failures == {
        "validation_Art_4": NONE,  # refers to an image that is not there
        "validation_Art_5": "options: expected a Python list of texts, got \"__import__('os').getcwd()\"",
    }


def test_realworldqa(folder: Path) -> None:
    items, failures = read_all(folder, "realworldqa")
    assert [(i.answers[0], i.kind, i.options) for i in items.values()] == [
        ("C", "choice", ()),
        ("3", "open", ()),
        ("No", "yes/no", ()),
    ]
    assert list(failures) == ["3"]


def test_mmstar(folder: Path) -> None:
    items, failures = read_all(folder, "mmstar")
    assert [(i.id, i.answers[0], i.kind, i.options) for i in items.values()] == [
        (str(n), letter, "choice", ()) for n, letter in enumerate("ABC")
    ]
    assert items["0"].details["category"] == "coarse perception"
    assert list(failures) == ["3"]


def test_mathvision(folder: Path) -> None:
    items, failures = read_all(folder, "mathvision")
    assert [(i.id, i.answers[0], i.kind, len(i.options)) for i in items.values()] == [
        ("4", "C", "choice", 5),
        ("5", r"\frac{3}{2}", "math", 0),
        ("6", "B", "choice", 2),
    ]
    assert list(failures) == ["7"]
    mini, _ = read_all(folder, "mathvision", split="testmini")
    assert list(mini) == ["4", "5"]


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_reading_twice_or_as_a_stream_is_the_same(folder: Path, name: str) -> None:
    def shown(**settings: object) -> list[tuple[object, ...]]:
        entries = read(name, source=folder / name, **settings)  # type: ignore[arg-type]
        return [(e.id, e.reason) if isinstance(e, Failure) else (e.id, e.image_id, e.answers) for e in entries]

    assert shown() == shown() == shown(streaming=True)
    assert shown(limit=2, streaming=True) in (shown()[:2], shown(limit=2))


@pytest.mark.parametrize("name", [*sorted(WRITERS), "tiny"])
def test_only_requested_images_are_decoded_and_nothing_else_changes(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entries(**settings: object) -> list[Item | Failure]:
        source = {"limit": 7} if name == "tiny" else {"source": folder / name}
        return list(read(name, **source, **settings))  # type: ignore[arg-type]

    def fields(entry: Item | Failure) -> tuple[object, ...]:
        return (entry.id,) if isinstance(entry, Failure) else (entry.id, entry.image_id, entry.question, entry.answers)

    whole, seen = entries(), []
    part = entries(decoded=lambda position: seen.append(position) or position % 3 == 1)
    assert [entry.id for entry in part] == [entry.id for entry in whole]
    assert set(seen) <= set(range(len(whole)))
    for position, (mine, theirs) in enumerate(zip(part, whole, strict=True)):
        if position % 3 == 1 or isinstance(mine, Failure):
            assert type(mine) is type(theirs)
            assert fields(mine) == fields(theirs)
        elif isinstance(theirs, Item):
            assert fields(mine) == fields(theirs)
        if isinstance(mine, Item) and isinstance(theirs, Item):
            expected = [image.tobytes() for image in theirs.images] if position % 3 == 1 else []
            assert [image.tobytes() for image in mine.images] == expected

    def never(*_: object) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr("vlm.datasets.reading.rgb_image", never)
    assert len(entries(decoded=lambda position: False)) == len(whole)


def test_a_limit_draws_a_subset_by_seed_in_the_tables_order(folder: Path) -> None:
    def ids(**settings: int) -> list[str]:
        return [entry.id for entry in read("visual7w", source=folder / "visual7w", **settings)]

    everything = ids()
    drawn = ids(limit=4, seed=1)
    assert drawn == ids(limit=4, seed=1) == sorted(drawn, key=everything.index)
    assert len(drawn) == 4
    assert len({tuple(ids(limit=4, seed=seed)) for seed in range(20)}) > 10
    assert ids(limit=99, seed=3) == everything


def test_task_groups_are_those_of_the_paper() -> None:
    assert GROUPS == {
        "General VQA": ("gqa", "vqav2", "visual7w"),
        "Text/Doc VQA": ("ai2d", "ocrbench", "textvqa"),
        "Multimodal reasoning": ("mmmu", "realworldqa", "mmstar", "mathvision"),
    }
    assert [group_of(d.name) for d in DATASETS] == [d.task_group for d in DATASETS]
    assert {d.name: d.size for d in DATASETS}["mathvision"] == 3040


def test_the_embedded_set_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    items = [item for item in read("tiny", limit=10) if isinstance(item, Item)]
    assert [i.kind for i in items[:5]] == ["open", "open", "yes/no", "yes/no", "choice"]
    assert len({i.id for i in items}) == 10
    assert [i.image_id for i in items] == ["test-0-0"] * 5 + ["test-0-1"] * 5
    choice = items[4]
    assert len(choice.options) == 4
    assert choice.question == "which digit is there?"
    assert next(i.id for i in read("tiny", limit=3, seed=2, split="validation")) == "validation-2-0"
    with pytest.raises(ImportError, match=r"pip install 'skipit\[data\]'"):
        read("ai2d", source="owner/name")
