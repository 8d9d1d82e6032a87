"""Merge all workers' records; the output is byte-identical for any number of workers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from sys import intern
from typing import NotRequired, TypeAlias, TypedDict, cast

from vlm.atomic_files import write_atomically, writing
from vlm.experiments.item_identity import NOT_READ, Recorded, same
from vlm.experiments.record_places import Key, Place, RecordPlaces
from vlm.experiments.run_directory import StoredRun, log_paths, placed_records, stored_run
from vlm.progress_bar import by_bytes, by_count
from vlm.record_log import line
from vlm.record_types import RunRecord, TimeRecord

# The digests of all items of each data set by label and id; None while they are not known.
ItemDigests: TypeAlias = Mapping[str, Mapping[str, str] | None]


class MadeOf(TypedDict):
    """What a merge was made of: sizes of the workers' files, records merged, records of the whole run if known.

    `merged` are the sizes of the merged files themselves; merges of before they were kept lack it.
    """

    logs: dict[str, int]
    records: int
    of: int | None
    merged: NotRequired[dict[str, int]]


def key_of(record: RunRecord) -> Key:
    """What a record is about: data set, item, plan."""
    return intern(record["dataset"]), intern(record["item"]), intern(record["plan_digest"])


def unsettled(record: RunRecord) -> bool:
    """Whether the item or its judge failed; such a record may be computed again."""
    return bool(record["failure"]) or _judge_status(record) == "failed"


def merged(run_directory: str | Path, *, partial: bool = False) -> list[RunRecord]:
    """The records of a run in the order of its spec: by data set, item, plan.

    Parameters
    ----------
    run_directory : str or Path
        As `sweep` or `measure_run` returned it.
    partial : bool
        Accept an unfinished run and return the records there are.

    Returns
    -------
    list of dict
        One record per item and plan, with the keys of `vlm.record_types` except `run`, which may differ between runs.
        Of several records of one item and plan, one that did not fail.

    Raises
    ------
    RuntimeError
        Records are missing; the message says which.
    ValueError
        Two records of one item and plan contradict each other.
    FileNotFoundError
        The directory is not a run's.

    See Also
    --------
    sweep, measure_run : Write the records.

    Notes
    -----
    The result does not depend on the number of workers, or on how often they were stopped and started again.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from vlm import merged, read_spec, sweep
    >>> spec = read_spec(data=["tiny"], limit=3, early_exit=[8])
    >>> with TemporaryDirectory() as folder:
    ...     records = merged(sweep(spec, folder, progress=False))
    >>> [(record["item"], record["plan"]) for record in records[:3]]
    [('test-0-0', 'none'), ('test-0-0', 'vision:8-'), ('test-0-1', 'none')]
    """
    return list(each(run_directory, partial=partial))


def each(run_directory: str | Path, *, partial: bool = False) -> Iterator[RunRecord]:
    """The records of :func:`merged`, one at a time, for runs whose records do not fit into memory."""
    return map(_content, _ordered(stored_run(run_directory), partial))


def times(run_directory: str | Path, *, partial: bool = False) -> list[TimeRecord]:
    """How each record was made: seconds, batch, worker, device; in the order of :func:`merged`."""
    return [_time(record) for record in _ordered(stored_run(run_directory), partial)]


def merge(run_directory: str | Path, *, partial: bool = False) -> list[Path]:
    """Write `merged/records.jsonl` and `merged/times.jsonl` atomically; see :func:`merged`."""
    run = stored_run(run_directory)
    sizes = _sizes(run.folder)  # before reading: what is written meanwhile may be missing
    records = _ordered(run, partial)
    paths = [run.folder / "merged" / f"{name}.jsonl" for name in ("records", "times")]
    count = 0
    with writing(paths[0]) as contents, writing(paths[1]) as lines:
        for record in by_count(records, run_size(run), "merging"):
            count += 1
            contents.write(line(_content(record)))
            lines.write(line(_time(record)))
    merged = {path.name: path.stat().st_size for path in paths}
    made_of: MadeOf = {"logs": sizes, "records": count, "of": run_size(run), "merged": merged}
    write_atomically(_made_of(run.folder), json.dumps(made_of) + "\n")
    return paths


def stale(run_directory: str | Path) -> bool:
    """Whether workers have written since the last merge. A directory without workers' files is as it was merged."""
    folder = Path(run_directory)
    last, sizes = _last_merge(folder), _sizes(folder)
    return bool(sizes) and (last is None or sizes != last["logs"] or bool(damaged(folder)))


def damaged(run_directory: str | Path) -> str:
    """The first of the merged files that is not as it was written, such as cut by a copy; "" if none is known to be."""
    folder = Path(run_directory)
    last = _last_merge(folder)
    for name, size in ({} if last is None else last.get("merged", {})).items():
        path = folder / "merged" / name
        if not path.is_file() or path.stat().st_size != size:
            return str(path)
    return ""


def coverage(run_directory: str | Path) -> str:
    """Which part of the run the last merge contains, such as "partial: 40 of 92 records"; "" for all of it."""
    last = _last_merge(Path(run_directory))
    if last is None or last["records"] == last["of"]:
        return ""
    return f"partial: {last['records']} of {last['of'] or 'an unknown number of'} records"


