"""States on disk: written whole or not at all, continued, refused when something else is there; no model is run."""

from __future__ import annotations

import errno
import json
import resource
from pathlib import Path

import numpy as np
import pytest

from vlm import atomic_files, read_states
from vlm.experiments.shards import Shard
from vlm.hidden_states import state_store
from vlm.hidden_states.recording import states_content
from vlm.hidden_states.state_rows import Block, Held, Prompt, ViewRows
from vlm.hidden_states.state_store import chunk_lines, storing
from vlm.hidden_states.views import View

LAST, MEAN, SAMPLE = View("last"), View("mean", "vision"), View("sample", "vision", 3)
VIEWS, LAYERS, WIDTH = (LAST, MEAN, SAMPLE), (0, 2), 4
VERSIONS = {"model": "weights 1"}
ROWS = {LAST: 1, MEAN: 1, SAMPLE: 3}


def block(*numbers, task="t"):
    """Prompts whose states are their numbers; odd ones have no image."""
    rows = {}
    for view in VIEWS:
        mine = [(i, n) for i, n in enumerate(numbers) if view is LAST or n % 2 == 0]
        place = np.repeat([i for i, _ in mine], ROWS[view]).astype(np.int64)
        token = np.tile(np.arange(ROWS[view]), len(mine))
        states = np.repeat([n for _, n in mine], ROWS[view]).astype(np.float32)[:, None] + np.zeros(WIDTH, np.float32)
        values = {layer: Held(states * 10 + layer, "float32") for layer in LAYERS}
        rows[view] = ViewRows(place, token, token * 0 - 1, values)
    return Block(tuple(Prompt(f"p{n}", f"image {n // 2}", task, str(n)) for n in numbers), rows)


def content(**changes):
    return {"states": states_content(VIEWS, LAYERS, 5, None, "none") | changes}


def opened(folder, part=None, versions=VERSIONS, chunk_bytes=1, **changes):
    return storing(folder, content(**changes), versions, part or Shard(), chunk_bytes=chunk_bytes)


def numbers(stored, view="last"):
    return ((stored.layer(2, view)[:, 0] - 2) / 10).astype(int).tolist()


def test_what_is_written_is_read(tmp_path):
    with opened(tmp_path) as store:
        for batch in ((0, 1), (2,), (3, 4, 5)):
            store.add(block(*batch))
            store.rest()
    stored = read_states(tmp_path)
    stored.verify()
    assert [line.file for line in chunk_lines(tmp_path)] == [f"chunks/1-of-1/00000{i}.safetensors" for i in range(3)]
    assert numbers(stored) == [0, 1, 2, 3, 4, 5]
    assert numbers(stored, "vision-sample(3)") == [0, 0, 0, 2, 2, 2, 4, 4, 4]
    x, y, groups = stored.pair(0, 2, SAMPLE)
    assert x.shape == (9, WIDTH)
    assert groups.tolist() == ["image 0"] * 3 + ["image 1"] * 3 + ["image 2"] * 3
    assert (y - x == 2).all()
    assert stored.index(SAMPLE)["token"].tolist() == [0, 1, 2] * 3
    assert stored.index("last")["answer"].tolist() == list("012345")
    assert (stored.absent("vision-mean"), stored.absent("last")) == (3, 0)
    assert sum(len(pair.x) for pair in stored.pairs(0, 2, SAMPLE)) == 9
    assert (
        repr(stored) == "StoredStates(samples=6, views=(last, vision-mean, vision-sample(3)), states=0, 2, plan=none)"
    )
    with pytest.raises(ValueError, match=r"layer: expected one of the recorded states 0, 2 of 0\.\.5, got 1"):
        stored.layer(1)


def test_chunks_are_written_when_enough_is_waiting_and_at_the_end(tmp_path):
    size = sum(h.array.nbytes for rows in block(0).rows.values() for h in rows.values.values())
    with opened(tmp_path, chunk_bytes=3 * size) as store:
        for number in range(0, 14, 2):
            store.add(block(number))
            store.rest()
    assert [len(line.prompts) for line in chunk_lines(tmp_path)] == [3, 3, 1]
    assert numbers(read_states(tmp_path)) == list(range(0, 14, 2))


def test_a_prompt_without_rows_in_a_view_needs_another_view(tmp_path):
    with opened(tmp_path) as store:
        store.add(block(1, 3))
    stored = read_states(tmp_path)
    assert stored.absent("vision-mean") == 2
    with pytest.raises(ValueError, match="none of the 2 recorded prompts has one; read another view"):
        stored.pair(0, 2, "vision-mean")


