"""States of data sets: equal to those of a record in memory, whoever writes them, however often they are killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import vlm
from tests.support.fixture_sets import write_spec
from vlm.__main__ import main
from vlm.datasets import read
from vlm.evaluation.answering import Answerer
from vlm.experiments import run as experiment_run
from vlm.experiments.shards import Shard
from vlm.hidden_states import dataset_run, state_store
from vlm.hidden_states.dataset_run import states_run
from vlm.hidden_states.state_store import chunk_lines
from vlm.models.loading import EMBEDDED

VIEWS = ("last", "vision-mean", "vision-sample(3)", "text-all")


@pytest.fixture(scope="module", autouse=True)
def one_model():
    """Each run loads the model again; once is enough here."""
    loaded, own = {}, experiment_run.load

    def load(name, **options):
        if name not in EMBEDDED:
            return own(name, **options)
        key = (name, str(options["dtype"]))
        if key not in loaded:
            loaded[key] = own(name, **options)
        return loaded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment_run, "load", load)
        yield


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """The embedded set and two files of one's own, with one broken image."""
    return vlm.read_spec(write_spec(tmp_path_factory.mktemp("sets"), items=12, plans=()))


@pytest.fixture(scope="module")
def whole(spec, tmp_path_factory):
    return states_run(spec, tmp_path_factory.mktemp("runs"), views=VIEWS, progress=False)


def same(first, second):
    for view in VIEWS:
        for name, column in first.index(view).columns.items():
            np.testing.assert_array_equal(column, second.index(view)[name], err_msg=f"{view} {name}")
        for layer in first.layers:
            np.testing.assert_array_equal(first.layer(layer, view), second.layer(layer, view))


def test_stored_states_equal_recorded_ones(spec, whole):
    stored = vlm.read_states(whole)
    stored.verify()
    assert whole.name.startswith("states-")
    model, processor = vlm.load("tiny")
    answerer = Answerer(model, processor, experiment_run.PROTOCOLS["skip-it"])
    items = [item for item in read("tiny", limit=12) if item.id]
    with torch.inference_mode(), vlm.states(model, views=VIEWS) as record:
        for start in range(0, 12, spec.batch_size):
            questions = answerer.questions(items[start : start + spec.batch_size])
            for group in dataset_run.alike(questions):
                record.expect([q.item.id for q in group], groups=[q.item.image_id for q in group])
                model(**answerer.inputs(group), use_cache=False)
    for view in VIEWS:
        mine, own = record.index(view), stored.index(view)
        for item in items:
            here, there = mine["item"] == item.id, (own["item"] == item.id) & (own["task"] == "tiny")
            assert here.any()
            assert mine["token"][here].tolist() == own["token"][there].tolist()
            for layer in (0, 5, 10):
                np.testing.assert_allclose(record.layer(layer, view)[here], stored.layer(layer, view)[there], rtol=1e-5)
    tasks = stored.index("last")["task"]
    assert [task for i, task in enumerate(tasks) if i == 0 or tasks[i - 1] != task] == ["tiny", "first", "second"]
    assert stored.failures.keys() == {("first", "q5")}
    assert "expected an image" in stored.failures["first", "q5"] or "image" in stored.failures["first", "q5"]
    assert stored.samples == 35
    assert stored.missing == 0
    answers = dict(zip(stored.index("last")["item"], stored.index("last")["answer"], strict=True))
    assert answers[items[0].id] == items[0].answers[0]


@pytest.mark.parametrize("count", [2, 7])
def test_any_division_gives_the_same_rows(spec, whole, tmp_path, count):
    for k in range(count, 0, -1):
        folder = states_run(spec, tmp_path, views=VIEWS, part=Shard(k, count), progress=False)
    assert folder.name == whole.name
    same(vlm.read_states(whole), vlm.read_states(folder))


def test_a_complete_run_needs_no_model_and_a_part_continues_any_other(spec, whole, tmp_path, monkeypatch):
    folder = states_run(spec, tmp_path, views=VIEWS, part=Shard(2, 3), progress=False)
    partial = vlm.read_states(folder)
    assert partial.missing == 36 - partial.samples - len(partial.failures) > 0
    seen = []
    own = dataset_run._forward
    monkeypatch.setattr(
        dataset_run,
        "_forward",
        lambda a, r, label, qs, n: seen.extend((label, q.item.id) for q in qs) or own(a, r, label, qs, n),
    )
    states_run(spec, tmp_path, views=VIEWS, progress=False)
    done = {(p.task, p.item) for line in partial._lines for p in line.prompts}
    assert len(seen) == 35 - len(done)
    assert not done & set(seen)
    same(vlm.read_states(whole), vlm.read_states(folder))
    monkeypatch.setattr(experiment_run, "load", None)
    states_run(spec, tmp_path, views=VIEWS, progress=False)


