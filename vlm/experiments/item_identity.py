"""Whether a run's items are still what they were: compared before anything is called done, joined or merged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from vlm.atomic_files import write_atomically, writing
from vlm.experiments.run_directory import StoredRun, items_path, known_records, written_items
from vlm.experiments.spec import DataChoice
from vlm.item import Failure, Item
from vlm.models.fingerprint import file_digest
from vlm.record_types import RunRecord

# The digest of a failure that no reader named by content; it equals any.
_UNKNOWN = "failure"


@dataclass(eq=False)
class Recorded:
    """What the records of a run say about its items: the digest of each, and which were never read."""

    digests: dict[tuple[str, str], str] = field(default_factory=dict)
    read: set[tuple[str, str]] = field(default_factory=set)

    def add(self, record: RunRecord) -> None:
        """Note a record; a ValueError if an earlier one is about other content under the same id."""
        key, digest = (record["dataset"], record["item"]), record.get("item_digest") or _UNKNOWN
        failed = str(record["failure"] or "").startswith(NOT_READ)
        if failed and key in self.digests:
            return  # replaced by what was read later, or the same
        if key in self.read and not same(self.digests[key], digest):
            raise ValueError(
                f"data: item {key[1]!r} of {key[0]} has records of two contents, {self.digests[key]} and {digest}; the "
                "data changed between two workers, so delete the records of one of them and run that part again"
            )
        if not failed:
            self.read.add(key)
        self.digests[key] = digest


NOT_READ = "not read: "


class Items:
    """The items of one data set in order, written down by the first worker that has read all of them.

    Every worker reads every data set, so each can tell whether it sees the items that the others saw, and that the
    records so far are about: by question, options, answers, details and the bytes of the pictures.

    Parameters
    ----------
    folder : Path
        The run's directory.
    choice : DataChoice
        The data set.
    recorded : Recorded, optional
        What the records say.
    repair : bool
        Accept another content of an item that could not be read before.
    """

    def __init__(
        self, folder: Path, choice: DataChoice, recorded: Recorded | None = None, *, repair: bool = False
    ) -> None:
        self.folder, self.label, self.source = folder, choice.label, source_digest(choice)
        self.path = items_path(folder, choice.label)
        self.recorded, self.repair = recorded or Recorded(), repair
        self._repaired = False
        known = written_items(folder, choice.label)
        self.known = None if known is None else list(known.items())
        self.seen: dict[str, str] = {}

    @property
    def ids(self) -> list[str] | None:
        """All ids in order, once they are known."""
        return None if self.known is None else [name for name, _ in self.known]

    def see(self, entry: Item | Failure) -> None:
        """Note the next item; refuse a repeated id, and an item that differs from what was seen or answered before."""
        place = len(self.seen)
        if entry.id in self.seen:
            raise ValueError(f"data: {self.label} has the id {entry.id!r} twice; expected ids that are unique")
        digest = self.seen[entry.id] = entry_digest(entry)
        if not same(self.recorded.digests.get((self.label, entry.id), digest), digest):
            self._differs(place, entry.id)
        if self.known is not None:
            if place >= len(self.known) or self.known[place][0] != entry.id:
                self._refuse(place)
            if not same(self.known[place][1], digest):
                key = self.label, entry.id
                if self.repair and key in self.recorded.read and self.recorded.digests[key] == digest:
                    self._repaired = True  # another worker has answered it already
                else:
                    self._differs(place, entry.id)

    def finish(self) -> None:
        """Write the list down, or compare it with the list that another worker has written meanwhile."""
        gone = [item for label, item in self.recorded.digests if label == self.label and item not in self.seen]
        if gone:
            raise ValueError(
                f"data: {self.label} no longer has item {gone[0]!r}, which {self.folder} has records of; the data set "
                "has changed, so choose another --out, or bring the old data back"
            )
        if self._repaired:
            write_atomically(self.path, self._text())
        elif written_items(self.folder, self.label) is None:
            with writing(self.path, replace=False) as file:
                file.write(self._text())
        known = list((written_items(self.folder, self.label) or {}).items())
        alike = [a == b and same(c, d) for (a, c), (b, d) in zip(known, self.seen.items(), strict=False)]
        if len(known) != len(self.seen) or not all(alike):
            self._refuse([*alike, False].index(False))

    def _text(self) -> str:
        return json.dumps({"items": list(self.seen.items()), "source": self.source}) + "\n"

    def _differs(self, place: int, name: str) -> None:
        """Another content: accepted only where nothing but a failure to read it is known, and on demand."""
        if (self.label, name) in self.recorded.read or (self.label, name) not in self.recorded.digests:
            self._refuse(place)
        if not self.repair:
            raise ValueError(
                f"data: item {place} of {self.label}, {name!r}, could not be read before and has changed; answer it "
                "now with --retry-failed, or choose another --out"
            )
        self._repaired = self.known is not None

    def _refuse(self, place: int) -> None:
        raise ValueError(
            f"data: item {place} of {self.label} is not what it was when {self.folder} was begun; the data set has "
            "changed, so choose another --out, or bring the old data back"
        )


def entry_digest(entry: Item | Failure) -> str:
    """The item's digest; for items made by hand one of the texts, for failures made by hand a fixed word."""
    return entry.digest or text_digest(entry)


