"""Sweep plans over data sets: every question under every plan, scored and written down."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch

from vlm.evaluation.answering import Answer, Asking
from vlm.experiments.batches import Batch
from vlm.experiments.shards import Shard
from vlm.experiments.spec import Spec
from vlm.experiments.worker import carry_out, failed
from vlm.item import Item
from vlm.models.loading import ATTENTION, EMBEDDED, load
from vlm.plans.cost import operations
from vlm.plans.plan import SkipPlan
from vlm.record_log import Record
from vlm.scoring import score

_DTYPES = (None, "float32", "bfloat16", "float16", "float64")


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
    """Ask every question of every data set under every plan, and write down what came.

    May be killed at any moment and started again: what is on disk is not repeated, what is not is done. Several
    workers with different `part` may run at once, on one machine or on many that share a file system.

    Parameters
    ----------
    spec : Spec
        What to compute.
    out : str or Path
        The run's directory is made in it: `out/<spec.digest>`.
    part : Shard, optional
        Which worker this is; all the work by default.
    device, device_map : str, optional
        "cuda:0", "cpu", ...; "auto" to spread a large model over all GPUs that this process sees. How, not what:
        they do not change the directory.
    retry_failed : bool
        Try items again whose record says that they failed.
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
    """
    protocol = check(spec)
    judge = _judge(spec, Path(out) / "verdicts")
    ask = asking(spec, protocol, device, device_map)

    @cache
    def cost(vision: int, text: int, plan: SkipPlan) -> float:
        return operations(ask().model, vision=vision, text=text, plan=plan).total

    def work(batch: Batch) -> Callable[[SkipPlan], Sequence[Record]]:
        questions = ask().questions(batch.items)

        def under(plan: SkipPlan) -> Sequence[Record]:
            told = []
            for answer in ask().answers(questions, plan):
                if isinstance(answer, Answer):
                    vision, text = answer.tokens["vision"], answer.tokens["text"]
                    operated = {"plan": cost(vision, text, plan), "full": cost(vision, text, SkipPlan())}
                    told.append({**asdict(answer), "operations": operated, "failure": None})
                else:
                    told.append(failed(answer.reason))
            return _scored(batch.items, told, protocol, judge)

        return under

    return carry_out(
        spec, Path(out) / spec.digest, protocol, work, part=part, retry_failed=retry_failed, progress=progress
    )


def check(spec: Spec) -> Any:
    """The protocol of a spec, after looking for everything that can be wrong without loading a model.

    Raises
    ------
    ValueError
        An unknown protocol or data set, or a plan that the model is not deep enough for.
    FileNotFoundError
        A source that is not there.
    """
    from vlm.datasets import DATASETS, group_of, read
    from vlm.evaluation.protocols import PROTOCOLS

    if spec.protocol not in PROTOCOLS:
        raise ValueError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {spec.protocol!r}")
    for name, known in (("dtype", _DTYPES), ("attention", ATTENTION)):
        if getattr(spec, name) not in known:
            listed = ", ".join(str(value) for value in known if value)
            raise ValueError(f"{name}: expected one of {listed}, got {getattr(spec, name)!r}")
    fetched = {dataset.name for dataset in DATASETS if dataset.places} | {"tiny"}
    for choice in spec.data:
        group_of(choice.name)
        if choice.source is not None or choice.name not in fetched:
            read(**{name: value for name, value in asdict(choice).items() if name != "label"})
    depth = _depth(spec)
    for plan in spec.skip_plans():
        plan.resolved(depth)
    return PROTOCOLS[spec.protocol]


def asking(spec: Spec, protocol: Any, device: str | None, device_map: str | None) -> Callable[[], Asking]:
    """A function that loads the model when it is first needed: a run that is complete needs none."""
    how: dict[str, Any] = {"attention": spec.attention, "revision": spec.revision}
    how["dtype"] = None if spec.dtype is None else getattr(torch, spec.dtype)
    how |= {"device_map": device_map} if device_map else {"device": device or _device()}

    @cache
    def loaded() -> Asking:
        model, processor = load(spec.model, **how)
        return Asking(model, processor, protocol, spec.seed)

    return loaded


def _scored(items: Sequence[Item], told: Sequence[Record], protocol: Any, judge: Any) -> list[Record]:
    """Add parsed answer, score and verdict: by rule, or by the judge where the protocol wants one."""
    out = []
    for item, record in zip(items, told, strict=True):
        if not record["failure"]:
            record = {**record, "parsed": None, "score": None, "judge": None}
            try:
                found = score(item, record["prediction"], scorer=protocol.scorer(item))
                record |= {"parsed": found.parsed, "score": found.value}
            except ValueError as error:  # no reference answers, say: not the model's fault
                record["failure"] = f"not scored: {error}"
        out.append(record)
    if judge is None:
        return out
    asked = [i for i, item in enumerate(items) if not out[i]["failure"] and protocol.judged(item)]
    verdicts = judge([_request(items[i], out[i]["prediction"], protocol) for i in asked])
    for i, verdict in zip(asked, verdicts, strict=True):
        told_by = asdict(verdict)
        # Whether it was asked now or remembered may differ between two runs.
        out[i]["run"] |= {"judge": told_by.pop("source")}
        out[i] |= {"score": verdict.score, "judge": told_by}
    return out


def _request(item: Item, prediction: str, protocol: Any) -> Any:
    from vlm.judges import JudgeRequest

    return JudgeRequest(
        dataset=item.dataset,
        id=item.id,
        question=item.question,
        references=item.answers,
        prediction=prediction,
        scorer=protocol.scorer(item),
        options=item.options,
        details=item.details,
    )


def _judge(spec: Spec, cache: Path) -> Any:
    if spec.judge == "rule":
        return None
    from vlm.judges import from_name

    return from_name(spec.judge, cache=cache)


def _depth(spec: Spec) -> int:
    """Number of decoder layers, from the configuration alone."""
    from transformers import AutoConfig

    source = EMBEDDED.get(spec.model, spec.model)
    config = AutoConfig.from_pretrained(source, revision=spec.revision or "main", trust_remote_code=False)
    return int(config.get_text_config().num_hidden_layers)


def _device() -> str:
    """This process's own GPU under torchrun, else the first one, else the CPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
