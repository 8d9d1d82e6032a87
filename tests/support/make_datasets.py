"""Small copies of the ten data sets: real schemas and file layouts, invented content, one broken image each.

``write(folder, "ai2d")`` gives a folder that ``vlm.datasets.read("ai2d", source=folder)`` reads.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PillowImage

TEXT, NUMBER = Value("string"), Value("int64")
BROKEN = {"bytes": b"\x89PNG\r\n\x1a\n but cut off", "path": "broken.png"}


def png(seed: int, *, mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> bytes:
    """A small PNG image in one colour, which `seed` determines."""
    buffer = io.BytesIO()
    PillowImage.new("RGB", size, (seed * 37 % 256, seed * 91 % 256, seed * 17 % 256)).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def image(seed: int, **settings: Any) -> dict[str, Any]:
    """A cell of an image column as the hub stores it."""
    return {"bytes": png(seed, **settings), "path": f"{seed}.png"}


def parquet(path: Path, rows: list[dict[str, Any]], features: dict[str, Any]) -> None:
    """Write rows with the hub's schema, the name and kind of every column included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=Features(features)).to_parquet(path)


def write(folder: Path, name: str) -> Path:
    """Write a data set below `folder` and return its own folder."""
    own = folder / name
    WRITERS[name](own)
    return own


def gqa(folder: Path) -> None:
    types = {"semantic": TEXT, "structural": TEXT, "detailed": TEXT}
    features = {"id": TEXT, "imageId": TEXT, "question": TEXT, "answer": TEXT, "fullAnswer": TEXT, "types": types}
    asked = [
        ("201", "n1", "Is the sky blue?", "yes", "verify"),
        ("202", "n1", "What colour is the car?", "red", "query"),
        ("203", "n2", "Who is holding the bat?", "man", "query"),
        ("204", "n3", "What is this?", "dog", "query"),
        ("205", "n4", "Is it day?", "no", "verify"),
    ]
    rows = [
        {
            "id": i,
            "imageId": n,
            "question": q,
            "answer": a,
            "fullAnswer": f"It is {a}.",
            "types": {"semantic": "attr", "structural": s, "detailed": "x"},
        }
        for i, n, q, a, s in asked
    ]
    parquet(folder / "testdev_balanced_instructions" / "testdev-00000-of-00001.parquet", rows, features)
    images = [{"id": "n1", "image": image(1)}, {"id": "n2", "image": image(2)}, {"id": "n3", "image": BROKEN}]
    parquet(
        folder / "testdev_balanced_images" / "testdev-00000-of-00001.parquet", images, {"id": TEXT, "image": Image()}
    )


def vqav2(folder: Path) -> None:
    features = {
        "question_type": TEXT,
        "multiple_choice_answer": TEXT,
        "answers": List({"answer": TEXT, "answer_confidence": TEXT, "answer_id": NUMBER}),
        "image_id": NUMBER,
        "answer_type": TEXT,
        "question_id": NUMBER,
        "question": TEXT,
        "image": Image(),
    }

    def row(number: int, question: str, answers: list[str], kind: str, cell: Any) -> dict[str, Any]:
        return {
            "question_type": "what",
            "multiple_choice_answer": max(answers, key=answers.count),
            "answers": [
                {"answer": a, "answer_confidence": "yes", "answer_id": i} for i, a in enumerate(answers, start=1)
            ],
            "image_id": number // 1000,
            "answer_type": kind,
            "question_id": number,
            "question": question,
            "image": cell,
        }

    first = [
        row(42000, "What is on the table?", ["cake"] * 6 + ["a cake"] * 3 + ["pie"], "other", image(3)),
        row(42001, "Is it a party?", ["yes"] * 9 + ["no"], "yes/no", image(3)),
    ]
    second = [
        row(43000, "How many dogs?", ["2"] * 10, "number", image(4)),
        row(44000, "What?", ["x"] * 10, "other", BROKEN),
    ]
    parquet(folder / "data" / "validation-00000-of-00002.parquet", first, features)
    parquet(folder / "data" / "validation-00001-of-00002.parquet", second, features)
    parquet(folder / "data" / "test-00000-of-00001.parquet", second, features)


