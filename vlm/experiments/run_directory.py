"""A run on disk: a directory named by its content, the versions that made it, the items it is about, its records."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict, cast

from vlm.atomic_files import writing
from vlm.evaluation.protocols import Protocol
from vlm.experiments.shards import Shard
from vlm.experiments.spec import Spec
from vlm.item import Failure, Item
from vlm.models.fingerprint import file_digest, model_identity
from vlm.plans.plan import SkipPlan
from vlm.record_log import busy, placed
from vlm.record_types import RunRecord

_FAILURE = "failure"


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A run's directory and the spec in it: all that merging needs.

    Attributes
    ----------
    spec : Spec
        What is computed.
    folder : Path
        The run's directory.
    """

    spec: Spec
    folder: Path

    @cached_property
    def plans(self) -> tuple[SkipPlan, ...]:
        """The plans of the spec, in order."""
        return self.spec.skip_plans()

    @cached_property
    def plan_digests(self) -> tuple[str, ...]:
        """The digest of each plan."""
        return tuple(plan.digest for plan in self.plans)

    @cached_property
    def digest(self) -> str:
        """The digest of the spec."""
        return self.spec.digest

    def item_ids(self) -> dict[str, list[str] | None]:
        """All item ids of each data set in order, by label; None while no worker has read the data set to its end."""
        return {choice.label: Items(self.folder, choice.label).ids for choice in self.spec.data}


class SpecFile(TypedDict):
    """What `spec.json` contains."""

    content: dict[str, Any]
    versions: dict[str, str]


def stored_run(folder: str | Path) -> StoredRun:
    """The run in a directory; a FileNotFoundError if there is none."""
    return StoredRun(spec_of(folder), Path(folder))


def begin(folder: Path, content: Mapping[str, object], versions: Mapping[str, str]) -> None:
    """Make a run's directory, or enter it again.

    Raises
    ------
    RuntimeError
        It was begun with other versions, whose results must not be mixed with these.
    OSError
        It cannot be written.
    """
    path = folder / "spec.json"
    if not path.exists():
        with writing(path, replace=False) as file:  # of two that start together, the second reads the first one's
            file.write(json.dumps({"content": content, "versions": versions}, indent=2, sort_keys=True) + "\n")
    stored = _spec_file(path)
    before = stored["versions"]
    changed = {name: before.get(name) for name in versions if before.get(name) != versions[name]}
    if changed or set(before) - set(versions):
        changes = ", ".join(f"{name} {was} (now {versions[name]})" for name, was in changed.items())
        raise RuntimeError(
            f"run: {folder} was begun with {changes or 'other packages'}; bring that back, or choose another --out"
        )
    if stored["content"] != content:
        raise RuntimeError(f"run: {path} does not describe this experiment; choose another --out")


def spec_of(folder: str | Path) -> Spec:
    """The spec of a run's directory."""
    path = Path(folder) / "spec.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"run directory: no spec.json in {folder}; expected a directory made by `python -m vlm measure` or "
            "`sweep`, which print its name"
        )
    return Spec.from_content(_spec_file(path)["content"])


def same_model(first: str | Path, second: str | Path) -> bool:
    """Whether two run directories record the same model fingerprint (True if either records none)."""
    paths = [Path(folder) / "spec.json" for folder in (first, second)]
    fingerprints = [_spec_file(path)["versions"].get("model") for path in paths if path.is_file()]
    return len(set(fingerprints) - {None}) < 2


def versions(spec: Spec, protocol: Protocol) -> dict[str, str]:
    """What results may depend on besides the spec; with torchvision, transformers prepares images differently."""
    names = {"python": ".".join(platform.python_version_tuple()[:2]), "protocol": f"{protocol.name} {protocol.version}"}
    names["model"] = model_identity(spec.model, spec.revision)
    kind, _, path = spec.judge.partition(":")
    if kind == "recorded":
        names["verdicts"] = file_digest(path)
    for package in ("skipit", "torch", "transformers", "tokenizers", "pillow", "torchvision"):
        try:
            names[package] = version(package)
        except PackageNotFoundError:
            names[package] = "not installed"
    return names


