"""Kept answers scored again, by another rule, protocol or judge: without a model, as a layer beside the first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import Any, cast

from vlm.atomic_files import write_atomically, writing
from vlm.evaluation.protocols import PROTOCOLS, Protocol
from vlm.experiments.item_identity import entry_digest, same, text_digest
from vlm.experiments.merging import each, run_size
from vlm.experiments.run_directory import StoredRun, stored_run
from vlm.experiments.spec import DataChoice
from vlm.item import Failure, Item
from vlm.judges import Judge, JudgeRequest, from_name
from vlm.progress_bar import by_count
from vlm.record_log import Record, line
from vlm.record_types import RunRecord
from vlm.scoring import SCORERS, score
from vlm.scoring.scorers import VERSIONS
from vlm.scoring.thoughts import spoken

_TOGETHER = 512  # answers that are scored at once
_JUDGED = 8  # times as many answers as a judge is asked at a time are put to it at once
# From a data set to its items and failures, without pictures.
Reader = Callable[[DataChoice], Iterable[Item | Failure]]


def rescore(
    run_directory: str | Path,
    *,
    protocol: str | None = None,
    scorer: str | None = None,
    judge: str | None = None,
    judge_options: Mapping[str, Any] | None = None,
    partial: bool = False,
) -> Path:
    """Score the kept answers of a run again and write a layer of scores into its directory.

    Parameters
    ----------
    run_directory : str or Path
        As `sweep` returned it.
    protocol : str, optional
        Takes its scorers; by default those of the run's protocol, in their present version.
    scorer : str, optional
        One of ``vlm.scoring.SCORERS`` for every generated answer, in place of the protocol's choice.
    judge : str, optional
        As in a spec; by default the run's own. It judges what the protocol has judged.
    judge_options : mapping, optional
        `timeout`, `retries`, `concurrency` and `parameters` of a chat judge; by default those of the spec.
    partial : bool
        Accept an unfinished run.

    Returns
    -------
    Path
        ``run_directory/scores/NAME`` with `layer.json` (which rule) and `records.jsonl` (as merged records). The first
        scores stay.

    Raises
    ------
    ValueError
        An unknown protocol, scorer or judge, a measurement's directory, or data that have changed since the run.
    FileNotFoundError
        The directory is not a run's, or its data are no longer there.

    See Also
    --------
    sweep : Makes the answers.
    compare : Differences between runs, plans and layers.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from vlm import read_spec, rescore, sweep
    >>> spec = read_spec(data=["tiny"], limit=6, early_exit=[8])
    >>> with TemporaryDirectory() as folder:
    ...     layer = rescore(sweep(spec, folder, progress=False), scorer="exact")
    ...     sorted(path.name for path in layer.iterdir())
    ['layer.json', 'records.jsonl']
    >>> layer.name.startswith("exact-4")
    True
    """
    run = stored_run(run_directory)
    rule = _protocol(run, protocol)
    if scorer is not None and scorer not in SCORERS:
        raise ValueError(f"scorer: expected one of {', '.join(SCORERS)}, got {scorer!r}")
    name = judge or run.spec.judge
    asked = None
    if name != "rule":
        options = {**run.spec.judge_options(), **(judge_options or {})}
        asked = from_name(name, cache=run.folder.parent / "verdicts", **options)
    content: dict[str, object] = {
        "protocol": f"{rule.name} {rule.version}",
        "scorer": None if scorer is None else f"{scorer} {VERSIONS[scorer]}",
        "scorers": rule.scorers,
        "judge": name,
        # How long a judge is waited for does not change what it says.
        "judge_options": {key: value for key, value in (judge_options or {}).items() if key == "parameters"},
        "spec": run.digest,
    }
    layer = run.folder / "scores" / _layer_name(content)
    together = _TOGETHER if asked is None else _JUDGED * run.spec.judge_concurrency
    with writing(layer / "records.jsonl") as file:
        for records in _chunks(by_count(_with_items(run, partial), run_size(run), "scoring"), together):
            for record in _scored(records, rule, scorer, asked, run.spec.least_label_mass):
                file.write(line(record))
    content["size"] = (layer / "records.jsonl").stat().st_size
    write_atomically(layer / "layer.json", json.dumps(content, indent=2, sort_keys=True) + "\n")
    return layer


def _protocol(run: StoredRun, name: str | None) -> Protocol:
    name = name or run.spec.protocol
    if name not in PROTOCOLS:
        raise ValueError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {name!r}")
    return PROTOCOLS[name]


def _layer_name(content: Mapping[str, Any]) -> str:
    """Readable, and different for every rule."""
    first = (content["scorer"] or content["protocol"]).replace(" ", "-")
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:6]
    kind = "" if content["judge"] == "rule" else "-" + content["judge"].partition(":")[0]
    return f"{first}{kind}-{digest}"


def _with_items(run: StoredRun, partial: bool) -> Iterator[tuple[Record, Item | Failure]]:
    """Each merged record with the item that it is about; a data set's items are read once, beside its records."""
    known = run.item_digests()
    choices = {choice.label: choice for choice in run.spec.data}
    for label, records in groupby(each(run.folder, partial=partial), key=lambda record: record["dataset"]):
        entries = _entries(choices[label])
        if known[label] is None:  # such records are not in the order of the data set
            entries = iter(sorted(entries, key=lambda entry: entry.id))
        for name, group in groupby(records, key=lambda record: record["item"]):
            entry = next((entry for entry in entries if entry.id == name), None)
            if entry is None:
                raise ValueError(
                    f"data: {label} no longer has item {name!r}, which {run.folder} has answers to; bring the old data "
                    "back"
                )
            for record in group:
                _refuse_changed(run, record, entry, known[label])
                yield cast(Record, record), entry


