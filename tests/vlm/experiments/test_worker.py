"""A worker's part: nothing lost, nothing repeated, the same bytes however the work was divided."""

from __future__ import annotations

import hashlib
import json
import random
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from vlm.experiments.item_identity import refuse_other_items
from vlm.experiments.merging import merge, merged, times
from vlm.experiments.run import Run
from vlm.experiments.run_directory import begin, known_records, log_path, log_paths, spec_of, stored_run, versions
from vlm.experiments.shards import Shard
from vlm.experiments.spec import DataChoice, Spec
from vlm.experiments.worker import _bar, carry_out
from vlm.item import Failure, Item
from vlm.plans.plan import SkipPlan
from vlm.record_log import appending, line, read
from vlm.record_types import failed

PROTOCOL = SimpleNamespace(name="stand-in", version="1", scorers="exact 2")
SPEC = Spec(
    data=(DataChoice("tiny", limit=23), DataChoice("tiny", label="second", limit=5)),
    plans=("vision:0-2", "vision:6-", "vision:4-8"),
    batch_size=4,
)


class Killed(Exception):
    pass


def entries(choice, wanted=None):
    for i in range(choice.limit):
        if i % 9 == 7:
            yield Failure(choice.label, f"q{i}", "corrupt image")
        else:
            image = Image.new("RGB", (2, 2))
            yield Item(choice.label, f"q{i}", f"image {i // 2}", f"what is {i}?", (image,), (), (str(i),))


def work_for(calls=None, stop_at=None, rounding=0.0):
    """Records that depend on the whole batch, as logits do; the call numbered `stop_at` kills the worker."""
    calls = [] if calls is None else calls

    def work(batch):
        company = [item.id for item in batch.items]

        def under(plan):
            calls.append((batch.choice.label, tuple(company), str(plan)))
            if len(calls) == stop_at:
                raise Killed
            outcomes = []
            for item in batch.items:
                digest = hashlib.sha256(f"{item.id} {company} {plan}".encode()).hexdigest()
                run = {"seconds_prefill": random.random(), "attempt": 1}
                outcomes.append({"score": int(digest[:4], 16) / 2**16 + rounding, "failure": None, "run": run})
            return outcomes

        return under

    return work


def run_in(folder, part=None, reader=None, spec=SPEC):
    made_with = versions(spec, PROTOCOL)
    return Run(
        spec, folder, protocol=PROTOCOL, versions=made_with, depth=10, part=part or Shard(), reader=reader or entries
    )


def carried(folder, work=None, part=None, reader=None, **how):
    return carry_out(run_in(folder, part, reader), work or work_for(), progress=False, **how)


def whole(folder):
    merge(folder)
    return (folder / "merged" / "records.jsonl").read_bytes()


@pytest.fixture
def reference(tmp_path):
    return whole(carried(tmp_path / "reference"))


def test_every_item_and_plan_has_one_record_in_order(tmp_path):
    folder = carried(tmp_path / "run")
    records = merged(folder)
    expected = [(c.label, e.id, plan) for c in SPEC.data for e in entries(c) for plan in SPEC.plans]
    assert [(r["dataset"], r["item"], r["plan"]) for r in records] == expected
    assert SPEC.plans[0] == "none"
    lost = [r for r in records if r["failure"]]
    assert {r["item"] for r in lost} == {"q7", "q16"}
    assert all(r["failure"] == "not read: corrupt image" and r["score"] is None for r in lost)
    assert all("run" not in r for r in records)
    assert [t["run"]["shard"] for t in times(folder)] == ["1-of-1"] * len(expected)
    assert spec_of(folder) == SPEC


def test_stopped_before_any_record_it_ends_the_same(tmp_path, reference):
    carried(tmp_path / "count", work_for(undisturbed := []))
    total = len(undisturbed)
    for stop_at in range(1, total + 1, 5):
        folder, calls = tmp_path / f"stop-{stop_at}", []
        with pytest.raises(Killed):
            carried(folder, work_for(calls, stop_at))
        carried(folder, work_for(calls))
        assert whole(folder) == reference
        assert len(calls) == total + 1  # the interrupted call is repeated
        assert len(set(calls)) == total


