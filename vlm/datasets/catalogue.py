"""The ten data sets of the experiment: their hub ids, the meaning of their columns, their licences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from redundancy.display import Displayed, plain
from vlm.datasets import row_readers

GENERAL, TEXT, REASONING = "General VQA", "Text/Doc VQA", "Multimodal reasoning"
EMBEDDED, OWN = "Embedded", "Your own"


@dataclass(frozen=True, repr=False)
class Place(Displayed):
    """A hub id, and the configurations of it that are read one after the other.

    Attributes
    ----------
    id : str
        "owner/name".
    configs : tuple of str or None
        None is the default configuration.

    See Also
    --------
    vlm.datasets.Dataset : Lists its places.

    Examples
    --------
    >>> from vlm.datasets import Place
    >>> Place("lmms-lab/GQA", ("testdev_balanced_instructions",))
    Place(id=lmms-lab/GQA, configs=(testdev_balanced_instructions))
    """

    id: str
    configs: tuple[str | None, ...] = (None,)


@dataclass(frozen=True, repr=False)
class Dataset(Displayed):
    """The declaration of a published table of questions.

    Attributes
    ----------
    name : str
        The name in a spec: "gqa".
    places : tuple of Place
        Tried in order until one loads, because hub ids move.
    split : str
        The split that results are reported on.
    size : int
        Number of items in the split.
    task_group : str
        The task group: "General VQA", "Text/Doc VQA" or "Multimodal reasoning".
    questions : str
        The kinds of question it holds: "open", "choice", "yes/no", "ocr", "math".
    licence : str
        As the data set's card states it; "not stated" where it does not.
    key, image_key : str or None
        Columns of the item's and the image's id. None stands for the row's number and a digest of the image.
    columns : tuple of str
        Columns that a table must have to be this one.
    read : function
        Takes a row and returns the parts of an item.
    image_config : str or None
        A further configuration with columns `id` and `image`, joined on `image_key`.

    See Also
    --------
    vlm.datasets.read : Reads its items.
    vlm.datasets.Place : Where its table is.

    Examples
    --------
    >>> from vlm.datasets import DATASETS
    >>> gqa = DATASETS[0]
    >>> gqa.name, gqa.split, gqa.size, gqa.task_group
    ('gqa', 'testdev', 12578, 'General VQA')
    >>> gqa.ids
    ('lmms-lab-encoder/GQA', 'lmms-lab/GQA')
    """

    name: str
    places: tuple[Place, ...]
    split: str
    size: int
    task_group: str
    questions: str
    licence: str
    key: str | None
    image_key: str | None
    columns: tuple[str, ...] = field(repr=False)
    read: row_readers.Reader = field(repr=False)
    image_config: str | None = field(default=None, repr=False)

    @property
    def ids(self) -> tuple[str, ...]:
        """The hub id and its aliases."""
        return tuple(place.id for place in self.places)

    def to_dict(self) -> dict[str, Any]:
        """The declaration as plain Python values, without the function `read`."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name != "read"}


# The configurations of MMMU's own table, in its order; the copies under other owners hold them in one table.
MMMU_SUBJECTS = (
    *("Accounting", "Agriculture", "Architecture_and_Engineering", "Art", "Art_Theory", "Basic_Medical_Science"),
    *("Biology", "Chemistry", "Clinical_Medicine", "Computer_Science", "Design"),
    *("Diagnostics_and_Laboratory_Medicine", "Economics", "Electronics", "Energy_and_Power", "Finance", "Geography"),
    *("History", "Literature", "Manage", "Marketing", "Materials", "Math", "Mechanical_Engineering", "Music"),
    *("Pharmacy", "Physics", "Psychology", "Public_Health", "Sociology"),
)


def _copies(name: str, *configs: str) -> tuple[Place, ...]:
    """The same table under its present and its former owner."""
    return tuple(Place(f"{owner}/{name}", configs or (None,)) for owner in ("lmms-lab-encoder", "lmms-lab"))


