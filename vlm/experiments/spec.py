"""What an experiment is, as a value: model, data sets, plans, protocol, judge; read from TOML, named by its content."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from redundancy.display import Displayed
from vlm.plans.plan import SkipPlan

_FORMAT = 1  # of records and directories; part of every digest
_FORBIDDEN = '<>:"/\\|?*'  # in file names on Windows
_DEVICES = r"con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[\d¹²³]"  # of Windows
_NO_FILE_NAME = re.compile(
    rf"[{re.escape(_FORBIDDEN)}\x00-\x1f\x7f]|^[. ]|[. ]$|^(?:{_DEVICES}) *(?:\.|$)", re.IGNORECASE
)
_LONGEST = 120  # bytes of a label: file systems take 255 of a name, and a suffix follows
_SEEDS = 2**63  # what torch and NumPy both take


KINDS = ("choice", "yes/no", "open", "ocr", "math")
_HOW = ("judge_timeout", "judge_retries", "judge_concurrency")
_LATER = ("prompts", "max_new_tokens", "least_label_mass", "judge_parameters")
_NOT_MEASURED = ("plans", "judge", "judge_parameters", "confidence", "least_label_mass", "max_new_tokens")


@dataclass(frozen=True, repr=False)
class DataChoice(Displayed):
    """One data set of an experiment.

    Attributes
    ----------
    name : str
        A declared data set ("gqa"), "tiny" for the embedded one, or "jsonl" for a file of your own.
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

    Raises
    ------
    ValueError
        A value of the wrong kind, a limit below 1, a seed for a cut stream, a label that cannot name a file.

    Examples
    --------
    >>> from vlm.experiments.spec import DataChoice
    >>> DataChoice("gqa", limit=100)
    DataChoice(gqa, limit=100)
    >>> DataChoice("jsonl", source="mine.jsonl", label="mine")
    DataChoice(jsonl, source='mine.jsonl', label='mine')
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
        _check_seed(self.seed, "data: seed")
        if self.streaming and self.limit is not None and self.seed != 0:
            raise ValueError(f"data: expected seed 0, got {self.seed} for {self.name!r}; a stream is cut, not sampled")
        # One form of accented letters: macOS stores another than it is given.
        object.__setattr__(self, "label", unicodedata.normalize("NFC", self.label or self.name))
        if _NO_FILE_NAME.search(self.label) or not 0 < len(self.label.encode(errors="replace")) <= _LONGEST:
            shown = self.label if len(self.label) <= 40 else self.label[:40] + "..."
            raise ValueError(
                f"data: expected a label that can name a file on every system, of at most {_LONGEST} bytes, without "
                f"{_FORBIDDEN} and without a dot or space at either end, got {shown!r}"
            )

    def __repr__(self) -> str:
        defaults = {f.name: f.default for f in fields(self)} | {"label": self.name}
        values = {f.name: getattr(self, f.name) for f in fields(self)[1:]}
        set_here = [f"{name}={value!r}" for name, value in values.items() if value != defaults[name]]
        return f"DataChoice({', '.join([self.name, *set_here])})"