def _made_of(folder: Path) -> Path:
    return folder / "merged" / "made-of.json"


def _last_merge(folder: Path) -> MadeOf | None:
    path = _made_of(folder)
    try:
        last = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError:
        return None
    return cast(MadeOf, last) if isinstance(last, dict) and {"logs", "records", "of"} <= last.keys() else None


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in log_paths(folder)}


def run_size(run: StoredRun) -> int | None:
    """Number of records of the whole run; None while the size of a data set is not known."""
    counts = [None if ids is None else len(ids) for ids in run.item_digests().values()]
    return None if None in counts else len(run.plans) * sum(count or 0 for count in counts)


def _ordered(run: StoredRun, partial: bool) -> Iterator[RunRecord]:
    ids = run.item_digests()
    places = _places(run, ids)
    lacking = list(_lacking(run, ids, places))
    if lacking and not partial:
        raise RuntimeError(
            f"merge: {run.folder} is not complete. {'; '.join(lacking)}. Start the missing workers again with the same "
            "command, or take what is there with --partial"
        )
    return _read_at(place for key in _keys(run, ids, places) if (place := places.get(key)) is not None)


def _places(run: StoredRun, ids: ItemDigests) -> RecordPlaces:
    """Where the record of each item and plan is. One that succeeded replaces failed ones, and others must repeat it."""
    places, recorded = RecordPlaces(run.plan_digests, ids), Recorded()
    for path in log_paths(run.folder):
        for start, record in by_bytes(path, placed_records(path), f"reading {path.name}"):
            run.check(record, path)
            key = key_of(record)
            _refuse_changed(record, ids.get(key[0]), recorded, path)
            if key[2] not in run.plan_digests:
                continue
            if (before := places.get(key)) is not None:
                (old,) = _read_at([before])
                if not unsettled(old) and not unsettled(record) and _content(old) != _content(record):
                    raise ValueError(
                        f"merge: {path} contradicts another worker about item {key[1]!r} of {key[0]} under plan "
                        f"{record['plan']}; their machines round differently, so delete one file and run that part "
                        "again"
                    )
                if _preference(old) <= _preference(record):
                    continue
            places[key] = path, start
    return places


def _refuse_changed(record: RunRecord, known: Mapping[str, str] | None, recorded: Recorded, path: Path) -> None:
    """Refuse a record of an item that the run does not have, or of another content under the same id."""
    if known is None:
        recorded.add(record)  # no list yet: the records must agree among themselves
        return
    item, digest = record["item"], record.get("item_digest")
    if item not in known:
        raise ValueError(
            f"merge: {path} has a record of item {item!r}, which {record['dataset']} of this run does not have; move "
            "the file to the run that it belongs to"
        )
    if digest and not same(known[item], digest) and not str(record["failure"] or "").startswith(NOT_READ):
        raise ValueError(
            f"merge: {path} has a record of item {item!r} of {record['dataset']} whose question, answers or picture "
            "differ from the run's; move the file to the run that it belongs to"
        )


def _preference(record: RunRecord) -> tuple[bool, bool, str]:
    """The smallest is taken; the last element makes the choice among failures the same on every machine."""
    return unsettled(record), bool(record["failure"]), line(_content(record))


def _read_at(places: Iterable[Place]) -> Iterator[RunRecord]:
    for path, group in groupby(places, key=itemgetter(0)):
        with path.open("rb") as file:
            for _, start in group:
                file.seek(start)
                yield cast(RunRecord, json.loads(file.readline()))


def _keys(run: StoredRun, ids: ItemDigests, places: RecordPlaces) -> Iterator[Key]:
    """All keys of the run in order. A data set that no worker has read to its end is ordered by item id."""
    for label, known in ids.items():
        for item in known or sorted(places.items(label)):
            for plan in run.plan_digests:
                yield label, item, plan


def _lacking(run: StoredRun, ids: ItemDigests, places: RecordPlaces) -> Iterator[str]:
    """What is missing, in one sentence per data set."""
    for label, known in ids.items():
        if known is None:
            yield f"{label}: no worker has read it to its end"
            continue
        absent = [(item, plan) for item in known for plan in run.plans if (label, item, plan.digest) not in places]
        if absent:
            first = f"item {absent[0][0]!r} under plan {absent[0][1]}"
            yield f"{label}: {len(absent)} of {len(known) * len(run.plans)} records are missing, the first of {first}"


def _content(record: RunRecord) -> RunRecord:
    return cast(RunRecord, {name: value for name, value in record.items() if name != "run"})


def _time(record: RunRecord) -> TimeRecord:
    return {
        "dataset": record["dataset"],
        "item": record["item"],
        "plan": record["plan"],
        "plan_digest": record["plan_digest"],
        "run": record["run"],
    }


def _judge_status(record: RunRecord) -> str | None:
    judgement = cast(Mapping[str, Mapping[str, str] | None], record).get("judge")
    return None if judgement is None else judgement["status"]