def text_digest(entry: Item | Failure) -> str:
    """The digest by which runs of before pictures were compared know an item: of its texts alone."""
    if isinstance(entry, Failure):
        return _UNKNOWN
    content = [entry.question, list(entry.options), list(entry.answers), entry.image_id]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def source_digest(choice: DataChoice) -> str:
    """Digest of a file that items are read from; "" for the hub, folders and the embedded set."""
    path = Path(choice.source or "").expanduser()
    return file_digest(path)[:16] if choice.source and path.is_file() else ""


def same(first: str, second: str) -> bool:
    """Whether two digests may be those of one item."""
    return first == second or _UNKNOWN in (first, second)


def refuse_other_items(run: StoredRun, measurement: StoredRun) -> None:
    """Refuse to join a sweep with a measurement of other items under the same label.

    Raises
    ------
    ValueError
        An item of both differs in content, or the measurement is of another source and lacks items of the sweep.
    """
    asked = [(r.spec.protocol, r.spec.prompts) for r in (run, measurement)]
    if asked[0] != asked[1]:
        raise ValueError(
            f"measurement: {measurement.folder} asked in other words (protocol {measurement.spec.protocol}) than "
            f"{run.folder} (protocol {run.spec.protocol}); measure with the same protocol and prompts"
        )
    ours, theirs = digests(run), digests(measurement)
    choices = {choice.label: choice for choice in measurement.spec.data}
    common = [choice for choice in run.spec.data if choice.label in choices]
    remedy = "measure these items with another --out, and give that directory as --measurement"
    if not common:
        raise ValueError(f"measurement: {measurement.folder} has no data set of {run.folder}; {remedy}")
    for choice in common:
        label, other = choice.label, choices[choice.label]
        mine, known = ours.get(label, {}), theirs.get(label, {})
        changed = next((name for name in mine if name in known and not same(mine[name], known[name])), None)
        if changed is not None:
            raise ValueError(
                f"measurement: item {changed!r} of {label} differs between {measurement.folder} and {run.folder} in "
                f"question, answers or picture; {remedy}"
            )
        lacking = next((name for name in mine if name not in known), None)
        if lacking is not None and known and not _one_source(run, choice, measurement, other):
            raise ValueError(
                f"measurement: {measurement.folder} was made on other data than {run.folder}: it lacks item "
                f"{lacking!r} of {label}; {remedy}"
            )


def _one_source(run: StoredRun, choice: DataChoice, measurement: StoredRun, other: DataChoice) -> bool:
    """Whether two samples were drawn from one source, as far as the runs know it."""
    digests = [_written_source(run.folder, choice.label), _written_source(measurement.folder, other.label)]
    names = [(c.name, c.source, c.split) for c in (choice, other)]
    return digests[0] == digests[1] and names[0] == names[1] if any(digests) else names[0] == names[1]


def _written_source(folder: Path, label: str) -> str:
    path = items_path(folder, label)
    if not path.exists():
        return ""
    return str(cast(Mapping[str, object], json.loads(path.read_text(encoding="utf-8"))).get("source", ""))


def digests(run: StoredRun) -> Mapping[str, Mapping[str, str]]:
    """The digests of a run's items by label and id: from its lists, else from its records; none for older runs."""
    listed = run.item_digests()
    found: dict[str, dict[str, str]] = {label: dict(items or {}) for label, items in listed.items()}
    if None in listed.values():
        for label, name, digest in _of_records(known_records(run)):
            if listed.get(label) is None:
                found.setdefault(label, {})[name] = digest
    return found


def check_entry(run: StoredRun, label: str, entry: Item | Failure) -> None:
    """Refuse an item, read again, that is no longer what the run's records are about."""
    known = (run.item_digests().get(label) or {}).get(entry.id, "")
    # Runs of before pictures were compared know the texts only.
    if known and not any(same(known, now) for now in (entry_digest(entry), text_digest(entry))):
        raise ValueError(
            f"data: item {entry.id!r} of {label} is not what it was when {run.folder} was begun; bring the old "
            "data back"
        )


def _of_records(records: Iterable[RunRecord]) -> Iterable[tuple[str, str, str]]:
    return ((r["dataset"], r["item"], r.get("item_digest") or _UNKNOWN) for r in records)
