"""One worker's part of a run: every batch that is not done, each record on disk as soon as it is computed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from vlm.experiments.batches import Batch, batches, expected
from vlm.experiments.item_identity import NOT_READ, Recorded, entry_digest
from vlm.experiments.merging import key_of, unsettled
from vlm.experiments.record_places import Key
from vlm.experiments.run import Run
from vlm.experiments.run_directory import (
    begin,
    known_records,
    log_path,
    log_paths,
    placed_records,
    refuse_other_division,
)
from vlm.experiments.shards import Shard
from vlm.experiments.spec import DataChoice
from vlm.item import Failure, Item
from vlm.plans.plan import SkipPlan
from vlm.progress_bar import place
from vlm.record_log import appending
from vlm.record_types import Outcome, RecordNames, RunRecord, failed

if TYPE_CHECKING:
    from tqdm import tqdm

# From a batch to a function, and that from a plan to one outcome per readable item of the batch.
Work: TypeAlias = Callable[[Batch], Callable[[SkipPlan], Sequence[Outcome]]]


def carry_out(run: Run, work: Work, *, retry_failed: bool = False, progress: bool = True) -> Path:
    """Do what remains of a worker's part of a run.

    Parameters
    ----------
    run : Run
        Which part of what.
    work : function
        See `Work`; called with whole batches only.
    retry_failed, progress
        As for `vlm.sweep`, which lists the errors too.

    Returns
    -------
    Path
        The run's directory.
    """
    begin(run.folder, run.spec.content(), run.versions)
    with appending(log_path(run.folder, run.part)) as log:
        # Under the lock, so that of two workers that start together at least one sees the other.
        refuse_other_division(run.folder, run.part)
        done, own, recorded = _done(run, retry_failed)
        with _bar(run, own, progress) as bar:
            for records in _records(run, work, done, recorded, repair=retry_failed):
                log.append(records)
                bar.update(len(records))
    return run.folder


def nothing_done(folder: Path, part: Shard) -> str | None:
    """Why a worker's records hold no result at all; None if one does, or if there are none."""
    reason, path = None, log_path(folder, part)
    for _, record in placed_records(path) if path.is_file() else ():
        measured = not record["failure"] and "vision" in record
        if measured or record.get("score") is not None:
            return None
        judgement = cast(Mapping[str, str], record.get("judge") or {})
        reason = reason or str(record["failure"] or judgement.get("reason") or "no verdict")
    return reason


def never_judged(folder: Path) -> tuple[int, str] | None:
    """How many answers of a run a judge was asked about, and the first reason, where it answered to none; else None."""
    asked, reason = 0, ""
    for path in log_paths(folder):
        for _, record in placed_records(path):
            judgement = cast(Mapping[str, str], record.get("judge") or {})
            if judgement.get("status") == "ok":
                return None
            asked += bool(judgement)
            reason = reason or str(judgement.get("reason") or "")
    return (asked, reason) if asked else None


def _done(run: Run, retry_failed: bool) -> tuple[set[Key], int, Recorded]:
    """What need not be done again, how many records this worker has written, and which items they are about."""
    done: set[Key] = set()
    own, recorded = 0, Recorded()
    for record in known_records(run):
        own += record["run"]["shard"] == str(run.part)
        recorded.add(record)
        if not (retry_failed and unsettled(record)):
            done.add(key_of(record))
    return done, own, recorded


def _records(
    run: Run, work: Work, done: Collection[Key], recorded: Recorded, *, repair: bool
) -> Iterator[list[RunRecord]]:
    """The missing records, in lists that belong to one batch and one plan."""

    def finished(label: str, item: str) -> bool:
        return all((label, item, plan) in done for plan in run.plan_digests)

    for batch in batches(run, done=finished, recorded=recorded, repair=repair):
        under = work(batch)
        for plan in run.plans:
            missing = [e for e in batch.entries if (batch.choice.label, e.id, plan.digest) not in done]
            if missing:
                # Re-run the whole batch even if only one record is missing: results depend on its composition.
                outcomes = dict(zip((item.id for item in batch.items), under(plan), strict=True))
                yield [_record(run, batch.choice, entry, plan, outcomes) for entry in missing]


def _record(
    run: Run, choice: DataChoice, entry: Item | Failure, plan: SkipPlan, outcomes: Mapping[str, Outcome]
) -> RunRecord:
    from vlm.datasets import group_of

    names: RecordNames = {
        "dataset": choice.label,
        "item": entry.id,
        "item_digest": entry_digest(entry),
        "image_id": None if isinstance(entry, Failure) else entry.image_id,
        "group": group_of(choice.name),
        "plan": str(plan),
        "plan_digest": plan.digest,
        "protocol": run.versions["protocol"],
        "model": run.spec.model,
        "spec": run.digest,
        "versions": dict(run.versions),
        "seed": run.spec.seed,
    }
    outcome = failed(f"{NOT_READ}{entry.reason}") if isinstance(entry, Failure) else outcomes[entry.id]
    return cast(RunRecord, {**names, **outcome, "run": {**outcome["run"], "shard": str(run.part)}})


def declared_size(choice: DataChoice) -> int | None:
    """Number of items to expect, at most the limit: declared or, of data that are here, counted; None if not known."""
    from vlm.datasets import DATASETS
    from vlm.datasets.reading import count_here

    if choice.name == "tiny" and choice.limit is not None:
        return choice.limit  # as many as are asked for
    whole = choice.source is None and choice.split is None
    sizes = [dataset.size for dataset in DATASETS if whole and dataset.name == choice.name]
    counted = None if sizes or choice.streaming else count_here(choice.name, choice.source, choice.split)
    known = [*sizes, *(number for number in (counted, choice.limit) if number is not None)]
    return min(known, default=None)


def _bar(run: Run, done: int, progress: bool) -> tqdm[None]:
    from tqdm import tqdm

    count = expected(run, size=declared_size)
    return tqdm(
        total=None if count is None else count * len(run.plans),
        initial=done,
        desc=f"{run.folder.name} {run.part}",
        unit="record",
        disable=None if progress else True,
        **place(),
    )