def _entries(choice: DataChoice) -> Iterator[Item | Failure]:
    from vlm.datasets import read

    source = {name: value for name, value in asdict(choice).items() if name != "label"}
    return read(**source, decoded=lambda _: False)


def _refuse_changed(run: StoredRun, record: RunRecord, entry: Item | Failure, known: Mapping[str, str] | None) -> None:
    digest = record.get("item_digest") or (known or {}).get(entry.id, "")
    now = (entry_digest(entry), text_digest(entry))  # runs of before pictures were compared know the texts only
    if digest and not any(same(digest, other) for other in now):
        raise ValueError(
            f"data: item {entry.id!r} of {record['dataset']} is not what it was when {run.folder} was begun; its "
            "answers are to another question, picture or reference, so bring the old data back"
        )


def _scored(
    pairs: Sequence[tuple[Record, Item | Failure]],
    protocol: Protocol,
    scorer: str | None,
    judge: Judge | None,
    least_label_mass: float,
) -> list[Record]:
    """The records with new scores, in order."""
    scored = [_by_rule(record, entry, protocol, scorer, least_label_mass) for record, entry in pairs]
    if judge is not None and scorer is None:
        places = [
            (place, entry)
            for place, (record, (_, entry)) in enumerate(zip(scored, pairs, strict=True))
            if isinstance(entry, Item) and _to_judge(record, entry, protocol)
        ]
        verdicts = judge([_request(scored[place], entry, protocol) for place, entry in places])
        for (place, _), verdict in zip(places, verdicts, strict=True):
            judgement = {"score": verdict.score, "status": verdict.status, "raw": verdict.raw, "reason": verdict.reason}
            scored[place] = {**scored[place], "score": verdict.score, "judge": judgement}
    return scored


def _by_rule(
    record: Record, entry: Item | Failure, protocol: Protocol, scorer: str | None, least_label_mass: float
) -> Record:
    if record.get("prediction") is None:
        if "prediction" not in record and not record.get("failure"):
            raise ValueError("score: expected a directory made by `sweep`, got a measurement, which has no answers")
        return record
    cleared = {**record, "judge": None, "failure": None, "parsed": None, "score": None}
    if isinstance(entry, Failure):
        return {**cleared, "failure": f"not scored: {entry.reason}"}
    letters = record.get("letter_probabilities")
    one_pass = letters is not None
    if letters is not None and sum(letters) < least_label_mass:
        return {**cleared, "score": 0.0, "thought": "none"}
    try:
        chosen = protocol.scorer(entry) if scorer is None or one_pass else scorer
        result = score(entry, record["prediction"], scorer=chosen)
    except ValueError as error:
        return {**cleared, "failure": f"not scored: {error}"}
    return {**cleared, "parsed": result.parsed, "score": result.value, "thought": result.thought}


def _to_judge(record: Record, item: Item, protocol: Protocol) -> bool:
    answered = not record["failure"] and record["prediction"] is not None and record.get("thought") != "endless"
    return answered and record.get("letter_probabilities") is None and protocol.judged(item)


def _request(record: Record, item: Item, protocol: Protocol) -> JudgeRequest:
    return JudgeRequest(
        dataset=item.dataset,
        id=item.id,
        question=item.question,
        references=item.answers,
        prediction=spoken(record["prediction"]).answer or "",
        scorer=protocol.scorer(item),
        options=item.options,
        details=item.details,
    )


def _chunks(pairs: Iterator[tuple[Record, Item | Failure]], size: int) -> Iterator[list[tuple[Record, Item | Failure]]]:
    while chunk := list(islice(pairs, size)):
        yield chunk