def test_states_under_a_plan(spec, whole, tmp_path):
    folder = states_run(spec, tmp_path, views=VIEWS, plan="vision:6-", progress=False)
    assert folder.name != whole.name
    skipped, full = vlm.read_states(folder), vlm.read_states(whole)
    assert skipped.plan == "vision:6-10"
    np.testing.assert_array_equal(*skipped.pair(6, 10, "vision-mean")[:2])
    np.testing.assert_array_equal(skipped.layer(6, "vision-mean"), full.layer(6, "vision-mean"))
    assert not np.array_equal(skipped.layer(10, "last"), full.layer(10, "last"))


@pytest.mark.parametrize("asked", ["bfloat16", "float16"])
def test_narrow_types_round_once(spec, whole, tmp_path, asked):
    folder = states_run(spec, tmp_path, views=VIEWS, layers=[0, 10], dtype=asked, progress=False)
    narrow, full = vlm.read_states(folder), vlm.read_states(whole)
    assert narrow.layers == (0, 10)
    for view in VIEWS:
        expected = torch.from_numpy(np.array(full.layer(10, view))).to(getattr(torch, asked)).to(torch.float32)
        np.testing.assert_array_equal(narrow.layer(10, view), expected.numpy())


def test_the_size_said_is_the_size_written(spec, tmp_path):
    sizes = []
    folder = states_run(spec, tmp_path, views=VIEWS, before=sizes.append, progress=False)
    data = sum(line.size for line in chunk_lines(folder))
    # The text tokens of a data set are those of its first prompts, and headers are not counted.
    assert data == pytest.approx(sizes[0].total, rel=0.1)
    states_run(spec, tmp_path, views=VIEWS, before=sizes.append, progress=False)
    assert len(sizes) == 1  # said when the run begins


def test_too_large_is_refused_before_anything_is_written(spec, tmp_path):
    with pytest.raises(ValueError, match=r"states: expected at most 1.0 MB, but these states take .* agree with --yes"):
        states_run(spec, tmp_path, views=VIEWS, largest=10**6, progress=False)
    assert not list(tmp_path.iterdir())
    stream = replace(spec, data=(replace(spec.data[1], streaming=True),))
    with pytest.raises(
        ValueError, match=r"number of items is not known, so the size may exceed 20.0 GB; limit the items"
    ):
        states_run(stream, tmp_path, progress=False)


def test_other_weights_and_other_data_are_refused(spec, tmp_path):
    model = shutil.copytree(EMBEDDED["tiny"], tmp_path / "model")
    one = replace(spec, model=str(model), data=spec.data[1:2])
    folder = states_run(one, tmp_path / "runs", progress=False)
    source = (tmp_path / "model" / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(source[:-1] + bytes([source[-1] ^ 1]))
    with pytest.raises(
        RuntimeError, match=r"^run: .* was begun with model digest \w+ \(now digest \w+\); bring that back"
    ):
        states_run(one, tmp_path / "runs", progress=False)
    (model / "model.safetensors").write_bytes(source)
    data = Path(str(spec.data[1].source))
    before, text = vlm.read_states(folder), data.read_text()
    (folder / "items" / "first.json").unlink()  # so that only the digests beside the states can tell
    lines = text.splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | {"question": "what else?"})
    data.write_text("\n".join(lines) + "\n")
    try:
        with pytest.raises(ValueError, match=r"item 2 of first is not what it was when .* was begun; the data set has"):
            states_run(one, tmp_path / "runs", progress=False)
    finally:
        data.write_text(text)
    assert before.samples == 11


def test_a_run_that_is_killed_loses_a_chunk_at_most_and_ends_the_same(spec, whole, tmp_path):
    """Small chunks in a process of its own, killed when it has written about half of them."""
    content = tmp_path / "spec.json"
    content.write_text(json.dumps(spec.content()))
    code = f"""
import json
from pathlib import Path
from vlm import Spec
from vlm.hidden_states import dataset_run, state_store
own = state_store.storing
dataset_run.storing = lambda *given, **options: own(*given, **options, chunk_bytes=1)
spec = Spec.from_content(json.loads(Path({str(content)!r}).read_text()))
dataset_run.states_run(spec, {str(tmp_path)!r}, views={VIEWS!r}, progress=False)
"""
    folder = tmp_path / whole.name
    process = subprocess.Popen([sys.executable, "-c", code])
    while process.poll() is None and len(list(folder.glob("chunks/*/*.safetensors"))) < 4:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    killed = vlm.read_states(folder)
    assert 0 < killed.samples < 35
    killed.verify()
    states_run(spec, tmp_path, views=VIEWS, progress=False)
    assert vlm.read_states(folder)._lines[: len(killed._lines)] == killed._lines
    same(vlm.read_states(whole), vlm.read_states(folder))


