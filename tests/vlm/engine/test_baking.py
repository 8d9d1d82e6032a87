"""Plans as ordinary models: baked checkpoints load without this library and give the same tokens."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import transformers as hf

import vlm
from vlm import SkipPlan, bake, skipping
from vlm.models.random_batches import batch_for, with_positions
from vlm.models.random_models import IMAGE, _clip, _text, random_model

# Families, and layers of six that their configurations can do without.
DROPS = {
    "llava": (1, 4),
    "qwen2_5_vl": (2, 3),
    "qwen3_vl": (3,),
    "gemma3": (2, 3),
    "idefics3": (0,),
    "llava-DeepseekV3Config": (0, 3),
    "llava-Cohere2Config": (0, 1, 2, 3),
}
# Runs where this library cannot be imported.
LOADER = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("vlm", "bounds", "redundancy"):
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
import torch, transformers
transformers.logging.set_verbosity_error()
for folder in sys.argv[1:]:
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    batch = torch.load(folder + "/batch.pt")
    tokens = model.generate(**batch, max_new_tokens=5, do_sample=False)
    torch.save(tokens, folder + "/tokens.pt")
assert not {"vlm", "bounds", "redundancy"} & set(sys.modules)
"""


def test_baked_checkpoints_load_without_this_library_and_give_the_plans_tokens(tmp_path):
    expected = {}
    for family, drops in DROPS.items():
        model = random_model(family, layers=6)
        batch = batch_for(model, images=(1, 0), after=(5, 8))
        plan = SkipPlan.drop(drops)
        depth = len(model.model.language_model.layers if family != "idefics3" else model.model.text_model.layers)
        smaller = bake(model, plan)
        with torch.no_grad(), skipping(model, plan):
            expected[family] = model.generate(**batch, max_new_tokens=5, do_sample=False)
            full = with_positions(batch)
            assert torch.equal(smaller(**full).logits, model(**full).logits), family
        assert torch.equal(smaller.generate(**batch, max_new_tokens=5, do_sample=False), expected[family]), family
        assert smaller.config.get_text_config().num_hidden_layers == depth - len(drops)
        assert model.config.get_text_config().num_hidden_layers == depth
        smaller.save_pretrained(tmp_path / family)
        torch.save(batch, tmp_path / family / "batch.pt")
    folders = [str(tmp_path / family) for family in DROPS]
    subprocess.run([sys.executable, "-c", LOADER, *folders], check=True, cwd=tmp_path)
    for family, tokens in expected.items():
        assert torch.equal(torch.load(tmp_path / family / "tokens.pt"), tokens), family


def test_layers_that_a_configuration_cannot_describe_are_refused():
    """Every second layer has experts: without the first layer, the others would be of the wrong kind."""
    text = _text("Qwen2MoeConfig", 4, 32, num_experts=4, num_experts_per_tok=2, decoder_sparse_step=2)
    config = hf.LlavaConfig(text_config=text, vision_config=_clip(), image_token_index=IMAGE)
    model = hf.LlavaForConditionalGeneration(config).eval()
    with pytest.raises(ValueError, match="cannot describe the layers that remain: layer 0"):
        bake(model, SkipPlan.drop([0]))
    assert bake(model, SkipPlan.drop([2, 3])).config.text_config.num_hidden_layers == 2


def test_weights_are_shared_and_structures_are_not():
    model, _ = vlm.load("tiny")
    smaller = bake(model, SkipPlan.drop([3, 4]))
    theirs = {weight.data_ptr() for weight in model.parameters()}
    assert {weight.data_ptr() for weight in smaller.parameters()} < theirs
    assert [layer.self_attn.layer_idx for layer in smaller.model.language_model.layers] == list(range(8))
    assert [layer.self_attn.layer_idx for layer in model.model.language_model.layers] == list(range(10))
    # And the smaller model is a model like any other: plans and measurements work on it.
    again = bake(smaller, "vision:0-1/text:0-1")
    assert again.config.text_config.num_hidden_layers == 7


@pytest.mark.parametrize(
    ("family", "plan", "what"),
    [
        ("llava", "vision:1-3", r"got vision:1-3, which does something else in layer 1; no ordinary model"),
        ("llava", "mlp:2-3", r"something else in layer 2"),
        ("llava", "none", r"drops some of 5 layers, got none, which drops 0"),
        ("llava", "vision:0-/text:0-", r"drops some of 5 layers.* which drops 5"),
        ("qwen3_vl", "vision:0-1/text:0-1", r"adds image features after each of its first 2 layers"),
    ],
)
def test_other_plans_are_refused_with_a_line_that_says_what_to_do(family, plan, what):
    with pytest.raises(ValueError, match=what):
        bake(random_model(family), plan)
