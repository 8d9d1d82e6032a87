"""A run on disk: a directory named by its content, the versions that made it, the items it is about."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vlm.atomic_files import writing
from vlm.experiments.shards import Shard
from vlm.experiments.spec import Spec
from vlm.item import Item
from vlm.models.fingerprint import file_digest, model_identity
from vlm.record_log import Record, busy, read

_FAILURE = "failure"


def begin(folder: Path, content: Mapping[str, Any], versions: Mapping[str, str]) -> None:
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
    known = _told(path)
    others = {name: known["versions"].get(name) for name in versions if known["versions"].get(name) != versions[name]}
    if others or set(known["versions"]) - set(versions):
        listed = ", ".join(f"{name} {was} (now {versions[name]})" for name, was in others.items())
        raise RuntimeError(
            f"run: {folder} was begun with {listed or 'other packages'}; bring that back, or choose another --out"
        )
    if known["content"] != content:
        raise RuntimeError(f"run: {path} does not describe this experiment; choose another --out")


def spec_of(folder: str | Path) -> Spec:
    """The spec of a run's directory."""
    path = Path(folder) / "spec.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"run: no spec.json in {folder}; expected a directory made by `python -m vlm sweep`, which prints its name"
        )
    return Spec.from_content(_told(path)["content"])


def same_model(one: str | Path, other: str | Path) -> bool:
    """Whether two directories were begun with the same weights, as far as they say."""
    paths = [Path(folder) / "spec.json" for folder in (one, other)]
    told = [_told(path)["versions"].get("model") for path in paths if path.is_file()]
    return len(set(told) - {None}) < 2


def versions(spec: Spec, protocol: Any) -> dict[str, str]:
    """What results may depend on besides the spec; with torchvision, transformers prepares images differently."""
    found = {"python": ".".join(platform.python_version_tuple()[:2]), "protocol": f"{protocol.name} {protocol.version}"}
    found["model"] = model_identity(spec.model, spec.revision)
    kind, _, path = spec.judge.partition(":")
    if kind == "recorded":
        found["verdicts"] = file_digest(path)
    for package in ("skipit", "torch", "transformers", "tokenizers", "pillow", "torchvision"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def log_path(folder: Path, part: Shard) -> Path:
    """The file of records that a worker appends to."""
    return folder / "records" / f"{part}.jsonl"


def log_paths(folder: Path) -> list[Path]:
    """All workers' files of records, in order."""
    return sorted((folder / "records").glob("*-of-*.jsonl"), key=lambda path: (len(path.name), path.name))


def refuse_other_division(folder: Path, part: Shard) -> None:
    """Workers of one run must divide it alike while they run; afterwards any division may continue it."""
    for path in log_paths(folder):
        if not path.name.endswith(f"-of-{part.count}.jsonl") and busy(path):
            raise RuntimeError(
                f"run: {path} is being written by a worker of another division than 1/{part.count}; wait for it, or "
                "start all workers with the same n of --shard k/n"
            )


def known_records(folder: Path) -> Iterator[Record]:
    """What all workers have written so far, file by file."""
    for path in log_paths(folder):
        yield from read(path)


class Items:
    """The items of one data set in order, written down by the first worker that has read all of them.

    Every worker reads every data set, so each can tell whether it sees the same items as the others. It decodes only
    its own images, so an item that one of them could not read matches the same item elsewhere.
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

    def see(self, entry: Any) -> None:
        """Note the next item; refuse one that came before, or another than the other workers saw."""
        place = len(self.seen)
        if entry.id in self._ids:
            raise ValueError(f"data: {self.label} has the id {entry.id!r} twice; expected ids that are unique")
        self._ids.add(entry.id)
        self.seen.append([entry.id, _fingerprint(entry)])
        if self.known is not None and (place >= len(self.known) or not _same(self.known[place], self.seen[place])):
            self._refuse(place)

    def finish(self) -> None:
        """Write the list down, or compare it with the one that another worker wrote meanwhile."""
        if self._written() is None:
            with writing(self.path, replace=False) as file:
                file.write(json.dumps({"items": self.seen}) + "\n")
        known = self._written() or []
        same = [_same(a, b) for a, b in zip(known, self.seen, strict=False)]
        if len(known) != len(self.seen) or not all(same):
            self._refuse([*same, False].index(False))

    def _written(self) -> list[list[str]] | None:
        found: list[list[str]] | None = _told(self.path)["items"] if self.path.exists() else None
        return found

    def _refuse(self, place: int) -> None:
        raise ValueError(
            f"data: item {place} of {self.label} is not what it was when {self.path} was written; the data set has "
            "changed, so choose another --out, or bring the old data back"
        )


def _fingerprint(entry: Any) -> str:
    """Of what is asked and what is right, and of the image's name; the reason of a failure not at all."""
    if not isinstance(entry, Item):
        return _FAILURE
    told = [entry.question, list(entry.options), list(entry.answers), entry.image_id]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def _same(one: list[str], other: list[str]) -> bool:
    """Whether two workers saw the same item."""
    return one[0] == other[0] and (one[1] == other[1] or _FAILURE in (one[1], other[1]))


def _told(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"run: {path} is damaged ({error}); restore it, or choose another --out") from error