@dataclass(frozen=True, repr=False)
class Spec(Displayed):
    """What is computed, and nothing about how: equal specs have equal results and share a directory.

    Attributes
    ----------
    model : str
        "tiny", a folder, or a hub id; see `vlm.load`.
    data : tuple of DataChoice
        In the order of the tables.
    plans : tuple of str
        Text forms of skip plans, sorted and without duplicates. The plan without skips, "none", is always among them.
    protocol : str
        "skip-it" or "lmms-eval".
    judge : str
        "rule", "chat:MODEL", "composite:MODEL" or "recorded:FILE".
    revision : str, optional
        Branch or commit on the hub.
    dtype : str, optional
        "float32", "bfloat16", "float16" or "float64"; None leaves the choice to the checkpoint.
    attention : str
        One of `vlm.load`'s attention implementations.
    thresholds : tuple of float
        Cosine distances t for which a measurement counts the tokens with a distance of at most t.
    batch_size : int
        Items per call. Part of the content, since batching changes the last bits of logits.
    seed : int
        Set before every call.
    confidence : float
        Confidence of every interval, in (0, 1).
    prompts : tuple of (str, str)
        Another instruction by kind of question ("choice", "yes/no", "open", "ocr", "math"), in place of the protocol's;
        a table in TOML.
    max_new_tokens : int, optional
        Limit of every generated answer, in place of the protocol's.
    least_label_mass : float
        An answer from one forward pass whose labels together have less probability is unparsed, in [0, 1].
    judge_parameters : tuple of (str, value)
        Parameters of a chat judge's calls, in place of its defaults; a table in TOML.
    judge_timeout, judge_retries, judge_concurrency : float, int, int
        How a chat judge is asked: seconds per attempt, attempts after a failure, requests in flight. They change no
        result and no directory.

    Raises
    ------
    ValueError
        A value of the wrong kind or out of range, a plan that cannot be read, a label that comes twice.

    See Also
    --------
    read_spec : Reads a spec from a TOML file.
    sweep, measure_run : Carry it out.

    Examples
    --------
    >>> from vlm import Spec
    >>> from vlm.experiments.spec import DataChoice
    >>> spec = Spec(data=(DataChoice("tiny", limit=20),), plans=("vision:6-",))
    >>> spec
    Spec(60ea71b12615: tiny on tiny, 2 plans, skip-it, judge rule)
    >>> spec.plans
    ('none', 'vision:6-')
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
    prompts: tuple[tuple[str, str], ...] = ()
    max_new_tokens: int | None = None
    least_label_mass: float = 0.0
    judge_parameters: tuple[tuple[str, str | int | float | bool], ...] = ()
    judge_timeout: float = 60.0
    judge_retries: int = 4
    judge_concurrency: int = 8

    def __post_init__(self) -> None:
        _check_kinds(self, "spec")
        for name in ("prompts", "judge_parameters"):
            object.__setattr__(self, name, tuple(sorted(getattr(self, name))))
        unknown = sorted({kind for kind, _ in self.prompts} - set(KINDS))
        if unknown:
            raise ValueError(f"prompts: expected kinds of question ({', '.join(KINDS)}), got {', '.join(unknown)}")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens: expected a whole number >= 1, got {self.max_new_tokens}")
        if not 0 <= self.least_label_mass <= 1:
            raise ValueError(f"least_label_mass: expected a probability in [0, 1], got {self.least_label_mass}")
        if not (0 < self.judge_timeout < math.inf and self.judge_retries >= 0 and self.judge_concurrency >= 1):
            raise ValueError(
                "judge: expected judge_timeout > 0, judge_retries >= 0 and judge_concurrency >= 1, got "
                f"{self.judge_timeout}, {self.judge_retries}, {self.judge_concurrency}"
            )
        plans = {SkipPlan(), *(SkipPlan.parse(text) for text in self.plans)}
        object.__setattr__(self, "plans", tuple(str(plan) for plan in sorted(plans, key=_order)))
        # Windows and macOS take labels that differ only in case for one file.
        labels = [choice.label.casefold() for choice in self.data]
        twice = sorted({choice.label for choice in self.data if labels.count(choice.label.casefold()) > 1})
        if not labels or twice:
            raise ValueError(
                "data: expected at least one data set, each under its own label, got "
                + (f"{', '.join(twice)} more than once; give each a `label`" if twice else "none")
            )
        if self.batch_size < 1:
            raise ValueError(f"batch_size: expected a whole number >= 1, got {self.batch_size}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence: expected a number in (0, 1), got {self.confidence}")
        named = {f"{t:g}" for t in self.thresholds}  # as columns of tables are
        if not named or not all(0 <= t < math.inf for t in self.thresholds) or len(named) < len(self.thresholds):
            raise ValueError(
                f"thresholds: expected cosine distances >= 0 that differ in six digits, got {list(self.thresholds)}"
            )
        _check_seed(self.seed, "seed")

    def __repr__(self) -> str:
        labels = [choice.label for choice in self.data]
        shown = ", ".join(labels[:4]) + (f" and {len(labels) - 4} more" if len(labels) > 4 else "")
        plans = f"{len(self.plans)} plan{'' if len(self.plans) == 1 else 's'}"
        return f"Spec({self.digest}: {self.model} on {shown}, {plans}, {self.protocol}, judge {self.judge})"

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name the run directory: a hash of the whole content."""
        return _digest(self.content())

    @property
    def measurement(self) -> str:
        """Name of the measurement's directory: a hash of what a measurement depends on.

        Specs that differ only in plans, judge or confidence share a measurement.
        """
        content = self.content()
        return "measure-" + _digest({k: v for k, v in content.items() if k not in _NOT_MEASURED})

    def content(self) -> dict[str, Any]:
        """Every field that results depend on, as JSON values, and the format of the records.

        Fields that came later are left out at their defaults, so that older runs keep their names.
        """
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for f in fields(self):
            if f.name in _HOW or (f.name in _LATER and getattr(self, f.name) == f.default):
                del content[f.name]
        tables: dict[str, Any] = {
            name: dict(content[name]) for name in ("prompts", "judge_parameters") if name in content
        }
        return {**content, **tables, "format": _FORMAT}

    def judge_options(self) -> dict[str, Any]:
        """How a chat judge is made, as keyword arguments of `vlm.judges.from_name`."""
        return {
            "timeout": self.judge_timeout,
            "retries": self.judge_retries,
            "concurrency": self.judge_concurrency,
            "parameters": dict(self.judge_parameters) or None,
        }

    def skip_plans(self) -> tuple[SkipPlan, ...]:
        """The plans as values, in order."""
        return tuple(SkipPlan.parse(text) for text in self.plans)

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> Spec:
        """The spec whose :meth:`content` is given; a ValueError if it was written in another format."""
        if content.get("format") != _FORMAT:
            raise ValueError(f"spec: expected format {_FORMAT}, got {content.get('format')!r}; start a new run")
        return _from_mapping({k: v for k, v in content.items() if k != "format"})


