"""A run to be worked on: everything that a spec names, looked up once, before any work and without loading a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from vlm.engine.planned_loading import load
from vlm.evaluation.answering import Answerer
from vlm.evaluation.process_device import own_device
from vlm.evaluation.protocols import PROTOCOLS, Protocol, customised
from vlm.experiments.run_directory import StoredRun, versions
from vlm.experiments.shards import Shard
from vlm.experiments.spec import DataChoice, Spec
from vlm.item import Failure, Item
from vlm.judges import Judge
from vlm.models.fingerprint import model_config
from vlm.models.loading import ATTENTION, check_device, check_device_map

Purpose = Literal["sweep", "measurement"]
DType = Literal["float32", "bfloat16", "float16", "float64"]
_DTYPES: dict[str | None, torch.dtype | None] = {
    None: None,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}

# From a data set, and a function that says for which positions images are needed, to its items and failures.
Reader: TypeAlias = Callable[[DataChoice, Callable[[int], bool]], Iterable[Item | Failure]]


def read_items(choice: DataChoice, decoded: Callable[[int], bool]) -> Iterable[Item | Failure]:
    """The items and failures of a data set; images only at the positions that `decoded` names."""
    from vlm.datasets import read

    return read(**_source(choice), decoded=decoded)


@dataclass(frozen=True, eq=False)
class Run(StoredRun):
    """An experiment, its directory, and what is needed to carry out one worker's part of it.

    Made by :meth:`open`, which checks everything that can be wrong without loading a model; nothing is written.

    Attributes
    ----------
    spec, folder
        See `StoredRun`.
    protocol : Protocol
        How items are asked and scored.
    versions : mapping
        What made the records: versions of packages and protocol, fingerprint of the model.
    depth : int
        Number of decoder layers.
    judge : function or None
        The language-model judge of the spec; None where answers are scored by rule.
    part : Shard
        Which worker this is.
    device, device_map : str, optional
        Where the model goes.
    reader : function
        Reads a data set.
    """

    protocol: Protocol
    versions: Mapping[str, str] = field(repr=False)
    depth: int
    judge: Judge | None = field(default=None, repr=False)
    part: Shard = field(default_factory=Shard)
    device: str | None = None
    device_map: str | None = None
    reader: Reader = field(default=read_items, repr=False)

    @classmethod
    def open(
        cls,
        spec: Spec,
        out: str | Path = "runs",
        *,
        purpose: Purpose = "sweep",
        part: Shard | None = None,
        device: str | None = None,
        device_map: str | None = None,
    ) -> Run:
        """Look up everything that a spec names.

        Parameters
        ----------
        spec : Spec
            What is computed.
        out : str or Path
            The run's directory is ``out/<digest>``, or ``out/<measurement>`` for a measurement.
        purpose : {"sweep", "measurement"}
            Which directory.
        part, device, device_map
            As for `vlm.sweep`.

        Raises
        ------
        ValueError
            An unknown protocol, data set, dtype, attention or judge, or a plan for a deeper model.
        FileNotFoundError
            A source or a file of verdicts does not exist.
        """
        protocol = _protocol(spec)
        check_device(device)
        check_device_map(device_map)
        _check_data(spec)
        depth = _depth(spec)
        for plan in spec.skip_plans():
            plan.resolved(depth)
        return cls(
            spec=spec,
            folder=Path(out) / (spec.digest if purpose == "sweep" else spec.measurement),
            protocol=protocol,
            depth=depth,
            judge=_judge(spec, Path(out) / "verdicts"),
            versions=versions(spec, protocol),
            part=part or Shard(),
            device=device,
            device_map=device_map,
        )

    @cached_property
    def answerer(self) -> Answerer:
        """The model under the protocol; loaded on first use, since a complete run needs none."""
        place = {"device_map": self.device_map} if self.device_map else {"device": self.device or own_device()}
        how: dict[str, Any] = {"dtype": _DTYPES[self.spec.dtype], "attention": self.spec.attention, **place}
        model, processor = load(self.spec.model, revision=self.spec.revision, **how)
        return Answerer(model, processor, self.protocol, self.spec.seed)


def _protocol(spec: Spec) -> Protocol:
    if spec.protocol not in PROTOCOLS:
        raise ValueError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {spec.protocol!r}")
    if spec.dtype not in _DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(n for n in _DTYPES if n)}, got {spec.dtype!r}")
    if spec.attention not in ATTENTION:
        raise ValueError(f"attention: expected one of {', '.join(ATTENTION)}, got {spec.attention!r}")
    return customised(PROTOCOLS[spec.protocol], dict(spec.prompts), spec.max_new_tokens)


def _check_data(spec: Spec) -> None:
    """Refuse unknown data sets and missing sources. Data sets on the hub are not fetched yet."""
    from vlm.datasets import DATASETS, group_of, read

    fetched = {dataset.name for dataset in DATASETS if dataset.places} | {"tiny"}
    for choice in spec.data:
        group_of(choice.name)
        if choice.source is not None or choice.name not in fetched:
            read(**_source(choice))


def _source(choice: DataChoice) -> dict[str, Any]:
    """Arguments of `vlm.datasets.read`."""
    return {name: value for name, value in asdict(choice).items() if name != "label"}


def _judge(spec: Spec, cache: Path) -> Judge | None:
    if spec.judge == "rule":
        return None
    from vlm.judges import from_name

    return from_name(spec.judge, cache=cache, **spec.judge_options())


def _depth(spec: Spec) -> int:
    """Number of decoder layers, from the configuration alone."""
    depth = getattr(model_config(spec.model, spec.revision).get_text_config(), "num_hidden_layers", None)
    if depth is None:
        raise ValueError(f"model: expected a vision-language model with decoder layers, got {spec.model!r}")
    return int(depth)
