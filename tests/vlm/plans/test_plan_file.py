"""Plan files: read back as written, refused when edited, of another kind, or for other weights."""

from __future__ import annotations

import json

import pytest

import vlm
from vlm.__main__ import main
from vlm.models.weights_fingerprint import weights_fingerprint
from vlm.plans.plan import SkipPlan
from vlm.plans.plan_file import PlanFile, plan_for


@pytest.fixture(scope="module")
def model():
    return vlm.load("tiny")[0]


@pytest.fixture(scope="module")
def file(model):
    from vlm.models.fingerprint import model_identity

    return PlanFile(
        SkipPlan.parse("freeze:5-7/vision:7-10"),
        "tiny",
        weights_fingerprint(model),
        model_identity("tiny"),
        max_loss=0.01,
        limit=0.0093,
        cost={"operations": 0.63, "cache": 0.8},
        guarantee="a promise",
    )


def test_read_back_as_written(file, tmp_path):
    path = file.save(tmp_path / "plan.json")
    assert PlanFile.load(path) == file
    assert json.loads(path.read_text())["digest"] == file.plan.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plan": "vision:0-2"}, "the plan vision:0-2 has the digest"),
        ({"format": 2}, "expected format 1, got 2"),
        ({"kind": "other"}, "expected a file written by vlm.optimize, got other JSON"),
        ({"limit": "small"}, "expected limit as in a file written by vlm.optimize, got 'small'"),
        ({"seed": 1.5}, "expected seed as in"),
        ({"extra": 1}, "missing or unknown: extra"),
    ],
)
def test_edited_files_are_refused(file, change, message):
    with pytest.raises(ValueError, match=message):
        PlanFile.from_json(json.dumps({**file.to_dict(), **change}))
    with pytest.raises(ValueError, match="expected JSON"):
        PlanFile.from_json("vision:0-2")


def test_weights_are_told_apart(file, model, tmp_path):
    assert plan_for(model, file) == file.plan
    other, _ = vlm.load("tiny-scaled")
    with pytest.raises(ValueError, match="the promise holds for those weights only"):
        plan_for(other, file.save(tmp_path / "plan.json"))
    path = file.save(tmp_path / "plan.json")
    with pytest.raises(ValueError, match="the promise holds for those weights only"):
        vlm.apply(other, path)
    with pytest.raises(ValueError, match="the promise holds for those weights only"), vlm.skipping(other, str(path)):
        pass
    applied = vlm.apply(model, path)
    assert applied.plan == file.plan
    applied.remove()
    weight = model.model.language_model.layers[3].mlp.up_proj.weight
    before = weight.data.clone()
    weight.data.mul_(1.01)
    assert weights_fingerprint(model) != file.weights
    weight.data.copy_(before)
    assert weights_fingerprint(model) == file.weights


def test_a_sweep_takes_the_file_and_refuses_it_for_another_model(file, tmp_path, capsys):
    path = str(file.save(tmp_path / "plan.json"))
    arguments = ["sweep", "--limit", "2", "--plan", path, "--out", str(tmp_path / "runs"), "--quiet"]
    assert main([*arguments, "--model", "tiny-scaled"]) == 1
    assert f"--plan {path}: expected the model tiny (digest" in capsys.readouterr().err
    assert main([*arguments, "--model", "tiny"]) == 0
    assert list((tmp_path / "runs").iterdir())