def test_what_is_done_is_known_and_left_out(tmp_path):
    with opened(tmp_path) as store:
        store.add(block(0, 1))
        store.fail("t", "p9", "not read: no image")
    with opened(tmp_path) as store:
        assert store.done == {("t", "p0"), ("t", "p1"), ("t", "p9")}
        store.add(block(0, 2, 1, 3))
        store.add(block(0, 1))
        store.add(block(0, task="other"))
        store.fail("t", "p0", "later")
        store.fail("t", "p9", "later")
    stored = read_states(tmp_path)
    assert numbers(stored) == [0, 1, 2, 3, 0]
    assert numbers(stored, "vision-sample(3)") == [0, 0, 0, 2, 2, 2, 0, 0, 0]
    assert stored.failures == {("t", "p9"): "not read: no image"}
    assert "failed=1" in repr(stored)


def test_failures_are_tried_again_when_told(tmp_path):
    with opened(tmp_path) as store:
        store.fail("t", "p4", "out of memory")
    with storing(tmp_path, content(), VERSIONS, Shard(), retry_failed=True) as store:
        assert not store.done
        store.add(block(4))
    stored = read_states(tmp_path)
    assert numbers(stored) == [4]
    assert not stored.failures


def test_an_error_inside_the_context_loses_nothing(tmp_path):
    with pytest.raises(KeyError), opened(tmp_path, chunk_bytes=10**9) as store:
        store.add(block(0, 1))
        raise KeyError("elsewhere")
    assert numbers(read_states(tmp_path)) == [0, 1]


@pytest.mark.parametrize("moment", ["before the chunk", "before the line", "within the line"])
def test_a_kill_while_writing_costs_one_chunk(tmp_path, monkeypatch, moment):
    """What a kill leaves: a part file, a chunk that no line names, or half a line."""
    with opened(tmp_path) as store:
        store.add(block(0, 1))

    class Killed(BaseException):
        pass

    def die(*args):
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed), opened(tmp_path) as store:
        store.add(block(2, 3))
        if moment == "before the chunk":
            (tmp_path / "chunks/1-of-1/000001.safetensors.0123.part").write_bytes(b"half")
            patched.setattr(state_store, "write_tensors", die)
        elif moment == "before the line":
            patched.setattr(state_store.Log, "append", die)
        else:
            store.flush()
            store.add(block(4))
            patched.setattr(state_store.Log, "append", die)
    if moment == "within the line":
        log = tmp_path / "records/1-of-1.jsonl"
        log.write_bytes(log.read_bytes()[:-10])
    assert numbers(read_states(tmp_path)) == [0, 1]
    with opened(tmp_path) as store:
        assert store.done == {("t", "p0"), ("t", "p1")}
        store.add(block(2, 3))
    stored = read_states(tmp_path)
    stored.verify()
    assert numbers(stored) == [0, 1, 2, 3]


def test_a_line_that_was_damaged_does_not_free_its_number(tmp_path):
    with opened(tmp_path) as store:
        for number in range(3):
            store.add(block(number))
            store.rest()
    log = tmp_path / "records/1-of-1.jsonl"
    first, second, third = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(first + b"\0" * (len(second) - 1) + b"\n" + third)
    with opened(tmp_path) as store:
        assert store.chunks == 3
        store.add(block(1))
    stored = read_states(tmp_path)
    stored.verify()
    assert sorted(numbers(stored)) == [0, 1, 2]


@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_damaged_chunks_are_refused(tmp_path, damage):
    with opened(tmp_path) as store:
        store.add(block(0, 1))
    path = tmp_path / "chunks/1-of-1/000000.safetensors"
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    if damage == "changed":
        with pytest.raises(ValueError, match=r"000000.safetensors has changed since it was written .*; restore it"):
            read_states(tmp_path).verify()
        return
    got = "no file" if damage == "missing" else f"{len(data) - 1} bytes"
    for act in (lambda: read_states(tmp_path), lambda: opened(tmp_path).__enter__()):
        with pytest.raises(
            ValueError, match=rf"expected {len(data)} bytes in .*000000.safetensors, got {got}; restore"
        ):
            act()


def test_an_item_that_is_stored_twice_is_refused(tmp_path):
    for part in (Shard(1, 2), Shard(2, 2)):
        with opened(tmp_path, part) as store:
            store.done.clear()
            store.add(block(0, 1))
    with pytest.raises(
        ValueError, match=r"got 'p0' of 't' in chunks/1-of-2/000000.* and chunks/2-of-2/000000.*; delete"
    ):
        read_states(tmp_path)