def log_path(folder: Path, part: Shard) -> Path:
    """The file of records that a worker appends to."""
    return folder / "records" / f"{part}.jsonl"


def log_paths(folder: Path) -> list[Path]:
    """All workers' files of records, in order."""
    return sorted((folder / "records").glob("*-of-*.jsonl"), key=lambda path: (len(path.name), path.name))


def refuse_other_division(folder: Path, part: Shard) -> None:
    """Workers that run at the same time must divide the run alike; afterwards any division may continue it."""
    for path in log_paths(folder):
        if not path.name.endswith(f"-of-{part.count}.jsonl") and busy(path):
            raise RuntimeError(
                f"run: {path} is being written by a worker of another division than 1/{part.count}; wait for it, or "
                "start all workers with the same n of --shard k/n"
            )


def known_records(folder: Path) -> Iterator[RunRecord]:
    """What all workers have written so far, file by file."""
    for path in log_paths(folder):
        for _, record in placed_records(path):
            yield record


def placed_records(path: Path) -> Iterator[tuple[int, RunRecord]]:
    """The records of one worker's file, each with the position in bytes at which its line starts."""
    return cast(Iterator[tuple[int, RunRecord]], placed(path))


class Items:
    """The items of one data set in order, written down by the first worker that has read all of them.

    Every worker reads every data set, so each can tell whether it sees the same items as the others. It decodes only
    its own images, so an item that one worker could not read matches the same item elsewhere.

    Parameters
    ----------
    folder : Path
        The run's directory.
    label : str
        The data set's label in the spec.
    """

    def __init__(self, folder: Path, label: str) -> None:
        self.path = folder / "items" / f"{label}.json"
        self.label = label
        self.known = self._written()
        self.seen: list[list[str]] = []
        self._ids: set[str] = set()

    @property
    def ids(self) -> list[str] | None:
        """All ids in order, once they are known."""
        return None if self.known is None else [entry[0] for entry in self.known]

    def see(self, entry: Item | Failure) -> None:
        """Note the next item; refuse a repeated id, and an item that differs from what other workers saw."""
        place = len(self.seen)
        if entry.id in self._ids:
            raise ValueError(f"data: {self.label} has the id {entry.id!r} twice; expected ids that are unique")
        self._ids.add(entry.id)
        self.seen.append([entry.id, _fingerprint(entry)])
        if self.known is not None and (place >= len(self.known) or not _same(self.known[place], self.seen[place])):
            self._refuse(place)

    def finish(self) -> None:
        """Write the list down, or compare it with the list that another worker has written meanwhile."""
        if self._written() is None:
            with writing(self.path, replace=False) as file:
                file.write(json.dumps({"items": self.seen}) + "\n")
        known = self._written() or []
        same = [_same(a, b) for a, b in zip(known, self.seen, strict=False)]
        if len(known) != len(self.seen) or not all(same):
            self._refuse([*same, False].index(False))

    def _written(self) -> list[list[str]] | None:
        return cast(list[list[str]], _json(self.path)["items"]) if self.path.exists() else None

    def _refuse(self, place: int) -> None:
        raise ValueError(
            f"data: item {place} of {self.label} is not what it was when {self.path} was written; the data set has "
            "changed, so choose another --out, or bring the old data back"
        )


def _fingerprint(entry: Item | Failure) -> str:
    """Digest of question, options, answers and image id; a fixed word for a failure, whatever its reason."""
    if not isinstance(entry, Item):
        return _FAILURE
    content = [entry.question, list(entry.options), list(entry.answers), entry.image_id]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def _same(first: list[str], second: list[str]) -> bool:
    """Whether two workers saw the same item."""
    return first[0] == second[0] and (first[1] == second[1] or _FAILURE in (first[1], second[1]))


def _spec_file(path: Path) -> SpecFile:
    return cast(SpecFile, _json(path))


def _json(path: Path) -> dict[str, Any]:
    try:
        return cast(dict[str, Any], json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"run: {path} is damaged ({error}); restore it, or choose another --out") from error
