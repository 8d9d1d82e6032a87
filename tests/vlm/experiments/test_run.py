"""A run to be worked on: looked up once, nothing written, the model loaded once and only when it is needed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vlm.experiments import run as module
from vlm.experiments.run import Run
from vlm.experiments.shards import Shard
from vlm.experiments.spec import Spec

SPEC = Spec(plans=("vision:0-2",), judge="chat:some-model")


@pytest.fixture
def loads(monkeypatch):
    calls = []
    monkeypatch.setattr(module, "load", lambda name, **how: calls.append((name, how)) or ("model", "processor"))
    monkeypatch.setattr(
        "vlm.judges.from_name", lambda name, *, cache, **options: SimpleNamespace(name=name, cache=cache)
    )
    return calls


def test_opening_a_run_looks_everything_up_and_writes_nothing(tmp_path, loads):
    run = Run.open(SPEC, tmp_path, part=Shard(2, 3), device="cpu")
    assert (run.folder, run.part, run.depth) == (tmp_path / SPEC.digest, Shard(2, 3), 10)
    assert [str(plan) for plan in run.plans] == ["none", "vision:0-2"]
    assert (run.judge.name, run.judge.cache) == ("chat:some-model", tmp_path / "verdicts")
    assert run.versions["protocol"] == "skip-it 2"
    assert Run.open(SPEC, tmp_path, purpose="measurement").folder == tmp_path / SPEC.measurement
    assert list(tmp_path.iterdir()) == []
    assert loads == []
    assert repr(run).startswith("Run(spec=Spec(")


@pytest.mark.parametrize(
    ("how", "place"),
    [({"device": "cpu"}, {"device": "cpu"}), ({"device_map": "auto"}, {"device_map": "auto"})],
)
def test_the_model_is_loaded_once(tmp_path, loads, how, place):
    run = Run.open(SPEC, tmp_path, **how)
    assert run.answerer is run.answerer
    ((name, given),) = loads
    assert name == "tiny"
    assert given == {"dtype": None, "attention": "sdpa", "revision": None, **place}