def read_spec(path: str | Path | None = None, **values: object) -> Spec:
    """Read a spec from a TOML file; keyword arguments that are not None replace the file's values.

    Parameters
    ----------
    path : str or Path, optional
        TOML file with the fields of `Spec`; without it, the defaults of `Spec` hold. Four keys are short forms:
        `late_entry` and `early_exit` are lists of layers, each of which becomes a plan; `limit` and `data_seed` (which
        chooses the items) apply to every data set without its own. `data` is a list of names, or of
        tables with the fields of `DataChoice`.
    **values
        The same keys.

    Returns
    -------
    Spec

    Raises
    ------
    ValueError
        An unknown key, a value of the wrong kind, a plan that cannot be read, a file that is not TOML.
    FileNotFoundError
        No such file.

    See Also
    --------
    Spec : What the fields mean.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from vlm import read_spec
    >>> text = 'data = ["tiny"]' + chr(10) + 'late_entry = [2, 4]'
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "experiment.toml"
    ...     _ = path.write_text(text)
    ...     spec = read_spec(path, limit=20)
    >>> spec.plans
    ('none', 'vision:0-2', 'vision:0-4')
    >>> spec.data
    (DataChoice(tiny, limit=20),)
    """
    content: dict[str, Any] = {}
    if path is not None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"spec: no file at {path}; expected a TOML file with keys {', '.join(_keys())}")
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:  # other text, another encoding, a number without end
            reason = str(error).partition("\n")[0]
            raise ValueError(f"spec: expected TOML in {path}, in UTF-8, but {reason}") from None
    return _from_mapping({**content, **{name: value for name, value in values.items() if value is not None}})