def test_cut_anywhere_in_the_file_it_ends_the_same(tmp_path, reference):
    folder = carried(tmp_path / "run")
    (path,) = log_paths(folder)
    data = path.read_bytes()
    cuts = random.Random(0).sample(range(len(data)), 25)
    for cut in [0, len(data) - 1, *cuts]:
        path.write_bytes(data[:cut])
        carried(folder)
        assert whole(folder) == reference
        assert len(list(read(path))) == reference.count(b"\n")


def test_a_complete_run_decodes_and_answers_nothing(tmp_path):
    folder = carried(tmp_path / "run")
    before = log_paths(folder)[0].read_bytes()

    def never(*_):
        raise AssertionError

    def undecoded(choice, wanted):
        for position, entry in enumerate(entries(choice)):
            assert not wanted(position)
            yield entry

    carried(folder, never, reader=undecoded)
    assert log_paths(folder)[0].read_bytes() == before


def changed_entries(**changes):
    """A reader that gives the third item of each data set another content."""

    def reader(choice, wanted):
        for entry in entries(choice):
            yield replace(entry, **changes) if entry.id == "q3" else entry

    return reader


@pytest.mark.parametrize("changes", [{"answers": ("corrected",)}, {"question": "what else?"}, {"digest": "picture"}])
def test_row_1_a_finished_run_is_compared_with_its_data(tmp_path, changes):
    folder = carried(tmp_path / "run")
    before = log_paths(folder)[0].read_bytes()
    with pytest.raises(ValueError, match=r"item 3 of tiny is not what it was .* choose another --out"):
        carried(folder, reader=changed_entries(**changes))
    with pytest.raises(ValueError, match=r"no longer has item|item 22 of tiny"):
        carried(folder, reader=lambda choice, wanted: list(entries(choice))[:-1])
    assert log_paths(folder)[0].read_bytes() == before


@pytest.mark.parametrize("stop_at", [2, 9, 14, 20])
def test_row_3_a_killed_run_is_not_continued_on_changed_data(tmp_path, stop_at):
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        carried(folder, work_for([], stop_at))
    with pytest.raises(ValueError, match=r"item 3 of tiny is not what it was"):
        carried(folder, reader=changed_entries(digest="other picture"))
    digests = {(r["dataset"], r["item"], r["item_digest"]) for r in read(log_paths(folder)[0])}
    assert len(digests) == len({(dataset, item) for dataset, item, _ in digests})


def test_a_killed_run_is_not_continued_on_data_that_lost_an_answered_item(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        carried(folder, work_for([], 2))
    with pytest.raises(ValueError, match=r"tiny no longer has item 'q2', which .* has records of"):
        carried(folder, reader=lambda choice, wanted: [e for e in entries(choice) if e.id != "q2"])


def test_a_picture_that_was_repaired_is_answered_on_demand(tmp_path, reference):
    def broken(choice, wanted):
        for entry in entries(choice):
            yield Failure(choice.label, "q3", "no such file", "a digest") if entry.id == "q3" else entry

    folder = carried(tmp_path / "run", reader=broken)
    with pytest.raises(ValueError, match=r"'q3', could not be read before and has changed; .* --retry-failed"):
        carried(folder)
    carried(folder, retry_failed=True)
    assert not [r for r in merged(folder) if r["item"] == "q3" and r["failure"]]
    carried(folder)
    with pytest.raises(ValueError, match="item 3 of tiny is not what it was"):
        carried(folder, reader=broken, retry_failed=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": "0" * 12, "protocol": "lmms-eval 1"},
        {"versions": {"protocol": "lmms-eval 1", "model": "commit 1"}},
        {"item_digest": "0" * 16},
        {"item": "of another data set"},
    ],
)
def test_row_10_foreign_records_are_refused(tmp_path, changes):
    folder = carried(tmp_path / "run")
    records = [{**r, **changes} for r in read(log_paths(folder)[0])]
    foreign = folder / "records" / "2-of-3.jsonl"
    foreign.write_text("".join(line(r) for r in records if not r["failure"]))
    before = {path: path.read_bytes() for path in log_paths(folder)}
    with pytest.raises((RuntimeError, ValueError), match=r"2-of-3.jsonl .*(another run|belongs to)"):
        merge(folder)
    with pytest.raises((RuntimeError, ValueError)):
        carried(folder)
    assert {path: path.read_bytes() for path in log_paths(folder)} == before


