"""Record the hidden states of data sets: in shards, on disk, continued after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vlm.evaluation.answering import Answerer, PreparedQuestion, Unusable, alike
from vlm.evaluation.batch_failures import Refused, TooLarge, in_halves, one_by_one
from vlm.experiments.batches import Batch, batches, expected
from vlm.experiments.item_identity import NOT_READ, Recorded, entry_digest
from vlm.experiments.run import Run
from vlm.experiments.run_directory import log_paths
from vlm.experiments.shards import Shard
from vlm.experiments.spec import Spec
from vlm.experiments.worker import declared_size
from vlm.hidden_states.dataset_recording import Recording
from vlm.hidden_states.state_record import StatesRecord
from vlm.hidden_states.state_rows import Prompt, StateDType
from vlm.hidden_states.state_size import StatesSize, readable
from vlm.hidden_states.state_store import StateStore, chunk_lines, storing
from vlm.hidden_states.views import Views
from vlm.item import Failure
from vlm.plans.plan_file import Plan

if TYPE_CHECKING:
    from tqdm import tqdm

# Bytes above which a run must be agreed to.
LARGEST = 20 * 10**9


def states_run(
    spec: Spec,
    out: str | Path = "runs",
    *,
    views: Views = ("last", "vision-mean"),
    layers: Sequence[int] | None = None,
    dtype: StateDType | None = None,
    plan: Plan = "none",
    largest: float | None = LARGEST,
    before: Callable[[StatesSize | None], None] | None = None,
    part: Shard | None = None,
    device: str | None = None,
    device_map: str | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> Path:
    """Run every prompt of some data sets once and store its hidden states.

    May be killed at any moment and started again: chunks that are on disk are kept, and only missing items are done.
    Several workers with different `part` may run at once, and share the folder.

    Parameters
    ----------
    spec : Spec
        Which model, on which data; its plans, judge, confidence and thresholds have no effect, and its `dtype` is the
        model's.
    out : str or Path
        The run's folder is made in it: ``out/states-<digest>``.
    views, layers, dtype
        As for `vlm.states`.
    plan : SkipPlan, str, Path or PlanFile
        Skip plan under which the model runs; see `vlm.skipping`.
    largest : float or None
        Bytes above which the run is refused before it begins; None for no limit.
    before : function, optional
        Called with the size (None if the number of items is not known) before anything is computed.
    part, device, device_map, retry_failed, progress
        As for `vlm.sweep`.

    Returns
    -------
    Path
        The run's folder, for `vlm.read_states`.

    Raises
    ------
    ValueError, FileNotFoundError
        The spec names what does not exist, layers or a plan of a deeper model, an unknown view, or more than
        `largest` bytes; found before any work.
    OverflowError
        A state is too large for float16.
    RuntimeError
        Another process does this part, or the run was begun with other weights or packages.
    OSError
        The disk is full or cannot be written; what was written before is kept.

    See Also
    --------
    vlm.read_states : Reads the folder.
    vlm.measure_run : Distances and attention on the same items, without storing states.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import vlm
    >>> spec = vlm.read_spec(data=["tiny"], limit=10)
    >>> with TemporaryDirectory() as out:
    ...     folder = vlm.states_run(spec, out, views="last", before=print, progress=False)
    ...     stored = vlm.read_states(folder)
    ...     last = stored.layer(10, "last")
    28.3 kB
    >>> last.shape
    (10, 64)
    """
    recording = Recording.open(spec, out, views, layers, dtype, plan, part=part, device=device, device_map=device_map)
    run = recording.run
    if not log_paths(run.folder):
        size = recording.size()
        if before is not None:
            before(size)
        _refuse_large(size, largest)
    with ExitStack() as stack:
        content = json.loads(json.dumps(recording.content()))
        store = stack.enter_context(storing(run.folder, content, run.versions, run.part, retry_failed=retry_failed))
        own = sum(len(line.prompts) + len(line.failures) for line in chunk_lines(run.folder, store.log.path))
        bar = stack.enter_context(_bar(run, own, progress))
        record = None

        def done(label: str, item: str) -> bool:
            return (label, item) in store.done

        for batch in batches(run, done=done, recorded=_recorded(run.folder), repair=retry_failed):
            if record is None:
                record = stack.enter_context(recording.begun(store))
            _record(run.answerer, record, store, batch)
            bar.update(len(batch.entries))
    return run.folder


def _record(answerer: Answerer, record: StatesRecord, store: StateStore, batch: Batch) -> None:
    """Record the prompts of a batch; what cannot be recorded is noted with its reason."""
    label = batch.choice.label
    for entry in batch.entries:
        if isinstance(entry, Failure):
            store.fail(label, entry.id, f"{NOT_READ}{entry.reason}", entry_digest(entry))
    questions = answerer.questions(batch.items)
    for item, question in zip(batch.items, questions, strict=True):
        if isinstance(question, Unusable):
            store.fail(label, item.id, question.reason, entry_digest(item))
    for group in alike([q for q in questions if isinstance(q, PreparedQuestion)]):
        results = in_halves(partial(one_by_one, partial(_forward, answerer, record, label)), group)
        for question, result in zip(group, results, strict=True):
            if isinstance(result, (TooLarge, Refused)):
                store.fail(label, question.item.id, result.reason, entry_digest(question.item))


def _forward(
    answerer: Answerer, record: StatesRecord, label: str, questions: Sequence[PreparedQuestion], attempt: int
) -> list[None]:
    batch = answerer.inputs(questions)
    items = [question.item for question in questions]
    answers = [item.answers[0] if item.answers else "" for item in items]
    record.announce(
        tuple(Prompt(i.id, i.image_id, label, a, entry_digest(i)) for i, a in zip(items, answers, strict=True))
    )
    with torch.no_grad():
        answerer.model(**batch, use_cache=False, logits_to_keep=1)
    return [None] * len(questions)


def _recorded(folder: Path) -> Recorded:
    """What the chunks say about the items, so that changed data is refused."""
    recorded = Recorded()
    for line in chunk_lines(folder):
        for task, item, reason, digest in line.failures:
            recorded.digests[task, item] = digest
            if not reason.startswith(NOT_READ):
                recorded.read.add((task, item))
        for prompt in line.prompts:
            recorded.digests[prompt.task, prompt.item] = prompt.digest
            recorded.read.add((prompt.task, prompt.item))
    return recorded


def _refuse_large(size: StatesSize | None, largest: float | None) -> None:
    if largest is None:
        return
    if size is None:
        raise ValueError(
            f"states: the number of items is not known, so the size may exceed {readable(largest)}; limit the items, "
            "or agree with --yes (largest=None)"
        )
    if size.total > largest:
        raise ValueError(
            f"states: expected at most {readable(largest)}, but these states take {size}; choose fewer items, layers "
            "or views, or agree with --yes (largest=None)"
        )


def _bar(run: Run, done: int, progress: bool) -> tqdm[None]:
    from tqdm import tqdm

    return tqdm(
        total=expected(run, size=declared_size),
        initial=done,
        desc=f"{run.folder.name} {run.part}",
        unit="prompt",
        disable=None if progress else True,
    )
