"""Skip plans inside lmms-eval: the model `skipit`, which lmms-eval finds through its entry-point group.

`lmms-eval --model skipit --model_args pretrained=llava-hf/llava-1.5-7b-hf,plan=vision:0-4+24-32 --tasks mmstar`
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image

from redundancy.optional_imports import optional_import
from vlm.engine.planned_loading import load
from vlm.engine.skipping import skipping
from vlm.evaluation.batch_failures import TooLarge, in_halves
from vlm.evaluation.generation import Decoding, generate, texts
from vlm.evaluation.process_device import own_device
from vlm.models.loading import Attention
from vlm.models.prompts import MARK, inputs
from vlm.plans.plan import SkipPlan
from vlm.plans.plan_file import PlanFile

optional_import("lmms_eval", extra="lmms-eval", purpose=__name__)
from lmms_eval.api.model import lmms  # noqa: E402
from lmms_eval.protocol import ChatMessages  # noqa: E402

Prompt = tuple[str, list[Image.Image]]


class SkipIt(lmms):  # type: ignore[misc]
    """A model under a skip plan, with the interface that lmms-eval expects of models.

    Parameters come from ``--model_args``. lmms-eval splits them at commas and keys its caches by their text, so a plan
    is written out in full: ranges are joined with ``+``, modalities with ``/``.

    Parameters
    ----------
    pretrained : str
        What `vlm.load` takes: "tiny", a folder or a hub id.
    plan : str
        A plan's text form, optionally with its digest to be checked: ``"vision:0-4+24-32@804bc65ee2aa"``; or a plan
        file of `vlm.optimize`, which is refused for other weights.
    batch_size : int or str
        Prompts per call; halved where memory is insufficient.
    device : str, optional
        Default: the GPU of this process's rank if there is one, else the CPU.
    device_map : str, optional
        Spread one model over several GPUs, as ``"auto"`` does.
    dtype, attention, revision : str, optional
        As in `vlm.load`; dtype by name, such as ``"bfloat16"``.
    max_batch_size : optional
        Accepted because lmms-eval passes it; has no effect.

    Raises
    ------
    ValueError
        The plan cannot be read, does not have the digest, or names layers that the model lacks.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str = "tiny",
        plan: str = "none",
        *,
        batch_size: int | str = 1,
        device: str | None = None,
        device_map: str | None = None,
        dtype: str | None = None,
        attention: Attention = "sdpa",
        revision: str | None = None,
        max_batch_size: int | str | None = None,
    ) -> None:
        given = read_plan(plan)
        self.plan = given.plan if isinstance(given, PlanFile) else given
        # lmms-eval names folders of its older cache after this.
        self.model_name = f"{pretrained}@{self.plan}"
        super().__init__()
        self._rank, self._world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.batch_size = int(batch_size)
        if device in (None, "cuda"):
            device = own_device()
        place: dict[str, Any] = {"device_map": device_map} if device_map else {"device": device}
        self.model, self.processor = load(
            pretrained,
            dtype=None if dtype is None else getattr(torch, dtype),
            attention=attention,
            revision=revision,
            **place,
        )
        with skipping(self.model, given):
            pass  # a plan for another model is refused now, not after the data sets are read

    @property
    def device(self) -> torch.device:
        """Where the model's inputs go; lmms-eval gathers counts there."""
        return torch.device(self.model.device)

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Generated answers, in the order of the requests."""
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[2].items())), []).append(number)
        answers = [""] * len(requests)
        with self._bar(len(requests)) as bar:
            for group in groups.values():
                for start in range(0, len(group), self.batch_size):
                    chunk = group[start : start + self.batch_size]
                    prompts = [self._prompt(self._messages(requests[number])) for number in chunk]
                    generated = self._generated(prompts, requests[chunk[0]].args[2])
                    for number, text in zip(chunk, generated, strict=True):
                        answers[number] = text
                    bar.update(len(chunk))
        return answers

    def generate_until_multi_round(self, requests: list[Any]) -> list[list[str]]:
        """The answers of each request's rounds; the task makes each round's messages from the earlier answers."""
        return [self._rounds(request) for request in requests]

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Log-probability in nats of each continuation, and whether greedy decoding would produce it.

        Arguments of a request: context, continuation (or a function of the document), a function from the document to
        its images, document number, task, split. So far lmms-eval asks this of no model with chat messages.
        """
        return [self._loglikelihood(*request.args) for request in requests]

    def _messages(self, request: Any) -> Any:
        _, to_messages, _, number, task, split = request.args
        return to_messages(self.task_dict[task][split][number])

    def _rounds(self, request: Any) -> list[str]:
        _, to_messages, settings, number, task, split = request.args
        document = self.task_dict[task][split][number]
        answers: list[str] = []
        messages, info = to_messages(document), None
        while messages is not None:
            answers += self._generated([self._prompt(messages)], settings)
            following = to_messages(
                document, round_idx=len(answers), previous_output=list(answers), previous_round_info=info
            )
            if not (isinstance(following, tuple) and len(following) == 4):
                break  # a task of one round
            messages, ended, _, info = following
            if ended:
                break
        return answers

    def _prompt(self, messages: Any) -> Prompt:
        """Text and images of a conversation, in the words of the model's chat template if it has one."""
        conversation = ChatMessages(messages=messages)
        images, *others = conversation.extract_media()
        if any(others):
            raise NotImplementedError("skipit: expected text and images in the messages, got video or audio")
        turns = conversation.to_hf_messages()
        if getattr(self.processor, "chat_template", None) is not None:
            text = self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        else:
            image = getattr(self.processor, "image_token", MARK)
            text = " ".join(part.get("text", image).strip() for turn in turns for part in turn["content"])
        return text, [_opened(image) for image in images]

    def _generated(self, prompts: Sequence[Prompt], settings: Mapping[str, Any]) -> list[str]:
        results = in_halves(partial(self._call, settings=settings), prompts)
        for result in results:
            if isinstance(result, TooLarge):
                # An empty answer would be scored as a wrong one.
                raise RuntimeError(f"skipit: a prompt does not fit into memory: {result.reason}")
        return [result for result in results if isinstance(result, str)]

    def _call(self, prompts: Sequence[Prompt], attempt: int, settings: Mapping[str, Any]) -> list[str]:
        images = [image for _, own in prompts for image in own]
        batch = inputs(self.model, self.processor, [text for text, _ in prompts], images)
        sampled = bool(settings.get("do_sample", (settings.get("temperature") or 0) > 0))
        decoding = Decoding(
            max_new_tokens=int(settings.get("max_new_tokens", 1024)),
            sampled=sampled,
            beams=int(settings.get("num_beams", 1)),
            temperature=settings.get("temperature"),
            top_p=settings.get("top_p"),
            top_k=settings.get("top_k"),
        )
        with torch.no_grad(), skipping(self.model, self.plan):
            new = generate(self.model, self.processor, batch, decoding)
        return [_until(text, settings.get("until")) for text in texts(self.processor, new)]

    def _loglikelihood(
        self, context: str, continuation: Any, to_images: Any, number: int, task: str, split: str
    ) -> tuple[float, bool]:
        document = self.task_dict[task][split][number]
        ending = continuation if isinstance(continuation, str) else continuation(document)
        visuals = list(to_images(document) or [])
        content = [*({"type": "image", "url": image} for image in visuals), {"type": "text", "text": context}]
        text, images = self._prompt([{"role": "user", "content": content}])
        before = inputs(self.model, self.processor, [text], images)["input_ids"][0]
        batch = inputs(self.model, self.processor, [text + ending], images)
        ids = batch["input_ids"][0]
        # Tokens may merge at the boundary of the two texts: the continuation starts where the ids first differ.
        shared = min(len(before), len(ids) - 1)
        start = int((before[:shared] == ids[:shared]).cumprod(0).sum())
        with torch.no_grad(), skipping(self.model, self.plan):
            logits = self.model(**batch, logits_to_keep=len(ids) - start + 1).logits[0, :-1]
        target = ids[start:]
        log_probability = logits.double().log_softmax(-1).gather(1, target[:, None]).sum()
        return float(log_probability), bool((logits.argmax(-1) == target).all())

    def _bar(self, total: int) -> Any:
        from tqdm import tqdm

        return tqdm(total=total, desc=f"skipit {self.plan}", disable=self.rank != 0)


def read_plan(text: str) -> SkipPlan | PlanFile:
    """A plan from its text form or from a plan file; a digest after ``@`` must match the plan."""
    if str(text).endswith(".json"):
        return PlanFile.load(text)
    written, at, digest = str(text).partition("@")
    plan = SkipPlan.parse(written)
    if at and digest.strip() != plan.digest:
        raise ValueError(f"plan: {written!r} has the digest {plan.digest}, got @{digest}; correct one of them")
    return plan


def _until(text: str, ends: str | Sequence[str] | None) -> str:
    """The text up to the first of the task's stop strings.

    A blank line is lmms-eval's default for tasks that state none. It would cut off reasoning, so lmms-eval's own models
    ignore it, and so does this one.
    """
    for end in [ends] if isinstance(ends, str) else ends or []:
        if end and end != "\n\n":
            text = text.split(end)[0]
    return text.strip()


def _opened(image: object) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    if isinstance(image, str) and "://" not in image:
        with Image.open(image) as file:
            return file.convert("RGB")
    raise ValueError(f"skipit: expected a PIL image or a local path, got {str(image)[:80]!r}")
