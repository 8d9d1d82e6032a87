"""Checkpoints that are packed already (GPTQ, AWQ) load as they are, and are counted in their own bytes."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

import vlm
from tests.support.packed_checkpoints import save_packed
from vlm import plan_cost
from vlm.models.random_models import random_model
from vlm.self_check.checks import check

KERNELS = find_spec("gptqmodel") is not None and find_spec("optimum.gptq") is not None
KINDS = ("gptq", "awq")


@pytest.mark.skipif(not KERNELS, reason="needs gptqmodel and optimum")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_packed_checkpoints_pass_their_own_check(kind, tmp_path):
    save_packed(tmp_path, kind)
    model, processor = vlm.load(tmp_path)
    plain, _ = vlm.load(tmp_path / "plain")
    asked = vlm.tiny.questions(limit=2, kinds=("location",))
    images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    with torch.no_grad():
        with vlm.removal(model) as packed:
            found = model(**batch).logits
        with vlm.removal(plain) as unpacked:
            expected = plain(**batch).logits
    # The kernels unpack to 16 bits.
    assert float((found - expected).norm() / expected.norm()) < 0.01
    change = unpacked.table()["change"]
    assert abs(packed.table()["change"] - change).max() < 0.01 * change.max()
    result = check(model, processor, rounds=1)
    assert result.passed, str(result)
    cost, full = (plan_cost(one, vision=36, text=10, plan="freeze:2-4") for one in (model, plain))
    assert cost.prefill.total == full.prefill.total
    parts = [*model.model.language_model.layers, model.lm_head]
    tensors = [t for part in parts for t in (*part.parameters(), *part.buffers())]
    assert cost.decode_weight_bytes == sum(t.numel() * t.element_size() for t in tensors)
    with pytest.raises(ValueError, match="bake: this model has quantised weights"):
        vlm.bake(model, vlm.SkipPlan.drop([3]))


@pytest.mark.skipif(KERNELS, reason="gptqmodel is here")
@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_checkpoint_without_its_package_says_which(kind, tmp_path):
    """So the checkpoint's own settings reach transformers."""
    save_packed(tmp_path, kind)
    with pytest.raises(ImportError, match=r"optimum|gptqmodel"):
        vlm.load(tmp_path)


class Packed(torch.nn.Module):
    """The tensors of a GPTQ kernel for a map of four-bit weights."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        groups = self.in_features // 32
        self.register_buffer("qweight", torch.zeros(self.in_features // 8, self.out_features, dtype=torch.int32))
        self.register_buffer("qzeros", torch.zeros(groups, self.out_features // 8, dtype=torch.int32))
        self.register_buffer("scales", torch.zeros(groups, self.out_features, dtype=torch.float16))


def test_packed_weights_are_counted_in_their_own_bytes():
    model = random_model(width=64)
    plain = plan_cost(model, vision=9, text=4, plan="freeze:1-3")
    layers = model.model.language_model.layers
    for layer in layers:
        for name, linear in [(n, m) for n, m in layer.named_modules() if isinstance(m, torch.nn.Linear)]:
            layer.set_submodule(name, Packed(linear))
    packed = plan_cost(model, vision=9, text=4, plan="freeze:1-3")
    assert packed.prefill.layers.tolist() == plain.prefill.layers.tolist()
    # 64*64*2 + 64*32*2 + 3*64*128 weights a layer: half a byte each, and 2.5 bytes for each 32 of them; two norms.
    weights = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128
    assert packed.decode_weight_bytes == 5 * (weights // 2 + weights // 32 * 5 // 2 + 2 * 64 * 4) + 4 * 64 * 50