def test_row_10_records_of_two_contents_are_not_merged_before_the_data_are_known(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        carried(folder, work_for([], 3))
    records = [{**r, "item_digest": "0" * 16} for r in read(log_paths(folder)[0])]
    (folder / "records" / "2-of-3.jsonl").write_text("".join(map(line, records)))
    with pytest.raises(ValueError, match="records of two contents"):
        merge(folder, partial=True)


def test_row_2_a_measurement_of_other_items_is_not_joined(tmp_path):
    run, other = carried(tmp_path / "run"), carried(tmp_path / "other", reader=changed_entries(digest="other"))
    refuse_other_items(stored_run(run), stored_run(run))
    with pytest.raises(ValueError, match=r"item 'q3' of tiny differs between .* measure these items"):
        refuse_other_items(stored_run(run), stored_run(other))
    (other / "items" / "tiny.json").unlink()  # an unfinished measurement is known by its records
    with pytest.raises(ValueError, match=r"item 'q3' of tiny differs between"):
        refuse_other_items(stored_run(run), stored_run(other))


def test_row_2_a_measurement_of_another_file_is_not_joined(tmp_path):
    def renamed(choice, wanted):
        return [replace(entry, id="other " + entry.id) for entry in entries(choice)]

    spec = replace(SPEC, data=tuple(replace(c, source="elsewhere") for c in SPEC.data))
    run = carried(tmp_path / "run")
    other = carry_out(run_in(tmp_path / "other", reader=renamed, spec=spec), work_for(), progress=False)
    with pytest.raises(ValueError, match=r"was made on other data than .* it lacks item 'q0' of tiny"):
        refuse_other_items(stored_run(run), stored_run(other))
    nothing = replace(SPEC, data=(DataChoice("tiny", label="third", limit=2),))
    other = carry_out(run_in(tmp_path / "third", spec=nothing), work_for(), progress=False)
    with pytest.raises(ValueError, match="has no data set of"):
        refuse_other_items(stored_run(run), stored_run(other))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_worker_decodes_the_images_of_its_own_batches_and_no_others(tmp_path, reference, count):
    folder, decoded, answered = tmp_path / "run", [], []

    def reader(choice, wanted):
        for position, entry in enumerate(entries(choice)):
            mine = wanted(position)
            decoded.extend([(choice.label, entry.id)] * mine)
            if isinstance(entry, Item) and not mine:
                entry = replace(entry, images=())
            elif not mine:  # an image that is not decoded is not found to be broken
                entry = Item(choice.label, entry.id, "?", "what?", (), (), ("?",))
            yield entry

    def work(batch):
        answered.extend((batch.choice.label, entry.id) for entry in batch.entries)
        assert all(item.images for item in batch.items)
        return work_for()(batch)

    for k in range(1, count + 1):
        carried(folder, work, part=Shard(k, count), reader=reader)
    assert sorted(decoded) == sorted(answered)
    assert len(set(decoded)) == len(decoded) == 28
    assert whole(folder) == reference
    decoded.clear()
    path = log_paths(folder)[0]
    path.write_bytes(path.read_bytes()[:-1])  # the last record is lost, its batch alone is read again
    carried(folder, work, part=Shard(1, count), reader=reader)
    assert 1 <= len(decoded) <= 4
    assert whole(folder) == reference


@pytest.mark.parametrize("count", [2, 7, 40])
def test_any_number_of_workers_gives_the_same_bytes(tmp_path, reference, count):
    folder, calls = tmp_path / "run", []
    for k in random.Random(count).sample(range(1, count + 1), count):
        carried(folder, work_for(calls), part=Shard(k, count))
    assert len(set(calls)) == len(calls)
    assert whole(folder) == reference


def test_another_number_of_workers_may_continue(tmp_path, reference):
    folder, calls = tmp_path / "run", []
    with pytest.raises(Killed):
        carried(folder, work_for(calls, 9))
    with pytest.raises(Killed):
        carried(folder, work_for(calls, 14), part=Shard(2, 3))
    for k in (1, 2):
        carried(folder, work_for(calls), part=Shard(k, 2))
    assert whole(folder) == reference
    assert sum(len(list(read(path))) for path in log_paths(folder)) == reference.count(b"\n")


def test_an_unfinished_run_says_what_is_missing(tmp_path):
    folder = carried(tmp_path / "run", part=Shard(2, 2))
    with pytest.raises(
        RuntimeError, match=r"tiny: 48 of 92 records are missing, the first of item 'q0' under plan none"
    ):
        merge(folder)
    with pytest.raises(RuntimeError, match="second: 16 of 20 records"):
        merged(folder)
    assert len(merged(folder, partial=True)) == 48
    with pytest.raises(Killed):
        carried(tmp_path / "other", work_for([], 3))
    with pytest.raises(RuntimeError, match="second: no worker has read it to its end"):
        merge(tmp_path / "other")
    assert not (tmp_path / "other" / "merged").exists()


def test_a_second_process_on_one_part_is_refused(tmp_path):
    folder = carried(tmp_path / "run", part=Shard(1, 2))
    with appending(folder / "records" / "1-of-2.jsonl"):
        with pytest.raises(RuntimeError, match="another process is writing"):
            carried(folder, part=Shard(1, 2))
        with pytest.raises(RuntimeError, match="worker of another division than 1/3"):
            carried(folder, part=Shard(1, 3))
        carried(folder, part=Shard(2, 2))


def test_a_data_set_that_changed_is_refused(tmp_path):
    folder = carried(tmp_path / "run", part=Shard(1, 2))

    def changed(choice, wanted):
        for entry in entries(choice):
            yield Item(choice.label, "q3", "image 1", "what else?", ()) if entry.id == "q3" else entry

    with pytest.raises(ValueError, match=r"item 3 of tiny is not what it was .* the data set has changed"):
        carried(folder, part=Shard(2, 2), reader=changed)
    with pytest.raises(ValueError, match="item 22 of tiny"):
        carried(folder, part=Shard(2, 2), reader=lambda choice, wanted: list(entries(choice))[:-1])


def test_workers_that_see_different_data_are_refused(tmp_path):
    # The second starts before the first has read to the end, so neither finds a list when it starts.
    folder = tmp_path / "run"

    def meanwhile(choice, wanted):
        carried(folder, part=Shard(1, 2), reader=lambda choice, wanted: list(entries(choice))[:-2])
        yield from entries(choice)

    with pytest.raises(ValueError, match="item 21 of tiny is not what it was"):
        carried(folder, part=Shard(2, 2), reader=meanwhile)


def test_the_bar_knows_how_much_there_is(tmp_path):
    def total(data, part=None):
        spec = Spec(data=data, plans=("vision:6-",), batch_size=4)
        return _bar(run_in(tmp_path, part, spec=spec), 0, False).total

    assert total((DataChoice("tiny", limit=23),)) == 46
    assert total((DataChoice("tiny", limit=23),), Shard(2, 2)) == 2 * 11
    assert total((DataChoice("mmmu"), DataChoice("mmstar", limit=10))) == 2 * 910
    assert total((DataChoice("mmstar", limit=10**6),)) == 2 * 1500
    assert total((DataChoice("jsonl", source="mine.jsonl"),)) is None
    (tmp_path / "mine.jsonl").write_text('{"question": "q?"}\n\n' * 7)
    assert total((DataChoice("jsonl", source=str(tmp_path / "mine.jsonl")),)) == 2 * 7
    assert total((DataChoice("jsonl", source=str(tmp_path / "mine.jsonl"), limit=3),)) == 2 * 3


@pytest.mark.parametrize(
    ("reader", "words"),
    [
        (lambda choice, wanted: [Failure(choice.label, "a", "x"), Failure(choice.label, "a", "x")], "the id 'a' twice"),
        (lambda choice, wanted: [], "expected at least one item, got none from tiny"),
    ],
)
def test_data_that_cannot_be_counted_are_refused(tmp_path, reader, words):
    with pytest.raises(ValueError, match=words):
        carried(tmp_path / "run", reader=reader)


def test_other_versions_or_a_damaged_spec_are_refused(tmp_path):
    folder = carried(tmp_path / "run", part=Shard(1, 2))
    path = folder / "spec.json"
    stored = json.loads(path.read_text())
    stored["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(stored))
    with pytest.raises(RuntimeError, match=r"begun with torch 1.0 \(now 2.*choose another --out"):
        carried(folder, part=Shard(2, 2))
    path.write_text(path.read_text()[:40])
    with pytest.raises(ValueError, match=r"spec.json is damaged"):
        carried(folder, part=Shard(2, 2))
    with pytest.raises(FileNotFoundError, match=r"no spec.json in"):
        merge(tmp_path)


def test_failed_items_can_be_tried_again(tmp_path, reference):
    def flaky(batch):
        return lambda plan: [failed("judge: server said 500") for _ in batch.items]

    folder = carried(tmp_path / "run", flaky)
    assert all(r["failure"] for r in merged(folder))
    carried(folder)
    assert all(r["failure"] for r in merged(folder))
    carried(folder, retry_failed=True)
    assert whole(folder) == reference


def test_workers_that_contradict_each_other_are_not_averaged(tmp_path):
    folder = carried(tmp_path / "run")
    other = carried(tmp_path / "other", work_for(rounding=1e-7))
    (path,) = log_paths(other)
    (folder / "records" / "1-of-3.jsonl").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"contradicts another worker about item 'q0' of tiny under plan none"):
        merge(folder)


def test_a_repeated_record_counts_once(tmp_path, reference):
    folder = carried(tmp_path / "run")
    records = list(read(log_paths(folder)[0]))
    (folder / "records" / "2-of-3.jsonl").write_text("".join(map(line, records[:11])))
    assert whole(folder) == reference


def test_every_machine_lists_the_same_of_several_failures(tmp_path):
    folder = carried(tmp_path / "run")
    (path,) = log_paths(folder)
    records = list(read(path))

    def failing(reasons):
        return "".join(line({**r, **failed(reason)}) for r in records for reason in reasons)

    found = []
    for first, second in (("b", "ac"), ("ac", "b"), ("cab", "")):
        path.write_text(failing(first))
        (folder / "records" / "2-of-3.jsonl").write_text(failing(second))
        found.append(whole(folder))
    assert found[0] == found[1] == found[2]
    assert {r["failure"] for r in merged(folder)} == {"a"}
    path.write_text("".join(line({**r, "failure": None, "judge": {"status": "failed"}}) for r in records))
    assert {r["failure"] for r in merged(folder)} == {None}  # what was answered stays, if only the judge failed


def test_a_line_that_a_power_failure_damaged_is_computed_again(tmp_path, reference):
    folder = carried(tmp_path / "run")
    (path,) = log_paths(folder)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:30], b"\0" * len(lines[30]), *lines[31:]]))
    with pytest.raises(RuntimeError, match="2 of 92 records are missing"):  # the next line joins it and is lost too
        merge(folder)
    calls = []
    carried(folder, work_for(calls))
    assert whole(folder) == reference
    assert len(calls) <= 2


