"""A run on disk: a directory named by its content, the versions that made it, the items it is about, its records."""

from __future__ import annotations

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
from vlm.models.fingerprint import file_digest, model_identity
from vlm.plans.plan import SkipPlan
from vlm.progress_bar import by_bytes
from vlm.record_log import busy, placed
from vlm.record_types import RunRecord


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

    @cached_property
    def made_with(self) -> dict[str, str]:
        """The versions that the run was begun with."""
        return _spec_file(self.folder / "spec.json")["versions"]

    def item_digests(self) -> dict[str, dict[str, str] | None]:
        """The digests of all items by label and id, in order; None while no worker has read a data set to its end."""
        return {choice.label: written_items(self.folder, choice.label) for choice in self.spec.data}

    def check(self, record: RunRecord, path: Path) -> None:
        """Refuse a worker's record that is no record, says one plan and means another, or is another run's."""
        if lacking := [name for name in _NAMED if name not in record]:
            raise RuntimeError(f"run: {path} holds a record without {', '.join(lacking)}; move the file elsewhere")
        self.refuse_foreign(record, path)
        if self._plan_texts.get(record["plan_digest"], record["plan"]) != record["plan"]:
            raise RuntimeError(
                f"run: {path} has a record of item {record['item']!r} under plan {record['plan']} with the digest of "
                f"{self._plan_texts[record['plan_digest']]}; delete the file and run that part again"
            )

    @cached_property
    def _plan_texts(self) -> dict[str, str]:
        return {plan.digest: str(plan) for plan in self.plans}

    def refuse_foreign(self, record: RunRecord, path: Path) -> None:
        """Refuse a record that another run has written: of another spec, other weights, another protocol or package.

        So is one whose fields are of other types than those of a run's records.
        """
        stated = cast(Mapping[str, Any], record)
        if strange := _strange(stated):
            raise RuntimeError(
                f"run: {path} holds a record with {strange} {str(stated[strange])[:40]!r}, which no run writes; "
                "move the file elsewhere, or delete it and run that part again"
            )
        theirs_made = stated.get("versions", self.made_with)
        differs = "" if theirs_made == self.made_with else _difference(theirs_made, self.made_with)
        if stated.get("spec", self.digest) != self.digest:
            theirs = f"spec {stated['spec']}, protocol {stated.get('protocol')}"
            differs = f"{theirs} (here: spec {self.digest}, protocol {self.made_with.get('protocol')})"
        if differs:
            raise RuntimeError(
                f"run: {path} holds records of another run, made with {differs}; move them to that run's directory"
            )


# Types of the fields of a record, where they are known; lists and objects are looked into.
_NONE = type(None)
_TYPES: Mapping[str, frozenset[type]] = {
    **dict.fromkeys(("dataset", "item", "plan", "plan_digest", "model", "protocol", "spec"), frozenset({str})),
    **dict.fromkeys(("item_digest", "image_id", "group", "prediction", "parsed"), frozenset({str, _NONE})),
    **dict.fromkeys(("thought", "failure"), frozenset({str, _NONE})),
    **dict.fromkeys(("tokens", "operations", "judge"), frozenset({dict, _NONE})),
    "score": frozenset({int, float, _NONE}),
    "letter_probabilities": frozenset({list, _NONE}),
    "run": frozenset({dict}),
}
_NUMBER = frozenset({int, float, _NONE})


def _strange(stated: Mapping[str, Any]) -> str:
    """The first field of a record that is of no type that a run writes; "" if there is none."""
    for name, value in stated.items():
        types = _TYPES.get(name)
        if types is not None and type(value) not in types:
            return name
    for name in ("letter_probabilities", "tokens", "operations"):
        inside = stated.get(name)
        if inside and not _NUMBER.issuperset(map(type, inside.values() if type(inside) is dict else inside)):
            return name
    return ""


# What every record has, whatever wrote it.
_NAMED = ("dataset", "item", "plan", "plan_digest", "failure", "run")


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
    if changes := _difference(before, versions, now="now"):
        raise RuntimeError(f"run: {folder} was begun with {changes}; bring that back, or choose another --out")
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


def _difference(theirs: Mapping[str, str], ours: Mapping[str, str], now: str = "here:") -> str:
    """In which entries they differ, in words; "" if in none."""
    names = [name for name in {**ours, **theirs} if theirs.get(name) != ours.get(name)]
    return ", ".join(f"{name} {theirs.get(name)} ({now} {ours.get(name)})" for name in names)


def written_items(folder: Path, label: str) -> dict[str, str] | None:
    """The digest of each item of a data set by id, in order; None while no worker has read it to its end."""
    path = items_path(folder, label)
    if not path.exists():
        return None
    pairs = _json(path, "items")["items"]
    if not isinstance(pairs, list) or not all(isinstance(p, list) and list(map(type, p)) == [str, str] for p in pairs):
        raise _damaged(path, "no pairs of id and digest")
    return dict(cast(list[tuple[str, str]], pairs))


def items_path(folder: Path, label: str) -> Path:
    """The file that lists a data set's items."""
    return folder / "items" / f"{label}.json"


def same_model(first: str | Path, second: str | Path) -> bool:
    """Whether two run directories record the same model fingerprint (True if either records none)."""
    paths = [Path(folder) / "spec.json" for folder in (first, second)]
    fingerprints = [_spec_file(path)["versions"].get("model") for path in paths if path.is_file()]
    return len(set(fingerprints) - {None}) < 2


def versions(spec: Spec, protocol: Protocol) -> dict[str, str]:
    """What results may depend on besides the spec; with torchvision, transformers prepares images differently."""
    names = {"python": ".".join(platform.python_version_tuple()[:2]), "protocol": f"{protocol.name} {protocol.version}"}
    names["scorers"] = protocol.scorers
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


def known_records(run: StoredRun) -> Iterator[RunRecord]:
    """What all workers have written so far, file by file; a RuntimeError at a record of another run."""
    for path in log_paths(run.folder):
        for _, record in by_bytes(path, placed_records(path), f"reading {path.name}"):
            run.check(record, path)
            yield record


def placed_records(path: Path) -> Iterator[tuple[int, RunRecord]]:
    """The records of one worker's file, each with the position in bytes at which its line starts."""
    return cast(Iterator[tuple[int, RunRecord]], placed(path))


def _spec_file(path: Path) -> SpecFile:
    return cast(SpecFile, _json(path, "content", "versions"))


def _json(path: Path, *names: str) -> dict[str, Any]:
    """A JSON object with these names; a ValueError that says what to do if the file holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(content, dict) or not all(name in content for name in names):
        raise _damaged(path, f"no object with {', '.join(names)}")
    return content


def _damaged(path: Path, reason: object) -> ValueError:
    return ValueError(f"run: {path} is damaged ({reason}); restore it, or choose another --out")
