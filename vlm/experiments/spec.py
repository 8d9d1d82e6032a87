"""What an experiment is, as a value: model, data sets, plans, protocol, judge; from TOML, named by its content."""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from vlm.plans.plan import SkipPlan

_FORMAT = 1  # of records and directories; part of every digest


@dataclass(frozen=True)
class DataChoice:
    """One data set of an experiment.

    Attributes
    ----------
    name : str
        A declared data set ("gqa"), "tiny" for the embedded one, or "jsonl" for a file of one's own.
    source : str, optional
        Local folder or file to read instead of the hub.
    split : str, optional
        Another split than the declared one.
    limit : int, optional
        Number of items, drawn with `seed`; None for all of them.
    seed : int
        Chooses the items.
    streaming : bool
        Read from the hub without a full download.
    label : str
        Its name in records and tables; empty for `name`. Needed when one name is chosen twice.
    """

    name: str
    source: str | None = None
    split: str | None = None
    limit: int | None = None
    seed: int = 0
    streaming: bool = False
    label: str = ""

    def __post_init__(self) -> None:
        _check_kinds(self, "data")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"data: expected a limit >= 1, got {self.limit} for {self.name!r}")
        if self.streaming and self.limit is not None and self.seed != 0:
            raise ValueError(f"data: expected seed 0, got {self.seed} for {self.name!r}; a stream is cut, not sampled")
        object.__setattr__(self, "label", self.label or self.name)
        if "/" in self.label or self.label.startswith("."):
            raise ValueError(f"data: expected a label without '/' that may name a file, got {self.label!r}")


@dataclass(frozen=True)
class Spec:
    """What is computed, and nothing about how: equal specs have equal results and share a directory.

    Attributes
    ----------
    model : str
        "tiny", a folder, or a hub id; see `vlm.load`.
    revision, dtype, attention
        Branch or commit on the hub; "float32", "bfloat16", ...; one of `vlm.load`'s kinds of attention. None leaves
        the choice to the checkpoint.
    data : tuple of DataChoice
        In the order of the tables.
    plans : tuple of str
        Text forms of skip plans, sorted, each once. The unskipped model, "none", is always among them.
    protocol : str
        "skip-it" or "lmms-eval".
    judge : str
        "rule", "chat:MODEL", "composite:MODEL" or "recorded:FILE".
    thresholds : tuple of float
        Cosine distances that the measurement counts at.
    batch_size : int
        Items per call. Part of the content, since batching changes the last bits of logits.
    seed : int
        Set before every call.
    confidence : float
        Of every interval.
    """

    model: str = "tiny"
    data: tuple[DataChoice, ...] = field(default_factory=lambda: (DataChoice("tiny"),))
    plans: tuple[str, ...] = ("none",)
    protocol: str = "skip-it"
    judge: str = "rule"
    revision: str | None = None
    dtype: str | None = None
    attention: str = "sdpa"
    thresholds: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    batch_size: int = 8
    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _check_kinds(self, "spec")
        plans = {SkipPlan(), *(SkipPlan.parse(text) for text in self.plans)}
        object.__setattr__(self, "plans", tuple(str(plan) for plan in sorted(plans, key=_place)))
        labels = [choice.label for choice in self.data]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if not labels or twice:
            raise ValueError(
                "data: expected at least one data set, each under its own label, got "
                + (f"{', '.join(twice)} more than once; give each a `label`" if twice else "none")
            )
        if self.batch_size < 1:
            raise ValueError(f"batch_size: expected a whole number >= 1, got {self.batch_size}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence: expected a number in (0, 1), got {self.confidence}")
        if not self.thresholds or min(self.thresholds) < 0:
            raise ValueError(f"thresholds: expected cosine distances >= 0, got {list(self.thresholds)}")

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name the run directory: a hash of the whole content."""
        return _digest(self.content())

    @property
    def measurement(self) -> str:
        """The same of the part that a measurement depends on, so that experiments on other plans share it."""
        content = self.content()
        return "measure-" + _digest({k: v for k, v in content.items() if k not in ("plans", "judge", "confidence")})

    def content(self) -> dict[str, Any]:
        """Every field, as JSON values."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {**content, "format": _FORMAT}

    def skip_plans(self) -> tuple[SkipPlan, ...]:
        """The plans as values, in order."""
        return tuple(SkipPlan.parse(text) for text in self.plans)

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> Spec:
        """Read what :meth:`content` gave."""
        if content.get("format") != _FORMAT:
            raise ValueError(f"spec: expected format {_FORMAT}, got {content.get('format')!r}; start a new run")
        return _from_mapping({k: v for k, v in content.items() if k != "format"})