def _from_mapping(given: Mapping[str, Any]) -> Spec:
    _check_names(given, _keys(), "spec")
    values = dict(given)
    plans = _texts(values.pop("plans", ()), "plans")
    plans += [str(SkipPlan.late_entry(k)) for k in _layers(values.pop("late_entry", ()), "late_entry")]
    plans += [str(SkipPlan.early_exit(k)) for k in _layers(values.pop("early_exit", ()), "early_exit")]
    limit, data_seed = values.pop("limit", None), values.pop("data_seed", None)
    for name in ("prompts", "judge_parameters"):
        if isinstance(values.get(name), dict):
            values[name] = tuple(values[name].items())
    entries = values.pop("data", ["tiny"])
    if not isinstance(entries, (list, tuple)):
        raise ValueError(f"data: expected a list of names or tables, got {entries!r}")
    data = tuple(_choice(entry) for entry in entries)
    if limit is not None:
        data = tuple(choice if choice.limit is not None else replace(choice, limit=limit) for choice in data)
    if data_seed is not None:
        data = tuple(choice if choice.seed else replace(choice, seed=data_seed) for choice in data)
    if isinstance(values.get("judge_timeout"), int) and not isinstance(values["judge_timeout"], bool):
        values["judge_timeout"] = float(values["judge_timeout"])
    if isinstance(values.get("thresholds"), list):
        values["thresholds"] = tuple(float(t) if type(t) is int else t for t in values["thresholds"])
    return Spec(**values, data=data, plans=tuple(plans))


def _choice(entry: object) -> DataChoice:
    if isinstance(entry, DataChoice):
        return entry
    if isinstance(entry, str):
        return DataChoice(entry)
    if not isinstance(entry, dict) or "name" not in entry:
        raise ValueError(f"data: expected a name or a table with the key 'name', got {entry!r}")
    _check_names(entry, [f.name for f in fields(DataChoice)], "data")
    return DataChoice(**entry)


def _keys() -> list[str]:
    return [f.name for f in fields(Spec)] + ["late_entry", "early_exit", "limit", "data_seed"]


def _check_names(given: Mapping[str, object], names: Sequence[str], place: str) -> None:
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{place}: unknown key {name!r}{hint} Known keys: {', '.join(names)}")


def _check_kinds(value: DataChoice | Spec, place: str) -> None:
    """Check each field against the type of the dataclass annotation."""
    hints = get_type_hints(type(value))
    for f in fields(value):
        if not _has_type(getattr(value, f.name), hints[f.name]):
            raise ValueError(f"{place}: expected {f.name} as {f.type}, got {getattr(value, f.name)!r}")


def _has_type(value: object, hint: Any) -> bool:
    """Whether a value has exactly a type, so that True is not an int; an int stands for a float that is a field."""
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if not isinstance(value, tuple):
            return False
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            return all(_has_type(part, kinds[0]) for part in value)
        return len(value) == len(kinds) and all(map(_has_type, value, kinds))
    if get_origin(hint) is UnionType:
        return any(_has_type(value, option) for option in get_args(hint))
    return type(value) is hint or (hint is float and type(value) is int)


def _check_seed(seed: int, name: str) -> None:
    if not 0 <= seed < _SEEDS:
        raise ValueError(f"{name}: expected a whole number from 0 to {_SEEDS - 1}, got {seed}")


def _texts(given: object, name: str) -> list[str]:
    if not isinstance(given, (list, tuple)) or not all(isinstance(text, str) for text in given):
        raise ValueError(f"{name}: expected a list of texts, got {given!r}")
    return list(given)


def _layers(given: object, name: str) -> list[int]:
    if not isinstance(given, (list, tuple)) or not all(type(k) is int and k >= 0 for k in given):
        raise ValueError(f"{name}: expected a list of layers >= 0, got {given!r}")
    return list(given)


def _order(plan: SkipPlan) -> tuple[bool, list[list[tuple[int, float]]], str]:
    """Sort key: the empty plan first, then by layers."""
    ends = [[(a, float("inf") if b is None else b) for a, b in ranges] for ranges in (plan.vision, plan.text)]
    return bool(plan), ends, str(plan)


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