def test_items_that_do_not_fit_or_fail_are_noted(spec, tmp_path, monkeypatch):
    one = replace(spec, data=spec.data[:1], batch_size=4)
    own = dataset_run._forward

    def forward(answerer, record, label, questions, attempt):
        ids = [q.item.id for q in questions]
        if len(ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB. GPU 0 has 3 bytes")
        if "test-0-1" in ids:
            record.announce(())  # begun, and then
            raise RuntimeError("a shape that does not fit")
        return own(answerer, record, label, questions, attempt)

    monkeypatch.setattr(dataset_run, "_forward", forward)
    folder = states_run(one, tmp_path, progress=False)
    stored = vlm.read_states(folder)
    assert stored.failures == {("tiny", "test-0-1"): "RuntimeError: a shape that does not fit"}
    assert stored.samples == 11
    assert stored.missing == 0
    monkeypatch.setattr(dataset_run, "_forward", own)
    states_run(one, tmp_path, retry_failed=True, progress=False)
    assert vlm.read_states(folder).samples == 12
    assert not vlm.read_states(folder).failures


def test_out_continues_in_python(tmp_path, monkeypatch):
    monkeypatch.setattr(state_store, "CHUNK", 1)
    model, processor = vlm.load("tiny")
    items = list(read("tiny", limit=8))
    ids, images = [item.id for item in items], [item.image_id for item in items]
    answerer = Answerer(model, processor, experiment_run.PROTOCOLS["skip-it"])
    questions = answerer.questions(items)

    def extract(record, stop=None):
        for place in record.missing(ids)[:stop]:
            record.expect([ids[place]], groups=[images[place]])
            model(**answerer.inputs([questions[place]]))

    with torch.inference_mode(), vlm.states(model, views=VIEWS) as memory:
        assert memory.missing(ids) == list(range(8))
        extract(memory)
        assert memory.missing(ids) == []
    with torch.inference_mode():
        with pytest.raises(KeyError), vlm.states(model, views=VIEWS, out=tmp_path) as record:
            extract(record, 3)
            raise KeyError("as if it crashed")
        with vlm.states(model, views=VIEWS, out=tmp_path) as record:
            assert record.missing(ids) == [3, 4, 5, 6, 7]
            with pytest.raises(ValueError, match=r"got 'test-0-0' again; states.missing\(items\) says what is not"):
                record.expect(ids[:1])
            extract(record)
            same(memory, record)
            with pytest.raises(ValueError, match=r"expected states.expect\(\.\.\.\) before each forward"):
                model(**answerer.inputs(questions[:1]))
    same(memory, vlm.read_states(tmp_path))
    same(memory, record)
    assert record.samples == 5
    with torch.no_grad():
        model.model.language_model.layers[0].mlp.down_proj.weight += 1e-3
    try:
        other = r"begun with model Llava.*, weights \w+ \(now Llava.*, weights \w+\)"
        with pytest.raises(RuntimeError, match=other), vlm.states(model, views=VIEWS, out=tmp_path):
            pass
    finally:
        with torch.no_grad():
            model.model.language_model.layers[0].mlp.down_proj.weight -= 1e-3
    with pytest.raises(ValueError, match="part: expected with out="), vlm.states(model, part=Shard(1, 2)):
        pass


def test_a_record_holds_one_plan(tmp_path):
    model, processor = vlm.load("tiny")
    question = vlm.tiny.questions(limit=1)[0]
    batch = processor(images=[question.image], text=[question.prompt], return_tensors="pt")
    with torch.no_grad(), vlm.states(model) as record:
        model(**batch)
        with (
            vlm.skipping(model, "vision:6-"),
            pytest.raises(ValueError, match=r"under the plan 'none', got one under 'vi"),
        ):
            model(**batch)
    assert record.plan == "none"
    with torch.no_grad(), vlm.skipping(model, "vision:6-"), vlm.states(model, out=tmp_path) as record:
        record.expect(["a"])
        model(**batch)
    assert record.plan == vlm.read_states(tmp_path).plan == "vision:6-10"


def test_the_command(tmp_path, capsys):
    flags = ["states", "--limit", "5", "--out", str(tmp_path), "--quiet", "--views", "last", "vision-sample(2)"]
    assert main([*flags, "--layers", "0", "10", "--shard", "2/2"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("size: ")
    assert main([*flags, "--layers", "0", "10", "--shard", "1/2"]) == 0
    out = capsys.readouterr().out
    assert "size" not in out
    (folder,) = tmp_path.iterdir()
    assert f"states: {folder}\nStoredStates(samples=5, views=(last, vision-sample(2)), states=0, 10, plan=none)" in out
    for more, message in (
        (["--layers", "11"], "layers: expected states in 0..10 (state 10 leaves the last layer), got 11"),
        (["--views", "first"], "view: expected last, vision-mean"),
        (["--store-as", "int8"], "dtype: expected one of float16, bfloat16, float32, float64, got 'int8'"),
        (["--plan", "vision:9-12"], "layer"),
        (["--shard", "3/2"], "shard: expected k/n"),
    ):
        assert main([*flags, *more]) == 1
        errors = capsys.readouterr().err.strip().splitlines()
        assert len(errors) == 1
        assert message in errors[0]
