"""What a run on data sets records, checked before any work and without loading a model, and how large it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from vlm.engine.skipping import skipping
from vlm.evaluation.answering import PreparedQuestion, prompt_tokens
from vlm.experiments.measure_run import measured_spec
from vlm.experiments.run import Run
from vlm.experiments.shards import Shard
from vlm.experiments.spec import DataChoice, Spec
from vlm.experiments.worker import declared_size
from vlm.hidden_states.recording import StoreSink, check_dtype, record_states, states_content, states_layers
from vlm.hidden_states.state_record import StatesRecord
from vlm.hidden_states.state_rows import STATE_DTYPES, StateDType
from vlm.hidden_states.state_size import StatesSize, states_size
from vlm.hidden_states.state_store import StateStore
from vlm.hidden_states.views import View, Views, parse_views
from vlm.item import Item
from vlm.models.fingerprint import model_config
from vlm.models.loading import EMBEDDED
from vlm.plans.plan import SkipPlan
from vlm.plans.plan_file import Plan, PlanFile, readable

# Items whose prompts are counted to estimate the size of views of all tokens.
_COUNTED = 8
# Fields of a spec that states do not depend on.
_UNUSED = (
    "plans",
    "judge",
    "judge_parameters",
    "confidence",
    "thresholds",
    "least_label_mass",
    "max_new_tokens",
)


@dataclass(frozen=True, eq=False)
class Recording:
    """What a run records, checked before any work and without loading a model.

    Attributes
    ----------
    run : Run
        Model, data and worker.
    views, layers, dtype
        As for `vlm.states`.
    plan : SkipPlan
        With the model's depth written in.
    given : SkipPlan, str, Path or PlanFile
        The plan as it was given: a plan file is checked against the weights.
    """

    run: Run
    views: tuple[View, ...]
    layers: tuple[int, ...]
    dtype: StateDType | None
    plan: SkipPlan
    given: Plan

    @classmethod
    def open(
        cls,
        spec: Spec,
        out: str | Path,
        views: Views,
        layers: Sequence[int] | None,
        dtype: StateDType | None,
        plan: Plan,
        *,
        part: Shard | None = None,
        device: str | None = None,
        device_map: str | None = None,
    ) -> Recording:
        """Look up everything that is named; the folder is called by its content."""
        wanted = parse_views(views)
        check_dtype(dtype)
        run = Run.open(measured_spec(spec), out, purpose="measurement", part=part, device=device, device_map=device_map)
        given = readable(plan)
        parsed = given.plan if isinstance(given, PlanFile) else given
        resolved = (parsed if isinstance(parsed, SkipPlan) else SkipPlan.parse(str(parsed))).resolved(run.depth)
        recording = cls(run, wanted, states_layers(layers, run.depth), dtype, resolved, given)
        digest = hashlib.sha256(json.dumps(recording.content(), sort_keys=True).encode()).hexdigest()[:12]
        return replace(recording, run=replace(run, folder=Path(out) / f"states-{digest}"))

    def content(self) -> dict[str, Any]:
        """What the states depend on, as JSON values."""
        spec = {name: value for name, value in self.run.spec.content().items() if name not in _UNUSED}
        return spec | {"states": states_content(self.views, self.layers, self.run.depth, self.dtype, str(self.plan))}

    def size(self) -> StatesSize | None:
        """Size of the whole run, all workers together; None while the number of items is not known.

        Numbers of tokens are those of the first prompts of each data set; for them the model is loaded, which the run
        needs anyway.
        """
        width, own = _width_and_dtype(self.run.spec)
        everything = any(view.which == "all" for view in self.views)
        parts = []
        for choice in self.run.spec.data:
            prompts = _counted(self.run, choice)
            if prompts is None:
                return None
            vision, text = self._tokens(choice) if everything else (0.0, 0.0)
            parts.append(
                states_size(
                    self.views,
                    prompts=prompts,
                    width=width,
                    layers=len(self.layers),
                    vision_tokens=vision,
                    text_tokens=text,
                    dtype=self.dtype,
                    own=own,
                )
            )
        return StatesSize.joined(parts)

    @contextmanager
    def begun(self, store: StateStore) -> Iterator[StatesRecord]:
        """The context in which prompts are recorded, under the plan."""
        model, sink = self.run.answerer.model, StoreSink(store)
        with (
            skipping(model, self.given),
            record_states(model, views=self.views, layers=self.layers, dtype=self.dtype, sink=sink) as record,
        ):
            yield record

    def _tokens(self, choice: DataChoice) -> tuple[float, float]:
        """Mean numbers of image and text tokens of the first prompts of a data set."""
        first = islice(self.run.reader(choice, lambda place: place < _COUNTED), _COUNTED)
        items = [entry for entry in first if isinstance(entry, Item)]
        answerer = self.run.answerer
        prepared = [q for q in answerer.questions(items) if isinstance(q, PreparedQuestion)]
        counts = [prompt_tokens(answerer.model, answerer.inputs([q])) for q in prepared]
        if not counts:
            raise ValueError(
                f"data: expected a readable item among the first {_COUNTED} of {choice.label}, got none; check its "
                "source"
            )
        vision, text = (sum(numbers[0] for numbers in column) for column in zip(*counts, strict=True))
        return vision / len(counts), text / len(counts)


def _counted(run: Run, choice: DataChoice) -> int | None:
    """Declared number of items of a data set, else counted without reading images, unless it is a stream."""
    declared = declared_size(choice)
    if declared is None and not choice.streaming:
        return sum(1 for _ in run.reader(choice, lambda place: False))
    return declared


def _width_and_dtype(spec: Spec) -> tuple[int, StateDType]:
    """Width of the states and type of the weights, from the configuration alone."""
    config = model_config(spec.model, spec.revision)
    # The embedded models are stored in float16 and loaded in float32; so is a checkpoint that names no type.
    named = spec.dtype or str(None if spec.model in EMBEDDED else getattr(config, "dtype", None))
    own: list[StateDType] = [name for name in STATE_DTYPES if name == named.removeprefix("torch.")]
    return int(config.get_text_config().hidden_size), own[0] if own else "float32"
