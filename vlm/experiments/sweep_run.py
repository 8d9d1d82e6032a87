"""Sweep plans over data sets: answer and score every item under every plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias

from vlm.evaluation.answering import Answer
from vlm.evaluation.protocols import Protocol
from vlm.experiments.batches import Batch
from vlm.experiments.run import Run
from vlm.experiments.shards import Shard
from vlm.experiments.spec import Spec
from vlm.experiments.worker import carry_out
from vlm.item import Item
from vlm.judges import Judge, JudgeRequest
from vlm.plans.cost import operations
from vlm.plans.plan import SkipPlan
from vlm.record_types import AnswerFields, FailureFields, OperationCounts, failed
from vlm.scoring import score
from vlm.scoring.thoughts import spoken

Fields: TypeAlias = AnswerFields | FailureFields


def sweep(
    spec: Spec,
    out: str | Path = "runs",
    *,
    part: Shard | None = None,
    device: str | None = None,
    device_map: str | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> Path:
    """Answer every item under every plan and append the results to the run directory.

    May be killed at any moment and started again: completed records are kept, and only missing ones are computed.
    Several workers with different `part` may run at once, on one machine or on many that share a file system.

    Parameters
    ----------
    spec : Spec
        What to compute.
    out : str or Path
        The run's directory is made in it: ``out/<spec.digest>``.
    part : Shard, optional
        Which worker this is; by default it does all the work.
    device, device_map : str, optional
        "cuda:0", "cpu", ...; "auto" to spread a large model over all GPUs that this process sees. They do not change
        the directory.
    retry_failed : bool
        Compute records again that say that the item or its judge failed.
    progress : bool
        Show a bar with the time left.

    Returns
    -------
    Path
        The run's directory, to be merged when all workers are done.

    Raises
    ------
    ValueError, FileNotFoundError
        The spec names what does not exist, or plans for a deeper model; found before any work.
    RuntimeError
        Another process does this part, or the run was begun with other versions.
    OSError
        The disk is full or cannot be written; nothing that was written is lost.

    See Also
    --------
    merged : The records of all workers in one order.
    measure_run : Redundancy and attention of the layers on the same items.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from vlm import merged, read_spec, sweep
    >>> spec = read_spec(data=["tiny"], limit=3, late_entry=[5])
    >>> with TemporaryDirectory() as folder:
    ...     run = sweep(spec, folder, progress=False)
    ...     records = merged(run)
    >>> run.name == spec.digest
    True
    >>> [(record["plan"], record["prediction"], record["score"]) for record in records[:2]]
    [('none', '2', 1.0), ('vision:0-5', '2', 1.0)]
    """
    run = Run.open(spec, out, part=part, device=device, device_map=device_map)
    return carry_out(run, _answering(run), retry_failed=retry_failed, progress=progress)


def _answering(run: Run) -> Callable[[Batch], Callable[[SkipPlan], Sequence[Fields]]]:
    """The work of a sweep; see `vlm.experiments.worker.Work`."""

    @cache
    def cost(vision: int, text: int, plan: SkipPlan) -> float:
        return operations(run.answerer.model, vision=vision, text=text, plan=plan).total

    def work(batch: Batch) -> Callable[[SkipPlan], Sequence[Fields]]:
        questions = run.answerer.questions(batch.items)

        def under(plan: SkipPlan) -> Sequence[Fields]:
            outcomes: list[Fields] = []
            for item, answer in zip(batch.items, run.answerer.answers(questions, plan), strict=True):
                if isinstance(answer, Answer):
                    vision, text = answer.tokens["vision"], answer.tokens["text"]
                    counts: OperationCounts = {"plan": cost(vision, text, plan), "full": cost(vision, text, SkipPlan())}
                    outcomes.append(_scored(item, _fields(answer, counts), run.protocol, run.spec.least_label_mass))
                else:
                    outcomes.append(failed(answer.reason))
            if run.judge is not None:
                _add_verdicts(batch.items, outcomes, run.protocol, run.judge)
            return outcomes

        return under

    return work


def _fields(answer: Answer, counts: OperationCounts) -> AnswerFields:
    """The fields of an answer that is not scored yet."""
    letters = answer.letter_probabilities
    return {
        "prediction": answer.prediction,
        "letter_probabilities": None if letters is None else list(letters),
        "tokens": answer.tokens,
        "operations": counts,
        "parsed": None,
        "score": None,
        "judge": None,
        "failure": None,
        "run": {**answer.run},
    }


def _scored(item: Item, answer: AnswerFields, protocol: Protocol, least_label_mass: float) -> AnswerFields:
    """Add the parsed answer and its score by the protocol's rule; labels without enough probability are unparsed."""
    letters = answer["letter_probabilities"]
    if letters is not None and sum(letters) < least_label_mass:
        return {**answer, "score": 0.0, "thought": "none"}
    try:
        result = score(item, answer["prediction"], scorer=protocol.scorer(item))
    except ValueError as error:  # such as an item without reference answers, which is not the model's fault
        return {**answer, "failure": f"not scored: {error}"}
    return {**answer, "parsed": result.parsed, "score": result.value, "thought": result.thought}


def _add_verdicts(items: Sequence[Item], outcomes: Sequence[Fields], protocol: Protocol, judge: Judge) -> None:
    """Replace scores by the judge's verdicts where the protocol has answers judged."""
    judged = [
        (item, outcome)
        for item, outcome in zip(items, outcomes, strict=True)
        if not outcome["failure"] and outcome["prediction"] is not None and protocol.judged(item)
    ]
    # Thoughts that never end hold no answer, and are not put to a judge who might find one in them.
    judged = [(item, answer) for item, answer in judged if answer.get("thought") != "endless"]
    verdicts = judge([_request(item, answer["prediction"], protocol) for item, answer in judged])
    for (_, answer), verdict in zip(judged, verdicts, strict=True):
        # Whether the verdict was new or remembered may differ between two runs.
        answer["run"]["judge"] = verdict.source
        answer["score"] = verdict.score
        answer["judge"] = {
            "score": verdict.score,
            "status": verdict.status,
            "raw": verdict.raw,
            "reason": verdict.reason,
        }


def _request(item: Item, prediction: str, protocol: Protocol) -> JudgeRequest:
    return JudgeRequest(
        dataset=item.dataset,
        id=item.id,
        question=item.question,
        references=item.answers,
        prediction=spoken(prediction).answer or "",
        scorer=protocol.scorer(item),
        options=item.options,
        details=item.details,
    )
