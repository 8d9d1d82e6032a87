"""All workers' records as one list, in an order and with bytes that no number of workers changes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from sys import intern

from vlm.atomic_files import write_whole, writing
from vlm.experiments.run_directory import Items, log_paths, spec_of
from vlm.experiments.spec import Spec
from vlm.record_log import Record, line, placed

Key = tuple[str, str, str]
# A worker's file, and where in it a record's line starts: of millions of records only these are kept in memory.
Place = tuple[Path, int]


def key_of(record: Record) -> Key:
    """What a record is about: data set, item, plan."""
    return intern(record["dataset"]), intern(record["item"]), intern(record["plan_digest"])


def unsettled(record: Record) -> bool:
    """Whether a record says that something failed: the item, or the judge; such a one may be made again."""
    return bool(record["failure"]) or (record.get("judge") or {}).get("status") == "failed"


def merged(run_directory: str | Path, *, partial: bool = False) -> list[Record]:
    """The records of a run in the order of its spec: data set, item, plan; without how they were made (`run`).

    Parameters
    ----------
    run_directory : str or Path
        As `sweep` or `measure` returned it.
    partial : bool
        Take what is there instead of refusing an unfinished run.

    Returns
    -------
    list of dict
        Of several records of one item and plan, one that did not fail.

    Raises
    ------
    RuntimeError
        Something is missing; the message says what.
    ValueError
        Two records of one item and plan contradict each other.
    """
    return list(each(run_directory, partial=partial))


def each(run_directory: str | Path, *, partial: bool = False) -> Iterator[Record]:
    """The same one at a time, for runs whose records do not fit into memory."""
    return map(_content, _ordered(Path(run_directory), partial))


def times(run_directory: str | Path, *, partial: bool = False) -> list[Record]:
    """How each record was made: seconds, batch, worker, device; in the order of :func:`merged`."""
    return [_time(record) for record in _ordered(Path(run_directory), partial)]


def merge(run_directory: str | Path, *, partial: bool = False) -> list[Path]:
    """Write `merged/records.jsonl` and `merged/times.jsonl`, each whole or not at all; see :func:`merged`."""
    folder = Path(run_directory)
    sizes = _sizes(folder)  # before reading: what is written meanwhile may be missing
    records = _ordered(folder, partial)
    paths = [folder / "merged" / f"{name}.jsonl" for name in ("records", "times")]
    count = 0
    with writing(paths[0]) as contents, writing(paths[1]) as lines:
        for record in records:
            count += 1
            contents.write(line(_content(record)))
            lines.write(line(_time(record)))
    write_whole(_made_of(folder), json.dumps({"logs": sizes, "records": count, "of": _size(folder)}) + "\n")
    return paths


def stale(run_directory: str | Path) -> bool:
    """Whether workers have written since the last merge."""
    folder = Path(run_directory)
    told = json.loads(_made_of(folder).read_text()) if _made_of(folder).is_file() else {"logs": {}}
    return bool(told["logs"] != _sizes(folder))


def coverage(run_directory: str | Path) -> str:
    """Which part of the run the last merge holds, such as "partial: 40 of 92 records"; "" for all of it."""
    path = _made_of(Path(run_directory))
    told = json.loads(path.read_text()) if path.is_file() else {"records": 0, "of": 0}
    if told["records"] == told["of"]:
        return ""
    return f"partial: {told['records']} of {told['of'] or 'an unknown number of'} records"


def _made_of(folder: Path) -> Path:
    return folder / "merged" / "made-of.json"


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in log_paths(folder)}


def _size(folder: Path) -> int | None:
    """The number of records of a whole run; None while the size of a data set is not known."""
    spec = spec_of(folder)
    ids = [Items(folder, choice.label).ids for choice in spec.data]
    return None if None in ids else len(spec.plans) * sum(len(names or ()) for names in ids)


def _ordered(folder: Path, partial: bool) -> Iterator[Record]:
    spec = spec_of(folder)
    found = _found(folder)
    lacking = list(_lacking(spec, folder, found))
    if lacking and not partial:
        raise RuntimeError(
            f"merge: {folder} is not complete. {'; '.join(lacking)}. Start the missing workers again with the same "
            "command, or take what is there with --partial"
        )
    return _read_at(found[key] for key in _wanted(spec, folder, found) if key in found)


def _found(folder: Path) -> dict[Key, Place]:
    """Where the record of each item and plan is: one that succeeded, which others must repeat, replaces failed ones."""
    found: dict[Key, Place] = {}
    for path in log_paths(folder):
        for start, record in placed(path):
            key = key_of(record)
            if key in found:
                (old,) = _read_at([found[key]])
                if not unsettled(old) and not unsettled(record) and _content(old) != _content(record):
                    raise ValueError(
                        f"merge: {path} contradicts another worker about item {key[1]!r} of {key[0]} under plan "
                        f"{record['plan']}; their machines round differently, so delete one file and run that part "
                        "again"
                    )
                if _preference(old) <= _preference(record):
                    continue
            found[key] = path, start
    return found


def _preference(record: Record) -> tuple[bool, bool, str]:
    """The least is taken; the last part only makes the choice among failures the same for all."""
    return unsettled(record), bool(record["failure"]), line(_content(record))


def _read_at(places: Iterable[Place]) -> Iterator[Record]:
    for path, some in groupby(places, key=itemgetter(0)):
        with path.open("rb") as file:
            for _, start in some:
                file.seek(start)
                yield json.loads(file.readline())


def _wanted(spec: Spec, folder: Path, found: Collection[Key]) -> Iterator[Key]:
    plans = [plan.digest for plan in spec.skip_plans()]
    for choice in spec.data:
        # A data set that nobody has read to its end has no order yet; only partial merges come here.
        ids = Items(folder, choice.label).ids or sorted({item for label, item, _ in found if label == choice.label})
        for item in ids:
            for plan in plans:
                yield choice.label, item, plan


def _lacking(spec: Spec, folder: Path, found: Collection[Key]) -> Iterator[str]:
    plans = spec.skip_plans()
    for choice in spec.data:
        ids = Items(folder, choice.label).ids
        if ids is None:
            yield f"{choice.label}: no worker has read it to its end"
            continue
        absent = [(item, plan) for item in ids for plan in plans if (choice.label, item, plan.digest) not in found]
        if absent:
            first = f"item {absent[0][0]!r} under plan {absent[0][1]}"
            yield f"{choice.label}: {len(absent)} of {len(ids) * len(plans)} records are missing, the first of {first}"


def _content(record: Record) -> Record:
    return {name: value for name, value in record.items() if name != "run"}


def _time(record: Record) -> Record:
    return {name: record[name] for name in ("dataset", "item", "plan", "plan_digest", "run")}