@pytest.mark.parametrize("full", ["device", "quota"])
def test_a_full_disk_gives_one_line_and_loses_nothing(tmp_path, monkeypatch, full):
    with opened(tmp_path) as store:
        store.add(block(0, 1))
    code = {"device": errno.ENOSPC, "quota": errno.EDQUOT}[full]

    def fail(file):
        raise OSError(code, "full")

    message = r"cannot write .*000001.safetensors: .*; free some space and start the same"
    with monkeypatch.context() as patched, pytest.raises(OSError, match=message), opened(tmp_path) as store:
        store.add(block(2, 3))
        patched.setattr(atomic_files, "_flush", fail)
    assert not list(tmp_path.rglob("*.part"))
    assert numbers(read_states(tmp_path)) == [0, 1]
    with opened(tmp_path) as store:
        store.add(block(2, 3))
    assert numbers(read_states(tmp_path)) == [0, 1, 2, 3]


def test_a_file_that_may_not_grow_gives_one_line_and_loses_nothing(tmp_path):
    """The operating system itself refuses: the chunk does not fit, later the line does not."""
    with opened(tmp_path) as store:
        store.add(block(0, 1))
    log = (tmp_path / "records/1-of-1.jsonl").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit, name in ((200, "000001.safetensors"), (log + 20, "1-of-1.jsonl")):
        message = rf"cannot write .*{name}: File too large; free some space"
        with opened(tmp_path) as store:
            if name == "1-of-1.jsonl":
                store.fail("t", "p9", "a long reason" * 100)
            else:
                store.add(block(2, 3))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            try:
                with pytest.raises(OSError, match=message):
                    store.flush()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert numbers(read_states(tmp_path)) == [0, 1]
            store._blocks, store._failures = [], []  # as if the process ended here
    with opened(tmp_path) as store:
        store.add(block(2, 3))
    assert numbers(read_states(tmp_path)) == [0, 1, 2, 3]


def test_what_was_begun_with_something_else_is_refused(tmp_path):
    with opened(tmp_path) as store:
        store.add(block(0))
    with pytest.raises(RuntimeError, match=r"begun with model weights 1 \(now weights 2\); bring that back, or choose"):
        opened(tmp_path, versions={"model": "weights 2"}).__enter__()
    for change in ({"views": ["last"]}, {"layers": [0]}, {"dtype": "float16"}, {"plan": "vision:1-3"}):
        with pytest.raises(RuntimeError, match="does not describe this experiment; choose another --out"):
            opened(tmp_path, **change).__enter__()
    with opened(tmp_path), pytest.raises(RuntimeError, match="another process is writing"):
        opened(tmp_path).__enter__()
    with opened(tmp_path), pytest.raises(RuntimeError, match="written by a worker of another division"):
        opened(tmp_path, Shard(1, 2)).__enter__()


def test_folders_that_hold_no_states_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"states: no spec.json in .*; expected a folder made by"):
        read_states(tmp_path)
    path = tmp_path / "spec.json"
    for text, message in (
        ("{", "is damaged"),
        ('{"versions": {}}', "is damaged"),
        ('{"content": {"model": "tiny"}}', "holds another kind of run"),
        (json.dumps({"content": content(format=2)}), "expected format 1 in .*, got 2; record them again"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_states(tmp_path)


def test_an_empty_run_says_so(tmp_path):
    with opened(tmp_path):
        pass
    stored = read_states(tmp_path)
    assert stored.samples == 0
    with pytest.raises(ValueError, match="nothing recorded yet"):
        stored.layer(0)


def test_rows_follow_the_order_of_the_data_set(tmp_path):
    """Two workers, batches of two in turns, and a data set whose list is known."""
    for part, batches in ((Shard(2, 2), ((2, 3), (6, 7))), (Shard(1, 2), ((0, 1), (4, 5)))):
        folder = tmp_path / "run"
        entry = {"data": [{"label": "t"}]}
        with storing(folder, content() | entry, VERSIONS, part, chunk_bytes=10**6) as store:
            for batch in batches:
                store.add(block(*batch))
    assert numbers(read_states(folder)) == [0, 1, 4, 5, 2, 3, 6, 7]
    assert read_states(folder).missing is None
    items = folder / "items" / "t.json"
    items.parent.mkdir()
    items.write_text(json.dumps({"items": [[f"p{n}", "x"] for n in (*range(8), 10)]}))
    stored = read_states(folder)
    assert numbers(stored) == list(range(8))
    assert numbers(stored, "vision-sample(3)") == [n for n in (0, 2, 4, 6) for _ in range(3)]
    assert stored.index(SAMPLE)["item"].tolist() == [f"p{n}" for n in (0, 2, 4, 6) for _ in range(3)]
    assert stored.groups("last").tolist() == [f"image {n // 2}" for n in range(8)]
    assert stored.missing == 1
    assert "missing=1" in repr(stored)


def test_one_chunk_of_float32_is_read_without_a_copy(tmp_path):
    with opened(tmp_path) as store:
        store.add(block(0, 1))
    array = read_states(tmp_path).layer(2)
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    assert Path(base.filename).name == "000000.safetensors"