def visual7w(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    for number in (1, 2):
        (folder / "images" / f"v7w_{number}.jpg").write_bytes(png(number))
    (folder / "images" / "v7w_3.jpg").write_bytes(b"not an image")

    def pair(number: int, kind: str) -> dict[str, Any]:
        return {
            "qa_id": number,
            "image_id": number // 10,
            "question": f"{kind.capitalize()} is it?",
            "answer": f"Right {number}.",
            "multiple_choices": [f"Wrong {i}." for i in range(3)],
            "type": kind,
        }

    images = [
        {"image_id": 1, "filename": "v7w_1.jpg", "split": "val", "qa_pairs": [pair(i, "what") for i in range(10, 18)]},
        {"image_id": 2, "filename": "v7w_2.jpg", "split": "train", "qa_pairs": [pair(20, "where")]},
        {"image_id": 3, "filename": "v7w_3.jpg", "split": "val", "qa_pairs": [pair(30, "who")]},
        {"image_id": 4, "filename": "v7w_4.jpg", "split": "val", "qa_pairs": [pair(40, "why")]},
    ]
    (folder / "dataset_v7w_telling.json").write_text(json.dumps({"dataset": "v7w_telling", "images": images}))


def ai2d(folder: Path) -> None:
    features = {"question": TEXT, "options": List(TEXT), "answer": TEXT, "image": Image()}
    options = ["root", "stem", "leaf", "flower"]
    rows = [
        {"question": "What makes food?", "options": options, "answer": "2", "image": image(5)},
        {"question": "What takes up water?", "options": options, "answer": "0", "image": image(5)},
        {"question": "What is beyond the options?", "options": options, "answer": "4", "image": image(6)},
        {"question": "Whose image is broken?", "options": options, "answer": "1", "image": BROKEN},
        {"question": "Whose image is missing?", "options": options, "answer": "1", "image": None},
        {"question": "What holds it up?", "options": options, "answer": "1", "image": image(7, mode="L")},
    ]
    parquet(folder / "data" / "test-00000-of-00001.parquet", rows, features)


def ocrbench(folder: Path) -> None:
    features = {"dataset": TEXT, "question": TEXT, "question_type": TEXT, "answer": List(TEXT), "image": Image()}
    rows = [
        {
            "dataset": "IIIT5K",
            "question": "what is written in the image?",
            "question_type": "Regular Text Recognition",
            "answer": ["CENTRE"],
            "image": image(8),
        },
        {
            "dataset": "HME100k",
            "question": "Please write out the expression of the formula in the image using LaTeX format.",
            "question_type": "Handwritten Mathematical Expression Recognition",
            "answer": ["x ^ { 2 } + X"],
            "image": image(9, mode="RGBA"),
        },
        {
            "dataset": "CTW",
            "question": "what?",
            "question_type": "Scene Text-centric VQA",
            "answer": ["A"],
            "image": BROKEN,
        },
    ]
    parquet(folder / "data" / "test-00000-of-00001.parquet", rows, features)


def textvqa(folder: Path) -> None:
    features = {
        "image_id": TEXT,
        "question_id": Value("int32"),
        "question": TEXT,
        "question_tokens": List(TEXT),
        "image": Image(),
        "image_width": Value("int32"),
        "image_height": Value("int32"),
        "answers": List(TEXT),
        "ocr_tokens": List(TEXT),
        "set_name": TEXT,
    }
    rows = [
        {
            "image_id": f"im{number // 2}",
            "question_id": 34602 + number,
            "question": "what is the Brand of this camera?",
            "question_tokens": ["what", "is"],
            "image": BROKEN if number == 2 else image(10 + number // 2),
            "image_width": 8,
            "image_height": 6,
            "answers": ["nous les gosses", "dakota"] + ["dakota digital"] * 8,
            "ocr_tokens": ["DAKOTA", "DIGITAL"],
            "set_name": "val",
        }
        for number in range(3)
    ]
    parquet(folder / "data" / "validation-00000-of-00001.parquet", rows, features)


MMMU_FEATURES = {
    **dict.fromkeys(("id", "question", "options", "explanation", "answer", "topic_difficulty", "question_type"), TEXT),
    **{f"image_{k}": Image() for k in range(1, 8)},
}


def mmmu_row(number: int, **cells: Any) -> dict[str, Any]:
    empty = {name: None if name.startswith("image") else "" for name in MMMU_FEATURES}
    return {**empty, "id": f"validation_Art_{number}", "question_type": "multiple-choice", **cells}


def mmmu(folder: Path) -> None:
    rows = [
        mmmu_row(1, question="<image 1> Whose work?", options="['Manet', \"Monet's\"]", answer="B", image_1=image(20)),
        mmmu_row(
            2,
            question="Compare <image 1> with <image 2>.",
            options="['<image 3>', 'none', 'both <image 1>']",
            answer="A",
            **{f"image_{k}": image(20 + k) for k in (1, 2, 3, 4)},
        ),
        mmmu_row(
            3,
            question="How much in <image 1>?",
            options="[]",
            answer="['5.5', '5 1/2']",
            question_type="open",
            image_1=image(25),
        ),
        mmmu_row(4, question="<image 2>?", options="['a', 'b']", answer="A", image_1=image(26)),
        mmmu_row(5, question="<image 1>?", options="__import__('os').getcwd()", answer="A", image_1=image(27)),
    ]
    parquet(folder / "data" / "validation-00000-of-00001.parquet", rows, MMMU_FEATURES)
    parquet(folder / "data" / "dev-00000-of-00001.parquet", rows[:1], MMMU_FEATURES)


def realworldqa(folder: Path) -> None:
    features = {"image": Image(), "question": TEXT, "answer": TEXT, "image_path": TEXT}
    letter = "Please answer directly with only the letter of the correct option and nothing else."
    rows = [
        {"question": f"Where?\n\nA. Left\nB. Right\nC. Ahead\n{letter}", "answer": "C", "image": image(30)},
        {
            "question": "How many lanes? Please answer directly with a single word or number.",
            "answer": "3",
            "image": image(31),
        },
        {
            "question": "Is it safe? Please answer directly with a single word or number.",
            "answer": "No",
            "image": image(32),
        },
        {"question": "Broken?", "answer": "Yes", "image": BROKEN},
    ]
    parquet(folder / "data" / "test-00000-of-00001.parquet", [{**row, "image_path": "x.png"} for row in rows], features)


def mmstar(folder: Path) -> None:
    meta = {"source": TEXT, "split": TEXT, "image_path": TEXT}
    features = {
        "index": NUMBER,
        "question": TEXT,
        "image": Image(),
        "answer": TEXT,
        "category": TEXT,
        "l2_category": TEXT,
        "meta_info": meta,
    }
    rows = [
        {
            "index": number,
            "question": "Which option describes the object?\nOptions: A: A car, B: A bike, C: A bus, D: A tram",
            "image": BROKEN if number == 3 else image(40 + number),
            "answer": "ABCD"[number],
            "category": "coarse perception",
            "l2_category": "image scene and topic",
            "meta_info": {"source": "MMBench", "split": "val", "image_path": f"images/{number}.jpg"},
        }
        for number in range(4)
    ]
    parquet(folder / "mmstar.parquet", rows, features)


def mathvision(folder: Path) -> None:
    features = {
        **dict.fromkeys(("id", "question", "image", "answer", "solution", "subject"), TEXT),
        "options": List(TEXT),
        "decoded_image": Image(),
        "level": NUMBER,
    }

    def row(number: int, question: str, options: list[str], answer: str, cell: Any) -> dict[str, Any]:
        return {
            "id": str(number),
            "question": question,
            "options": options,
            "image": f"images/{number}.jpg",
            "decoded_image": cell,
            "answer": answer,
            "solution": None,
            "level": 3,
            "subject": "metric geometry - angle",
        }

    rows = [
        row(4, "Which kite has the longest string?\n<image1>", ["A", "B", "C", "D", "E"], "C", image(50)),
        row(5, "How long is the side?\n<image1>", [], r"\frac{3}{2}", image(51)),
        row(6, "Which angle?\n<image1>", ["$30^\\circ$", "$45^\\circ$"], "B", image(52)),
        row(7, "Broken?\n<image1>", [], "1", BROKEN),
    ]
    parquet(folder / "data" / "test-00000-of-00001.parquet", rows, features)
    parquet(folder / "data" / "testmini-00000-of-00001.parquet", rows[:2], features)


WRITERS = {
    "gqa": gqa,
    "vqav2": vqav2,
    "visual7w": visual7w,
    "ai2d": ai2d,
    "ocrbench": ocrbench,
    "textvqa": textvqa,
    "mmmu": mmmu,
    "realworldqa": realworldqa,
    "mmstar": mmstar,
    "mathvision": mathvision,
}
