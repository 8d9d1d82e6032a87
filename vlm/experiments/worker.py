"""One worker's share of a run: every batch that is not done, each record on disk as soon as it is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vlm.experiments.batches import Batch, batches, expected
from vlm.experiments.merging import Key, key_of, unsettled
from vlm.experiments.run_directory import begin, known_records, log_path, refuse_other_division, versions
from vlm.experiments.shards import Shard
from vlm.experiments.spec import DataChoice, Spec
from vlm.item import Failure, Item
from vlm.plans.plan import SkipPlan
from vlm.record_log import Record, appending

# For a batch, a function from a plan to what the record of each readable item says beside its names.
Work = Callable[[Batch], Callable[[SkipPlan], Sequence[Record]]]


def carry_out(
    spec: Spec,
    folder: Path,
    protocol: Any,
    work: Work,
    *,
    part: Shard | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> Path:
    """Do what is left of a worker's part of a run.

    Parameters
    ----------
    folder : Path
        The run's directory.
    protocol : Protocol
        Its name and version are part of what made the records.
    work : function
        See `Work`; called with whole batches only.
    part, retry_failed, progress
        As for `vlm.experiment.sweep`, whose errors these are.
    """
    part = part or Shard()
    made_with = versions(spec, protocol)
    begin(folder, spec.content(), made_with)
    plans = spec.skip_plans()
    common = {
        "protocol": made_with["protocol"],
        "model": spec.model,
        "spec": spec.digest,
        "versions": made_with,
        "seed": spec.seed,
    }
    with appending(log_path(folder, part)) as log:
        refuse_other_division(folder, part)  # under the lock: of two that start together, one sees the other
        done: set[Key] = set()
        own = 0
        for record in known_records(folder):
            own += record["run"]["shard"] == str(part)
            if not (retry_failed and unsettled(record)):
                done.add(key_of(record))

        def finished(label: str, item: str) -> bool:
            return all((label, item, plan.digest) in done for plan in plans)

        with _bar(spec, folder, part, own, progress) as bar:
            for batch in batches(spec, folder, part, done=finished, reader=_read):
                under = work(batch)
                for plan in plans:
                    missing = [e for e in batch.entries if (batch.choice.label, e.id, plan.digest) not in done]
                    if missing:
                        # The whole batch, even if one record is missing: its company is part of a result.
                        told = dict(zip((item.id for item in batch.items), under(plan), strict=True))
                        log.append([_record(batch.choice, e, plan, told, common, part) for e in missing])
                        bar.update(len(missing))
    return folder


def failed(reason: str) -> Record:
    """What the record of an item says that could not be answered: listed, never scored."""
    empty = ("prediction", "letter_probabilities", "parsed", "score", "judge", "tokens", "operations")
    return {**dict.fromkeys(empty), "failure": reason, "run": {}}


def _record(
    choice: DataChoice,
    entry: Item | Failure,
    plan: SkipPlan,
    told: dict[str, Record],
    common: Record,
    part: Shard,
) -> Record:
    from vlm.datasets import group_of

    found = failed(f"not read: {entry.reason}") if isinstance(entry, Failure) else told[entry.id]
    return {
        "dataset": choice.label,
        "item": entry.id,
        "image_id": None if isinstance(entry, Failure) else entry.image_id,
        "group": group_of(choice.name),
        "plan": str(plan),
        "plan_digest": plan.digest,
        **common,
        **found,
        "run": {**found["run"], "shard": str(part)},
    }


def _read(choice: DataChoice, wanted: Callable[[int], bool]) -> Any:
    from vlm.datasets import read

    return read(
        choice.name,
        source=choice.source,
        split=choice.split,
        limit=choice.limit,
        seed=choice.seed,
        streaming=choice.streaming,
        decoded=wanted,
    )


def _size(choice: DataChoice) -> int | None:
    """The number of items to expect: the declared one, at most the limit."""
    from vlm.datasets import DATASETS

    whole = choice.source is None and choice.split is None
    declared = [dataset.size for dataset in DATASETS if whole and dataset.name == choice.name]
    return min([*declared, *([] if choice.limit is None else [choice.limit])], default=None)


def _bar(spec: Spec, folder: Path, part: Shard, done: int, progress: bool) -> Any:
    from tqdm import tqdm

    count = expected(spec, folder, part, size=_size)
    return tqdm(
        total=None if count is None else count * len(spec.plans),
        initial=done,
        desc=f"{folder.name} {part}",
        unit="record",
        disable=None if progress else True,
    )
