"""Fingerprints identify weights, not names: an overwritten folder or a moved branch is another model."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

from vlm.experiments.measure_run import measure_run
from vlm.experiments.spec import DataChoice, Spec
from vlm.experiments.sweep_run import sweep
from vlm.models.fingerprint import folder_digest, model_identity
from vlm.models.loading import EMBEDDED


def test_a_folder_is_identified_by_its_files_wherever_it_is(tmp_path):
    copy = shutil.copytree(EMBEDDED["tiny"], tmp_path / "copy")
    first = model_identity("tiny")
    assert first == model_identity(str(copy)) == model_identity("tiny-plain") != model_identity("tiny-scaled")
    (copy / "notes.md").write_text("no part of a checkpoint")
    assert model_identity(str(copy)) == first
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        before = (copy / name).read_bytes()
        middle = len(before) // 2
        (copy / name).write_bytes(before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :])
        assert model_identity(str(copy)) != first
        (copy / name).write_bytes(before)
    (copy / "config.json").rename(copy / "other.json")
    assert model_identity(str(copy)) != first


def test_large_files_are_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("vlm.models.fingerprint._READ", 128)
    path = tmp_path / "model.safetensors"
    data = bytes(range(256)) * 25  # 100 bytes from piece to piece, 2 of each are read
    found = set()
    for change in (None, 0, 1, 301, 6301):
        path.write_bytes(data if change is None else data[:change] + b"\xff" + data[change + 1 :])
        found.add(folder_digest(tmp_path))
    assert len(found) == 5
    path.write_bytes(data + b"\0")
    assert folder_digest(tmp_path) not in found


def test_a_hub_id_is_identified_by_its_commit(monkeypatch):
    asked = []

    def read(name, *, revision, trust_remote_code):
        asked.append((name, revision, trust_remote_code))
        return SimpleNamespace(_commit_hash="0a1b2c")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", read)
    assert model_identity("owner/model", "v2") == "commit 0a1b2c"
    assert asked == [("owner/model", "v2", False)]


def test_overwritten_weights_are_not_mixed_with_the_old_ones(tmp_path):
    model = shutil.copytree(EMBEDDED["tiny"], tmp_path / "model")
    spec = Spec(model=str(model), data=(DataChoice("tiny", limit=4),))
    for run in (sweep, measure_run):
        folder = run(spec, tmp_path / "runs", progress=False)
        assert json.loads((folder / "spec.json").read_text())["versions"]["model"] == model_identity(str(model))
    shutil.copyfile(EMBEDDED["tiny-scaled"] / "model.safetensors", model / "model.safetensors")
    for run in (sweep, measure_run):
        with pytest.raises(RuntimeError, match=r"begun with model digest \w+ \(now digest \w+\); bring that back"):
            run(spec, tmp_path / "runs", progress=False)


def test_recorded_verdicts_that_changed_are_others(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    verdict = {"question": "?", "references": ["a"], "prediction": "b", "score": 0}
    path.write_text(json.dumps(verdict) + "\n")
    spec = Spec(data=(DataChoice("tiny", limit=4),), judge=f"recorded:{path}")
    sweep(spec, tmp_path / "runs", progress=False)
    sweep(spec, tmp_path / "runs", progress=False)
    path.write_text(json.dumps({**verdict, "score": 1}) + "\n")
    with pytest.raises(RuntimeError, match="begun with verdicts"):
        sweep(spec, tmp_path / "runs", progress=False)
