"""The check on the user's own model: everything passes on a sound model, and a planted error shows."""

from __future__ import annotations

import json

import pytest
import torch

import vlm
from vlm import check
from vlm.__main__ import main
from vlm.engine import token_pruning, token_roles
from vlm.plans.text_form import _LABELS
from vlm.self_check import checks


def test_the_command_prints_one_page_and_its_status(tmp_path, capsys):
    page = tmp_path / "check.json"
    assert main(["check", "--plan", "vision:8-/mlp:2-3", "--rounds", "1", "--out", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "all checks pass" in printed
    assert "pass    vision:8-/mlp:2-3: against masking" in printed
    found = json.loads(page.read_text())
    assert {item["status"] for item in found["findings"]} == {"pass", "note"}
    with pytest.raises(SystemExit):
        main(["check", "--rounds", "0"])
    assert main(["check", "--dtype", "float3"]) == 1
    assert "--dtype: expected float32" in capsys.readouterr().err


def test_a_planted_error_fails(monkeypatch, capsys):
    model, processor = vlm.load("tiny")
    real = token_roles._present

    def one_too_few(call, step, cache):
        present = real(call, step, cache).clone()
        present[:, 2] = False
        return present

    monkeypatch.setattr(token_roles, "_present", one_too_few)
    result = check(model, processor, "freeze:2-5", rounds=1)
    assert not result.passed
    assert "SOME CHECKS FAILED" in str(result)
    assert [item.status for item in result.findings if item.what == "freeze:2-5: against masking"] == ["FAIL"]


def test_every_kind_of_plan_is_tried_in_float64():
    model, processor = vlm.load("tiny", dtype=torch.float64)
    result = check(model, processor, rounds=1)
    assert result.passed, str(result)
    tried = "/".join(item.what.partition(": ")[0] for item in result.findings if "masking" in item.what)
    assert {part.partition(":")[0] for part in tried.split("/")} == set(_LABELS)


def test_a_choice_that_rounding_may_change_is_no_failure_in_16_bits(monkeypatch):
    model, processor = vlm.load("tiny", dtype=torch.bfloat16)
    real = token_pruning.most_attended
    monkeypatch.setattr(token_pruning, "most_attended", lambda scores, *others: real(-scores.abs(), *others))
    noted = {item.what: item for item in check(model, processor, "prune:2=0.1", rounds=1).findings}
    assert noted["prune:2=0.1: against masking"].status == "note"
    assert "rounding may have chosen" in noted["prune:2=0.1: against masking"].found
    assert not check(model.float(), processor, "prune:2=0.1", rounds=1).passed


def test_what_the_library_refuses_is_no_failure(monkeypatch):
    model, processor = vlm.load("tiny")

    def refused(*_, **__):
        raise NotImplementedError("not here")

    monkeypatch.setattr(checks, "attention", refused)
    result = check(model, processor, "vision:8-", rounds=1)
    assert result.passed
    assert [item.found for item in result.findings if item.status == "refused"] == ["not here"]


def test_it_looks_through_wrappers_and_leaves_the_model_in_its_mode():
    model, processor = vlm.load("tiny")
    model.train()
    result = check(torch.nn.DataParallel(model), processor, "vision:8-", rounds=1)
    assert result.passed
    assert model.training
    assert repr(result) == "Checkup(12 of 12 pass, 0 refused)"
