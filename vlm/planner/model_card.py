"""A Markdown block for a model card: the plan, the promise, the evidence, and the line that uses it."""

from __future__ import annotations

from vlm.plans.plan_file import PlanFile


def model_card(file: PlanFile, path: str = "plan.json") -> str:
    """The block for a plan file at `path`."""
    cost = [f"{file.cost['operations']:.1%} of the decoder's prompt operations, {file.cost['cache']:.1%} of its cache"]
    if "prefill_seconds" in file.cost:
        ratio = file.cost["prefill_seconds"] / file.cost["prefill_seconds_full"]
        cost.append(f"{ratio:.1%} of the measured prefill time")
    unit = {"disagreement": "of answers differ", "accuracy": "accuracy lost", "kl": "nats"}[file.loss]
    share = file.loss != "kl"
    numbers = [f"{v:.2%}" if share else f"{v:.4f}" for v in (file.estimate, file.low, file.high, file.limit)]
    made = f"skipit {file.versions.get('skipit', '')}".strip()
    return "\n".join(
        [
            "## Skipping layers",
            "",
            f"Plan `{file.plan}` ({made}): {', '.join(cost)}.",
            "",
            f"- Promise: {file.guarantee}",
            f"- Evidence: {numbers[0]} {unit} on {file.images:,} images, {file.confidence:.0%} interval "
            f"{numbers[1]} to {numbers[2]}, one-sided limit {numbers[3]}.",
            f"- Weights: `{file.weights}` ({file.identity}), {file.settings.get('dtype')}; data: {file.data}.",
            "",
            "```python",
            "import vlm",
            "",
            f'model, processor = vlm.load("{file.model}", plan="{path}")',
            "```",
            "",
        ]
    )
