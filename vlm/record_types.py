"""What one record of a run contains: an answer, a measurement, or the reason why there is neither.

A record is one line of JSON in a run's `records` folder. `docs/reference/records.md` describes its keys for
readers of the files.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypeAlias, TypedDict


class Tokens(TypedDict):
    """Numbers of tokens: image and text tokens of the prompt, and generated ones."""

    vision: int
    text: int
    new: int


class OperationCounts(TypedDict):
    """Decoder operations of the prompt under the plan and without one."""

    plan: float
    full: float


class Circumstances(TypedDict, total=False):
    """How a record was made; may differ between two runs of one spec, and is left out of merged records.

    `seconds_prefill` and `seconds_decode` are those of the whole call, which `batch` questions shared; decoding is what
    follows the first token. `attempt` is 1 + the number of times the batch was divided. `judge` says whether the
    verdict was new or remembered, `shard` which worker wrote the record.
    """

    seconds_prefill: float
    seconds_decode: float
    batch: int
    attempt: int
    device: str
    judge: str
    shard: str


class Judgement(TypedDict):
    """A judge's verdict without its source."""

    score: float | None
    status: Literal["ok", "failed"]
    raw: str
    reason: str


class RecordNames(TypedDict):
    """What every record begins with: which item under which plan, and what it was made with."""

    dataset: str
    item: str
    item_digest: NotRequired[str]  # of question, options, answers, details and pictures; older records lack it
    image_id: str | None
    group: str
    plan: str
    plan_digest: str
    protocol: str
    model: str
    spec: str
    versions: dict[str, str]
    seed: int


class AnswerFields(TypedDict):
    """What a sweep adds: the answer, its score and its cost. `failure` is set if the answer could not be scored."""

    prediction: str
    letter_probabilities: list[float] | None
    thought: NotRequired[Literal["none", "ended", "endless"]]  # before the answer; older records lack it
    tokens: Tokens
    operations: OperationCounts
    parsed: str | None
    score: float | None
    judge: Judgement | None
    failure: str | None
    run: NotRequired[Circumstances]


class MeasurementFields(TypedDict):
    """What a measurement adds: lists along the layers, for each modality by name of the quantity.

    `attention` has one list of heads per layer: the visual attention ratio of the last prompt token;
    `attention_largest` and `attention_mean` the same over all text tokens, `attention_largest_mean` the largest mean
    over heads per layer. None stands for a layer without such tokens. Records made before all text tokens were measured
    lack the last three.
    """

    tokens: Tokens
    vision: dict[str, list[float | None]]
    text: dict[str, list[float | None]]
    attention: list[list[float | None]]
    attention_largest: NotRequired[list[list[float | None]]]
    attention_largest_mean: NotRequired[list[float | None]]
    attention_mean: NotRequired[list[list[float | None]]]
    failure: None
    run: NotRequired[Circumstances]


class FailureFields(TypedDict):
    """What is known of an item that was not answered: only why."""

    prediction: None
    letter_probabilities: None
    thought: NotRequired[None]
    tokens: None
    operations: None
    parsed: None
    score: None
    judge: None
    failure: str
    run: NotRequired[Circumstances]


class AnswerRecord(RecordNames, AnswerFields):
    """One item answered under one plan."""


class MeasurementRecord(RecordNames, MeasurementFields):
    """One prompt measured."""


class FailureRecord(RecordNames, FailureFields):
    """One item that could not be answered or measured: listed, never scored."""


RunRecord: TypeAlias = AnswerRecord | MeasurementRecord | FailureRecord
Outcome: TypeAlias = AnswerFields | MeasurementFields | FailureFields


class TimeRecord(TypedDict):
    """How one record was made; a line of `merged/times.jsonl`."""

    dataset: str
    item: str
    plan: str
    plan_digest: str
    run: Circumstances


def failed(reason: str) -> FailureFields:
    """The fields of an item that could not be answered."""
    return {
        "prediction": None,
        "letter_probabilities": None,
        "thought": None,
        "tokens": None,
        "operations": None,
        "parsed": None,
        "score": None,
        "judge": None,
        "failure": reason,
        "run": {},
    }
