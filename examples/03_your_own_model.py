"""Your own model
==============

The same steps on any model of a known family: give ``--model`` a folder or a hub id.

Without ``--model`` a random LLaVA of the real classes is built on the spot: its plan means nothing, but every step
is the one a trained model takes.
"""

import argparse
from pathlib import Path

import torch

import vlm
from vlm import plot_redundancy, prefill_times
from vlm.reports.plots import require_matplotlib


def random_llava():
    """A LLaVA with random weights, 144 image tokens and 8 layers, and a prompt for it."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=168, patch_size=14
    )
    text = LlamaConfig(
        hidden_size=256, intermediate_size=688, num_hidden_layers=8, num_attention_heads=4, vocab_size=500
    )
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=7))
    ids = torch.randint(10, 500, (1, 176))
    ids[:, 4:148] = 7
    return model.eval(), {"input_ids": ids, "pixel_values": torch.randn(1, 3, 168, 168)}, None


def hub_model(name, image, question):
    """A checkpoint with its processor, and a prompt in its own chat format."""
    from PIL import Image

    model, processor = vlm.load(name, dtype=torch.bfloat16 if torch.cuda.is_available() else None)
    model = model.to("cuda") if torch.cuda.is_available() else model
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    batch = processor(images=[Image.open(image).convert("RGB")], text=[prompt], return_tensors="pt")
    return model, dict(batch.to(model.device, model.dtype)), processor


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--model", help="folder or hub id, for example llava-hf/llava-1.5-7b-hf")
    parser.add_argument("--image", type=Path, help="image to ask about, with --model")
    parser.add_argument("--question", default="What is in the image?")
    given = parser.parse_args()
    if given.model and not given.image:
        parser.error("--model needs --image")
    given.out.mkdir(parents=True, exist_ok=True)
    model, batch, processor = hub_model(given.model, given.image, given.question) if given.model else random_llava()

    with torch.inference_mode(), vlm.probe(model, thresholds=(0.05, 0.1)) as record, vlm.attention(model) as attention:
        model(**batch, logits_to_keep=1)
    print(record.table().where(modality="vision").text())
    print("visual attention ratio per layer:", attention.ratios()[0].mean(axis=1).round(3))

    depth = record.depth
    plans = [vlm.SkipPlan(), vlm.SkipPlan.late_entry(depth // 4), vlm.SkipPlan.early_exit(3 * depth // 4)]
    plans.append(plans[1] | plans[2])
    seconds, ratios = prefill_times(model, batch, plans, rounds=3)
    vision = int((batch["input_ids"] == model.config.image_token_id).sum())
    text = batch["input_ids"].numel() - vision
    for plan, second, ratio in zip(plans, seconds, ratios, strict=True):
        ideal = vlm.operations_ratio(model, plan, vision=vision, text=text)
        with torch.inference_mode(), vlm.skipping(model, plan):
            tokens = model.generate(**batch, max_new_tokens=8, do_sample=False)[0, batch["input_ids"].shape[1] :]
        answer = processor.decode(tokens, skip_special_tokens=True) if processor else tokens.tolist()
        print(f"{plan!s:>16}: {second:.3f} s, time ratio {ratio:.2f}, operations {ideal:.2f}, answer {answer!r}")

    plt = require_matplotlib()
    figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    plot_redundancy(ax, record)
    figure.savefig(given.out / "03_your_own_model.png", dpi=140)
    print(f"figure: {given.out / '03_your_own_model.png'}")


if __name__ == "__main__":
    main()