def test_two_workers_that_begin_at_once_have_one_spec(tmp_path, monkeypatch):
    folder, exists = tmp_path / "run", Path.exists

    def meanwhile(path):
        there = exists(path)
        if path.name == "spec.json" and not there:
            monkeypatch.setattr(Path, "exists", exists)
            begin(folder, {"a": 1}, {"torch": "2.0"})
        return there

    monkeypatch.setattr(Path, "exists", meanwhile)
    with pytest.raises(RuntimeError, match=r"begun with torch 2.0 \(now 2.1\)"):
        begin(folder, {"a": 1}, {"torch": "2.1"})


def test_memory_does_not_grow_with_what_is_in_the_records(tmp_path):
    """Merging keeps a key and a position of each record, and a resuming worker keeps a key."""
    spec = Spec(data=(DataChoice("tiny"),), plans=("vision:6-",))
    folder, text = tmp_path / "run", "x" * 20_000
    begin(folder, spec.content(), {})
    with appending(log_path(folder, Shard())) as log:
        for i in range(2000):
            names = {"dataset": "tiny", "item": f"q{i}", "plan": "none", "plan_digest": SkipPlan().digest}
            log.append([{**names, "failure": None, "prediction": text, "run": {"shard": "1-of-1"}}])
    tracemalloc.start()
    assert sum(1 for _ in known_records(stored_run(folder))) == 2000
    assert len(merge(folder, partial=True)) == 2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (folder / "merged" / "records.jsonl").stat().st_size > 2000 * len(text)
    assert peak < 2000 * 1000  # bytes


def test_row_2_a_measurement_in_other_words_is_not_joined(tmp_path):
    run = carried(tmp_path / "run")
    for changes in ({"protocol": "lmms-eval"}, {"prompts": (("open", "Answer in one word."),)}):
        spec = replace(SPEC, **changes)
        other = carry_out(run_in(tmp_path / next(iter(changes)), spec=spec), work_for(), progress=False)
        with pytest.raises(ValueError, match="asked in other words"):
            refuse_other_items(stored_run(run), stored_run(other))
