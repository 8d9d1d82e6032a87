"""Two processes that share each layer's heads give what one process gives."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from vlm import attention, probe, skipping
from vlm.models.random_batches import batch_for, with_positions
from vlm.models.random_models import random_model

PLANS = (
    *("none", "vision:0-2", "freeze:1-3/text:3-4", "attention:1-2/mlp:3-4", "prune:2=0.5/keep:3-=1-"),
    *("rank:1=0.6/merge:1=0~0x0.5,3x0.5/leave:3=0.3", "merge:0=1~1x0.5,2x0.5/keep:0-=0-1+3-/leave:2=0.5"),
)
WORKER = """
import os, sys, torch, transformers
transformers.logging.set_verbosity_error()
from vlm import attention, probe, removal, skipping
torch.set_num_threads(1)
folder, plans = sys.argv[1], sys.argv[2:]
model = transformers.AutoModelForImageTextToText.from_pretrained(folder, tp_plan="auto").eval()
assert model.tp_size == 2
batch, whole = torch.load(folder + "/batch.pt")
found = {}
with torch.no_grad():
    for plan in plans:
        with skipping(model, plan):
            logits = model(**whole).logits
            tokens = model.generate(**batch, max_new_tokens=3, do_sample=False)
        found[plan] = logits, tokens
    with attention(model) as seen, probe(model) as record:
        model(**whole)
    try:
        with removal(model):
            model(**whole)
    except NotImplementedError as error:
        found["removal"] = str(error)
if os.environ["RANK"] == "1":
    torch.save((found, seen.ratios(), record.table()["distance"]), folder + "/found.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_row_1_two_processes(family, tmp_path):
    model = random_model(family)
    batch = batch_for(model, images=(2, 0, 1), after=(4, 7, 2))
    whole = with_positions(batch)
    model.save_pretrained(tmp_path)
    torch.save((batch, whole), tmp_path / "batch.pt")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    subprocess.run([*command, str(script), str(tmp_path), *PLANS], check=True, timeout=900)
    found, ratios, distances = torch.load(tmp_path / "found.pt", weights_only=False)
    real = batch["attention_mask"].bool()
    for plan in PLANS:
        with torch.no_grad(), skipping(model, plan):
            logits = model(**whole).logits
            tokens = model.generate(**batch, max_new_tokens=3, do_sample=False)
        error = (found[plan][0][real] - logits[real]).norm() / logits[real].norm()
        assert error < 1e-4, plan
        assert torch.equal(found[plan][1], tokens), plan
    with torch.no_grad(), attention(model) as seen, probe(model) as record:
        model(**whole)
    assert abs(ratios - seen.ratios()).max() < 1e-5
    # Not a number where a prompt has no image.
    assert np.allclose(distances, record.table()["distance"], atol=1e-5, equal_nan=True)
    assert "removal: needs each layer's output matrix" in found["removal"]


SHARDED = """
import os, sys, torch, torch.distributed as dist
import transformers
transformers.logging.set_verbosity_error()
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from vlm import probe, skipping
torch.set_num_threads(1)
folder, plans = sys.argv[1], sys.argv[2:]
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
for layer in model.model.language_model.layers:
    fully_shard(layer, mesh=mesh)
batch, whole = torch.load(folder + "/batch.pt")
found = {}
for plan in plans:
    with skipping(model, plan), probe(model) as record:
        with torch.no_grad():
            tokens = model.generate(**batch, max_new_tokens=3, do_sample=False)
        logits = model(**whole, use_cache=False).logits
        logits.square().mean().backward()
    gradient = model.model.language_model.layers[3].mlp.up_proj.weight.grad
    gradient = None if gradient is None else gradient.full_tensor()
    found[plan] = logits.detach(), tokens, gradient, record.samples
    model.zero_grad()
if os.environ["RANK"] == "1":
    torch.save(found, folder + "/found.pt")
"""


@pytest.mark.slow
def test_two_processes_with_sharded_weights(tmp_path):
    """FSDP2: each layer gathers its weights before it runs, under a plan too."""
    model = random_model()
    batch = batch_for(model, images=(2, 0, 1), after=(4, 7, 2))
    whole = with_positions(batch)
    model.save_pretrained(tmp_path)
    torch.save((batch, whole), tmp_path / "batch.pt")
    script = tmp_path / "worker.py"
    script.write_text(SHARDED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*command, str(script), str(tmp_path), *PLANS], check=True, timeout=900)
    found = torch.load(tmp_path / "found.pt", weights_only=False)
    for plan in PLANS:
        logits, tokens, gradient, samples = found[plan]
        with skipping(model, plan):
            with torch.no_grad():
                assert torch.equal(tokens, model.generate(**batch, max_new_tokens=3, do_sample=False)), plan
            here = model(**whole, use_cache=False).logits
            here.square().mean().backward()
        assert torch.equal(logits, here.detach()), plan
        own = model.model.language_model.layers[3].mlp.up_proj.weight.grad
        assert (gradient is None) == (own is None), plan
        assert own is None or (gradient - own).norm() <= 1e-5 * own.norm(), plan
        assert samples == 6, plan
        model.zero_grad()
