"""The damage that removing image tokens is predicted to do, on some prompts of each data set of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from torch import Tensor

from vlm.evaluation.answering import PreparedQuestion, alike
from vlm.experiments.item_identity import check_entry
from vlm.experiments.run import Run
from vlm.experiments.run_directory import StoredRun, stored_run
from vlm.item import Item
from vlm.measure.damage_record import Damage, DamageMethod
from vlm.measure.plan_damage import damage

PROMPTS = 32  # of each data set


def run_damage(run_directory: str | Path, *, method: DamageMethod = "surrogate", prompts: int = PROMPTS) -> Damage:
    """Load the model of a run and predict what removing image tokens in every layer would do, without a label.

    Parameters
    ----------
    run_directory : str or Path
        Made by `python -m vlm sweep`.
    method : {"surrogate", "measured"}
        As for :func:`vlm.damage`; "measured" for quantised models, which pass no gradients on.
    prompts : int
        How many prompts with a picture of each data set, the first ones.

    Raises
    ------
    ValueError
        The run's model has other weights now; no prompt with a picture.
    """
    stored = stored_run(run_directory)
    run = Run.open(replace(stored.spec, judge="rule"), stored.folder.parent)  # nothing is judged
    before, now = stored.made_with.get("model"), run.versions["model"]
    if before not in (None, now):
        raise ValueError(
            f"damage: expected the weights that {stored.folder} was made with ({before}), got {now} under the same "
            f"name {run.spec.model!r}; write the report without --damage"
        )
    batches = list(_batches(run, stored, prompts))
    if not batches:
        raise ValueError(f"damage: expected a prompt with a picture in {stored.folder}, got none")
    return damage(run.answerer.model, batches, method=method, actions=("remove",), progress=True)


def _batches(run: Run, stored: StoredRun, prompts: int) -> Iterator[dict[str, Tensor]]:
    size = run.spec.batch_size
    for choice in run.spec.data:
        entries = run.reader(choice, lambda position: position < prompts)
        chosen = list(islice(entries, prompts))
        for entry in chosen:
            check_entry(stored, choice.label, entry)  # whatever the directory is called now
        items = [entry for entry in chosen if isinstance(entry, Item) and entry.images]
        for start in range(0, len(items), size):
            questions = run.answerer.questions(items[start : start + size])
            for group in alike([q for q in questions if isinstance(q, PreparedQuestion)]):
                yield run.answerer.inputs(group)