def read_spec(path: str | Path | None = None, **flags: Any) -> Spec:
    """A spec from a TOML file, with flags that are not None in the place of what it says.

    The file has the fields of `Spec`; `late_entry` and `early_exit` are lists of layers that become plans; `data`
    is a list of names, or of tables with the fields of `DataChoice`; `limit` at the top holds for all of them
    that have none.

    Raises
    ------
    ValueError
        An unknown key, a value of the wrong kind, a plan that cannot be read, a file that is no TOML.
    FileNotFoundError
        No such file.
    """
    told: dict[str, Any] = {}
    if path is not None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"spec: no file at {path}; expected a TOML file with keys {', '.join(_keys())}")
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"spec: expected TOML in {path}, but {error}") from error
    return _from_mapping({**told, **{name: value for name, value in flags.items() if value is not None}})


def _from_mapping(given: Mapping[str, Any]) -> Spec:
    _check_names(given, _keys(), "spec")
    told = dict(given)
    plans = _texts(told.pop("plans", ()), "plans")
    plans += [str(SkipPlan.late_entry(k)) for k in _layers(told.pop("late_entry", ()), "late_entry")]
    plans += [str(SkipPlan.early_exit(k)) for k in _layers(told.pop("early_exit", ()), "early_exit")]
    limit = told.pop("limit", None)
    listed = told.pop("data", ["tiny"])
    if not isinstance(listed, (list, tuple)):
        raise ValueError(f"data: expected a list of names or tables, got {listed!r}")
    data = tuple(_choice(entry) for entry in listed)
    if limit is not None:
        data = tuple(choice if choice.limit is not None else replace(choice, limit=limit) for choice in data)
    if isinstance(told.get("thresholds"), list):
        told["thresholds"] = tuple(float(t) if type(t) is int else t for t in told["thresholds"])
    return Spec(**told, data=data, plans=tuple(plans))


def _choice(entry: Any) -> DataChoice:
    if isinstance(entry, DataChoice):
        return entry
    if isinstance(entry, str):
        return DataChoice(entry)
    if not isinstance(entry, dict) or "name" not in entry:
        raise ValueError(f"data: expected a name or a table with the key 'name', got {entry!r}")
    _check_names(entry, [f.name for f in fields(DataChoice)], "data")
    return DataChoice(**entry)


def _keys() -> list[str]:
    return [f.name for f in fields(Spec)] + ["late_entry", "early_exit", "limit"]


def _check_names(given: Mapping[str, Any], known: Sequence[str], place: str) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{place}: unknown key {name!r}{hint} Known keys: {', '.join(known)}")


def _check_kinds(value: DataChoice | Spec, place: str) -> None:
    """Refuse a wrong kind by name; annotations are the only place that says what is right."""
    kinds = {"str": (str,), "int": (int,), "bool": (bool,), "float": (float, int), "None": (type(None),)}
    for f in fields(value):
        got = getattr(value, f.name)
        wanted = str(f.type)
        if wanted.startswith("tuple["):
            inner = {"str": str, "float": float, "DataChoice": DataChoice}[wanted[6:].split(",")[0]]
            good = isinstance(got, tuple) and all(type(part) is inner for part in got)
        else:
            allowed = [kind for name in wanted.split(" | ") for kind in kinds[name]]
            good = type(got) in allowed
        if not good:
            raise ValueError(f"{place}: expected {f.name} as {wanted}, got {got!r}")


def _texts(given: Any, name: str) -> list[str]:
    if not isinstance(given, (list, tuple)) or not all(isinstance(text, str) for text in given):
        raise ValueError(f"{name}: expected a list of texts, got {given!r}")
    return list(given)


def _layers(given: Any, name: str) -> list[int]:
    if not isinstance(given, (list, tuple)) or not all(type(k) is int and k >= 0 for k in given):
        raise ValueError(f"{name}: expected a list of layers >= 0, got {given!r}")
    return list(given)


def _place(plan: SkipPlan) -> tuple[bool, list[list[tuple[int, float]]], str]:
    """The empty plan first, then by layers."""
    ends = [[(a, float("inf") if b is None else b) for a, b in ranges] for ranges in (plan.vision, plan.text)]
    return bool(plan), ends, str(plan)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