DATASETS = (
    Dataset(
        name="gqa",
        places=_copies("GQA", "testdev_balanced_instructions"),
        image_config="testdev_balanced_images",
        split="testdev",
        size=12_578,
        task_group=GENERAL,
        questions="open, yes/no",
        licence="MIT",
        key="id",
        image_key="imageId",
        columns=("id", "imageId", "question", "answer"),
        read=row_readers.gqa,
    ),
    Dataset(
        name="vqav2",
        places=_copies("VQAv2"),
        split="validation",
        size=214_354,
        task_group=GENERAL,
        questions="open, yes/no",
        licence="CC BY 4.0",
        key="question_id",
        image_key="image_id",
        columns=("question_id", "image_id", "question", "answers", "answer_type", "image"),
        read=row_readers.vqav2,
    ),
    Dataset(
        name="visual7w",
        places=(),
        split="val",
        size=28_020,
        task_group=GENERAL,
        questions="choice",
        licence="not stated (toolkit: MIT)",
        key="qa_id",
        image_key="filename",
        columns=("qa_id", "question", "answer", "multiple_choices"),
        read=row_readers.visual7w,
    ),
    Dataset(
        name="ai2d",
        places=_copies("ai2d"),
        split="test",
        size=3_088,
        task_group=TEXT,
        questions="choice",
        licence="not stated",
        key=None,
        image_key=None,
        columns=("question", "options", "answer", "image"),
        read=row_readers.ai2d,
    ),
    Dataset(
        name="ocrbench",
        places=(Place("echo840/OCRBench"),),
        split="test",
        size=1_000,
        task_group=TEXT,
        questions="ocr",
        licence="not stated",
        key=None,
        image_key=None,
        columns=("dataset", "question", "question_type", "answer", "image"),
        read=row_readers.ocrbench,
    ),
    Dataset(
        name="textvqa",
        places=_copies("textvqa"),
        split="validation",
        size=5_000,
        task_group=TEXT,
        questions="open",
        licence="CC BY 4.0",
        key="question_id",
        image_key="image_id",
        columns=("question_id", "image_id", "question", "answers", "image"),
        read=row_readers.textvqa,
    ),
    Dataset(
        name="mmmu",
        places=(*_copies("MMMU"), Place("MMMU/MMMU", MMMU_SUBJECTS)),
        split="validation",
        size=900,
        task_group=REASONING,
        questions="choice, open",
        licence="not stated",
        key="id",
        image_key=None,
        columns=("id", "question", "options", "answer", "question_type", "image_1"),
        read=row_readers.mmmu,
    ),
    Dataset(
        name="realworldqa",
        places=_copies("RealWorldQA"),
        split="test",
        size=765,
        task_group=REASONING,
        questions="choice, yes/no, open",
        licence="CC BY-ND 4.0",
        key=None,
        image_key=None,
        columns=("question", "answer", "image"),
        read=row_readers.realworldqa,
    ),
    Dataset(
        name="mmstar",
        places=(Place("Lin-Chen/MMStar"),),
        split="val",
        size=1_500,
        task_group=REASONING,
        questions="choice",
        licence="not stated",
        key="index",
        image_key=None,
        columns=("index", "question", "answer", "category", "l2_category", "image"),
        read=row_readers.mmstar,
    ),
    Dataset(
        name="mathvision",
        places=(Place("MathLLMs/MathVision"),),
        split="test",
        size=3_040,
        task_group=REASONING,
        questions="choice, math",
        licence="MIT",
        key="id",
        image_key=None,
        columns=("id", "question", "options", "answer", "decoded_image", "level", "subject"),
        read=row_readers.mathvision,
    ),
)

GROUPS: Mapping[str, tuple[str, ...]] = {
    group: tuple(d.name for d in DATASETS if d.task_group == group) for group in (GENERAL, TEXT, REASONING)
}


def group_of(name: str) -> str:
    """Return the task group of a data set.

    Parameters
    ----------
    name : str
        One of the names in ``DATASETS``, "tiny" or "jsonl".

    Returns
    -------
    str
        "Embedded" for "tiny" and "Your own" for "jsonl".

    Raises
    ------
    ValueError
        Unknown name.

    See Also
    --------
    read : Read the items of a data set.
    vlm.reports.summary : Tables by task group.

    Examples
    --------
    >>> from vlm.datasets import GROUPS, group_of
    >>> group_of("textvqa"), group_of("tiny")
    ('Text/Doc VQA', 'Embedded')
    >>> GROUPS["Text/Doc VQA"]
    ('ai2d', 'ocrbench', 'textvqa')
    """
    task_groups = {d.name: d.task_group for d in DATASETS} | {"tiny": EMBEDDED, "jsonl": OWN}
    if name not in task_groups:
        raise ValueError(f"name: expected one of {', '.join(task_groups)}, got {name!r}")
    return task_groups[name]
