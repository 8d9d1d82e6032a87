"""All hooks on a model are installed and removed here; no other module registers one."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any, NoReturn, cast
from weakref import WeakKeyDictionary, finalize, ref

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vlm.engine.attention_event import AttentionEvent, AttentionObserver, Peeked, measurable
from vlm.engine.attention_rows import attention_rows, row_of
from vlm.engine.flash_attention import attend as flash_attend
from vlm.engine.flash_attention import check_causal, check_window, whole_layout
from vlm.engine.flash_layout import Layout, Mask
from vlm.engine.forward_call import Call, read_call, steps_in_a_graph, traced_step
from vlm.engine.frozen_attention import FrozenLayout
from vlm.engine.frozen_attention import attend as frozen_attend
from vlm.engine.kv_cache import cache_in
from vlm.engine.last_token import last_tokens
from vlm.engine.row_plans import RowPlans
from vlm.engine.tensor_parallel import all_heads
from vlm.models.attention_kinds import attention_function, check_implementation, is_flash
from vlm.models.families import Anatomy, Family, anatomy, generates_inside
from vlm.models.layer_parts import find_attention
from vlm.models.transformers_internals import (
    attend_as_before,
    attend_by_name,
    attention_implementation,
    batches_continuously,
    candidates_behind,
    recomputing,
    register_attention,
    unregister_attention,
)
from vlm.models.types import Arguments, Forward, Model
from vlm.models.wrappers import unwrapped
from vlm.plans.plan import SkipPlan

# Serialises opening and closing of contexts across threads.
_OPENING = threading.RLock()
# Outside the models: what is in a module's dictionary is copied with the module. The open contexts hold the engine, and
# nothing here does, so that a model under a plan that stays can be freed.
_ENGINES: WeakKeyDictionary[nn.Module, ref[Engine]] = WeakKeyDictionary()
# What copies and pickles of a module ask for first, on the instance.
_COPYING = ("__deepcopy__", "__reduce_ex__")
# Relative difference of a layer's heads from what observers make of its queries, keys and values that 16 bits leave.
_ROUNDING = 0.1

# How many parts of contexts refuse copies of a module.
_SEALED: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()

LayerObserver = Callable[[Call, int, Tensor, Tensor], None]
StateRewriter = Callable[[Call, int, Tensor], Tensor]


class Engine:
    """Hooks of one model, shared by all open contexts on it. Obtained from :func:`attached`.

    Contexts may close in any order. Calls from different threads are kept apart; a plan applies to all of them, and
    measuring allows one call at a time. A call that is under way when a context opens runs on without it.

    Attributes
    ----------
    parts : Anatomy
        The parts of the model.
    plan : SkipPlan, RowPlans or None
        The active plan, with the model's depth written in.
    users : int
        Number of open contexts.
    """

    def __init__(self, parts: Anatomy) -> None:
        self.parts = parts
        self.plan: SkipPlan | RowPlans | None = None
        self.users = 0
        # By thread, the calls under way there, innermost last; None for one whose arguments are not read yet.
        self._calls: dict[int, list[Call | None]] = {}
        self._traced: Call | None = None
        self._signature = inspect.signature(parts.inner.forward)
        self._openings: list[Callable[[Arguments], None]] = []
        self._endings: list[tuple[Callable[[Call], None], int]] = []
        self._observers: list[tuple[AttentionObserver, bool, int]] = []
        self._opened = 0
        self._routes = 0
        self._loaded_attention = self._own_attention = ""
        self._named: list[tuple[nn.Module, str, Any]] = []
        self._handles: list[RemovableHandle] = []
        self._prompts: dict[int, Tensor | None] = {}
        self._inside: set[int] = set()
        # Classes of layers whose attention needs the queries of all heads.
        self.whole_queries: set[type[nn.Module]] = set()
        # Classes of layers whose keys depend on what is named as a map of queries.
        self.keys_need_queries: set[type[nn.Module]] = set()
        # Classes of attentions that observers were seen to reproduce.
        self._reproduced: set[type[nn.Module]] = set()
        # A module around a layer's attention passes the one inside on to transformers' attention function.
        attending = [(i, found) for i, layer in enumerate(parts.layers) if (found := find_attention(layer)) is not None]
        self._attentions = [found for _, found in attending]
        self._slots = {id(module): i for i, found in attending for module in found.modules()}

    def __repr__(self) -> str:
        plan = "no plan" if self.plan is None else f"plan={str(self.plan)!r}"
        return f"Engine({self.parts.family.name}, {self.parts.depth} layers, {plan})"

    @property
    def _model(self) -> nn.Module:
        return cast(nn.Module, self.parts.model)

    @property
    def call(self) -> Call | None:
        """The forward call under way in this thread."""
        if torch.compiler.is_compiling() and self._traced is not None:
            return self._traced
        calls = self._calls.get(threading.get_ident())
        return calls[-1] if calls else self._traced

    def install(self) -> None:
        """Register the hooks that read each call's arguments."""
        check_implementation(self.attention_name)
        if batches_continuously(self._model):
            _refuse_continuous_batching()
        self._loaded_attention = self.attention_name
        inner = self.parts.inner
        seal([self._model, inner, self.parts.decoder])
        # Continuous batching runs in a thread of its own, where an error would only give empty answers.
        self._model.__dict__["init_continuous_batching"] = _refuse_continuous_batching
        if generates_inside(self.parts):
            # BLIP-2's generate calls that of its language model, past the module that takes images.
            decoder = self.parts.decoder
            self._model.__dict__["generate"] = self._remember_prompt(cast(Forward, self._model.generate))
            self._handles += [
                decoder.register_forward_pre_hook(self._begin_inside, with_kwargs=True),
                decoder.register_forward_hook(self._finish_inside, with_kwargs=True, always_call=True),
            ]
        self._handles += [
            inner.register_forward_pre_hook(self._begin, with_kwargs=True),
            inner.register_forward_hook(self._finish, with_kwargs=True, always_call=True),
        ]

    def remove(self) -> None:
        """Remove them."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for name in ("init_continuous_batching", "generate"):
            self._model.__dict__.pop(name, None)
        unseal([self._model, self.parts.inner, self.parts.decoder])

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: Arguments) -> None:
        given = kwargs
        if args:
            bound = self._signature.bind_partial(*args, **kwargs).arguments
            given = {**bound, **bound.get("kwargs", {})}
        if self._routes and (attention_implementation(self.parts.text_config) or "eager") != self._own_attention:
            raise RuntimeError(
                "the model's attention implementation was changed inside a context that goes through it; set it before "
                "vlm.skipping or vlm.attention begin"
            )
        self._start(given)

    def _start(self, given: Arguments) -> None:
        """Check a call and read its tokens."""
        # Without what would break the graph: the number of this thread.
        traced = self._traceable and steps_in_a_graph(given)
        calls: list[Call | None] = [] if traced else self._calls.setdefault(threading.get_ident(), [])
        calls.append(None)
        if not hasattr(cache_in(given), "get_seq_length") and cache_in(given) is not None:
            _refuse_continuous_batching()  # by a manager that was made before the context
        for opening in self._openings:
            opening(given)
        if traced:
            self._traced = traced_step(given)
            return
        if self._endings and not recomputing() and self._calls.keys() - {threading.get_ident()}:
            raise RuntimeError(
                "probe, attention: another thread's call of this model is being measured; measure one call at a time"
            )
        calls[-1] = call = read_call(given, self.parts.placeholders)
        call.begun = self._opened
        if call.images and not call.past and self.plan is not None and getattr(self.plan, "chooses", True):
            call.candidates = candidates_behind(self._model)

    def _next(self) -> int:
        """Number of a part of a context that opens now."""
        self._opened += 1
        return self._opened

    def _before(self, number: int) -> bool:
        """Whether the call under way in this thread began before the part of a context with this number opened."""
        call = self.call
        if call is None:
            # What backward repeats of a call under a plan has its call in force again.
            return recomputing() or self._unread()
        return call.begun < number

    def _unread(self) -> bool:
        """Whether this thread is inside a call of the model that began before there were any contexts."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_name == "forward" and frame.f_locals.get("self") is self.parts.inner:
                return True
            frame = frame.f_back
        return False

    @property
    def _traceable(self) -> bool:
        """Whether decoding steps go the same way in every call: nothing is measured, and all text runs everywhere."""
        plan = self.plan
        if plan is not None and not isinstance(plan, SkipPlan):
            return False
        steps = () if plan is None else plan.steps(self.parts.depth)
        return all(step.text and not step.renumbered for step in steps) and not self._endings and not self.flash

    def _finish(self, module: nn.Module, args: object, kwargs: object, output: object) -> None:
        if self._traced is not None:
            self._traced = None
            return
        calls = self._calls.get(threading.get_ident(), [])
        call = calls.pop() if calls else None
        if not calls:
            self._calls.pop(threading.get_ident(), None)
        if call is not None and output is not None and not recomputing():
            for ending, number in self._endings:
                if call.begun >= number:
                    ending(call.measurable())

    def _remember_prompt(self, generate: Forward) -> Forward:
        """The model's generate, which keeps the token ids of its prompt for calls of the decoder that lack them."""

        def remembering(*args: Any, **kwargs: Any) -> Any:
            bound = inspect.signature(generate).bind_partial(*args, **kwargs).arguments
            self._prompts[threading.get_ident()] = {**bound, **bound.get("generate_kwargs", {})}.get("input_ids")
            try:
                return generate(*args, **kwargs)
            finally:
                self._prompts.pop(threading.get_ident(), None)

        return remembering

    def _begin_inside(self, module: nn.Module, args: tuple[Any, ...], kwargs: Arguments) -> None:
        prompt = self._prompts.get(threading.get_ident())
        if self.call is not None or prompt is None:
            return
        cache, embedded = cache_in(kwargs), kwargs.get("inputs_embeds")
        self._inside.add(threading.get_ident())
        if embedded is None or (cache is not None and cache.get_seq_length()):
            self._start(kwargs)
        elif embedded.shape[1] != prompt.shape[1] or len(embedded) % len(prompt):
            self._inside.discard(threading.get_ident())
            raise NotImplementedError(
                f"the prompt has {prompt.shape[1]} tokens, but the decoder is given {embedded.shape[1]} states, so "
                "that image tokens cannot be told from text"
            )
        else:
            ids = prompt.repeat_interleave(len(embedded) // len(prompt), dim=0)
            self._start({**kwargs, "input_ids": ids, "pixel_values": embedded})

    def _finish_inside(self, module: nn.Module, args: object, kwargs: object, output: object) -> None:
        if threading.get_ident() in self._inside:
            self._inside.discard(threading.get_ident())
            self._finish(module, args, kwargs, output)

    def current(self) -> Call:
        """The forward call under way.

        Raises
        ------
        RuntimeError
            The decoder runs without the vision-language model around it.
        """
        call = self.call
        if call is None:
            raise RuntimeError(
                f"the decoder was called directly; call the whole {type(self.parts.model).__name__} so that image "
                "tokens can be told from text"
            )
        return call

    @contextmanager
    def repeating(self, call: Call) -> Iterator[None]:
        """Put a call in force again where backward repeats a part of it, perhaps after the contexts have closed."""
        if not recomputing():
            yield
            return
        calls = self._calls.setdefault(threading.get_ident(), [])
        calls.append(call)
        try:
            with self._attention_again() if call.layouts and not self._routes else nullcontext():
                yield
        finally:
            calls.pop()
            if not calls:
                self._calls.pop(threading.get_ident(), None)

    @contextmanager
    def _attention_again(self) -> Iterator[None]:
        """Route attention after the contexts have closed, whatever the model has been set to since."""
        self._own_attention = self._loaded_attention
        with self.route_attention():
            yield

    @contextmanager
    def hold_plan(self, plan: SkipPlan | RowPlans) -> Iterator[SkipPlan | RowPlans]:
        """Set the active plan and yield it with the model's depth written in.

        Raises
        ------
        ValueError
            A plan is already active, or the plan names layers that the model does not have.
        """
        with _OPENING:
            if self.plan is not None:
                raise ValueError(
                    f"skipping: the plan {self.plan} is already active; join plans with | instead of nesting"
                )
            self.plan = resolved = plan.resolved(self.parts.depth)
        try:
            yield resolved
        finally:
            self.plan = None

    @contextmanager
    def check_calls(self, check: Callable[[Arguments], None]) -> Iterator[None]:
        """Call `check(arguments)` before each forward of the model; if it raises, nothing has run yet."""
        self._openings.append(check)
        try:
            yield
        finally:
            self._openings.remove(check)

    @contextmanager
    def watch_layers(
        self, observe: LayerObserver, finish: Callable[[Call], None], *, anywhere: bool = False
    ) -> Iterator[None]:
        """Call `observe(call, layer, state in, state out)` after each decoder layer, `finish(call)` after the model.

        The states are given where there is float64, or with `anywhere` as they are, part of their graph.
        """

        number = self._next()

        def hook(index: int) -> Callable[..., None]:
            def watch(module: nn.Module, args: tuple[Any, ...], kwargs: Arguments, out: Any) -> None:
                if recomputing() or self._before(number):
                    return
                before = args[0] if args else kwargs["hidden_states"]
                with torch.no_grad():
                    call, after = self.current(), out[0] if isinstance(out, tuple) else out
                    if not anywhere:
                        call, before, after = call.measurable(), measurable(before), measurable(after)
                    observe(call, index, before, after)

            return watch

        handles = [layer.register_forward_hook(hook(i), with_kwargs=True) for i, layer in enumerate(self.parts.layers)]
        seal(self.parts.layers)
        ending = (finish, number)
        self._endings.append(ending)
        try:
            yield
        finally:
            self._endings.remove(ending)
            unseal(self.parts.layers)
            for handle in handles:
                handle.remove()

    @contextmanager
    def rewrite_states(self, rewrite: StateRewriter) -> Iterator[None]:
        """Replace state l by `rewrite(call, l, state)`: the input of layer l, and for l = L the last layer's output.

        Layer observers opened before this context see the rewritten input of each layer but the original output of
        the last layer; those opened inside it see the rewritten output.
        """
        layers, number = self.parts.layers, self._next()

        def entering(index: int) -> Forward:
            def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                if self._before(number):
                    return None
                if args:
                    return (rewrite(self.current(), index, args[0]), *args[1:]), kwargs
                return args, {**kwargs, "hidden_states": rewrite(self.current(), index, kwargs["hidden_states"])}

            return before

        def leaving(module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
            if self._before(number):
                return None
            state = rewrite(self.current(), len(layers), out[0] if isinstance(out, tuple) else out)
            return (state, *out[1:]) if isinstance(out, tuple) else state

        handles = [layer.register_forward_pre_hook(entering(i), with_kwargs=True) for i, layer in enumerate(layers)]
        handles.append(layers[-1].register_forward_hook(leaving))
        seal(layers)
        try:
            yield
        finally:
            unseal(layers)
            for handle in handles:
                handle.remove()

    @contextmanager
    def watch_modules(
        self, modules: Mapping[Any, nn.Module], observe: Callable[[Call | None, Any, Any, Any], None]
    ) -> Iterator[None]:
        """Call `observe(call, key, first argument, output)` after each of these modules has run.

        The call is None outside a forward of the model: `generate` encodes images before it.
        """

        def hook(key: Any) -> Callable[..., None]:
            def after(module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
                if not recomputing():
                    call = self.call
                    observe(None if call is None else call.measurable(), key, args[0], out)

            return after

        handles = [module.register_forward_hook(hook(key)) for key, module in modules.items()]
        seal(modules.values())
        try:
            yield
        finally:
            unseal(modules.values())
            for handle in handles:
                handle.remove()

    @contextmanager
    def watch_attention(
        self, observe: AttentionObserver, finish: Callable[[Call], None] | None = None, *, anywhere: bool = False
    ) -> Iterator[None]:
        """Call `observe(event)` whenever a decoder layer has attended to a prompt.

        Calls that continue a cache with text alone, such as decoding steps, are left out.

        Goes through transformers' attention interface: a function registered under its own name runs the model's
        attention and then the observers, which get their tensors where there is float64, or with `anywhere` where they
        are. An observer without `finish` keeps nothing beyond the call, so that several
        threads may call the model at once.
        """
        with self.route_attention():
            with _OPENING:
                number = self._next()
                observer, ending = (observe, anywhere, number), None if finish is None else (finish, number)
                self._observers.append(observer)
                if ending is not None:
                    self._endings.append(ending)
            try:
                yield
            finally:
                with _OPENING:
                    if ending is not None:
                        self._endings.remove(ending)
                    self._observers.remove(observer)

    @contextmanager
    def route_attention(self) -> Iterator[None]:
        """Route the decoder layers' attention through this engine; undone when the last such context closes."""
        with _OPENING:
            if not self._routes:
                self._install_attention()
            self._routes += 1
        try:
            yield
        finally:
            with _OPENING:
                self._routes -= 1
                if not self._routes:
                    self._remove_attention()

    @property
    def attention_name(self) -> str:
        """The attention implementation that the model was loaded with."""
        return self._own_attention or attention_implementation(self.parts.text_config) or "eager"

    @property
    def flash(self) -> bool:
        """Whether the model was loaded with a flash attention."""
        return is_flash(self.attention_name)

    def _install_attention(self) -> None:
        own = self.attention_name
        name = f"skipit_{own}_{id(self):x}"
        register_attention(name, _routed(ref(self), attention_function(self.parts, own)))
        self._unregister = finalize(self, unregister_attention, name)
        self._own_attention = own
        # The configuration itself keeps its name: what is copied or saved of it knows nothing of this.
        self._named = list(attend_by_name(self._attentions, name))
        seal(module for module, _, _ in self._named)

    def _remove_attention(self) -> None:
        unseal(module for module, _, _ in self._named)
        attend_as_before(self._named)
        self._named = []
        self._own_attention = ""
        self._unregister()

    def attend(
        self,
        own_function: Forward,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **kwargs: Any,
    ) -> Any:
        """What transformers calls to attend: the model's own function, then the observers."""
        call, index = self.call, self._slots.get(id(module))
        layout = None if call is None or index is None else call.layouts.get(index)
        if call is not None and self.flash and index in call.planned:
            check_window(call, kwargs.get("sliding_window"))
        if call is not None and call.peeking and index is not None:
            raise Peeked(self._event(call, index, module, layout, attention_mask, query, key, value, kwargs))
        if call is not None and layout is not None and index is not None:
            call.followed.add(index)
        if layout is None:
            out = own_function(module, query, key, value, attention_mask, **kwargs)
        elif isinstance(layout, FrozenLayout):
            out = frozen_attend(own_function, layout, module, query, key, value, **kwargs)
        else:
            out = flash_attend(own_function, layout, module, query, key, value, **kwargs)
        decoding = call is not None and call.decoding
        if index is None or call is None or decoding or recomputing():
            return out
        observers = [one for one in self._observers if not self._before(one[2])]
        if observers or index in call.plan_state.ranked:
            event = self._event(call, index, module, layout, attention_mask, query, key, value, kwargs)
            with torch.no_grad():
                self._verify(event, module, out[0], kwargs.get("dropout"))
                for observe, anywhere, _ in observers:
                    observe(event if anywhere else event.measurable())
        return out

    def _verify(self, event: AttentionEvent, module: nn.Module, out: Tensor, dropout: float | None) -> None:
        """Refuse attention other than a softmax of scaled products, by the heads of a prompt's last token."""
        call, known, here = event.call, type(module) in self._reproduced, out.device
        # A tensor-parallel process has some of the heads only.
        if known or (dropout and module.training) or out.shape[2] != event.query.shape[1]:
            return
        row, runs = row_of(call, event.layer, last_tokens(call.real).to(here))
        weights = attention_rows(event, row.unsqueeze(1))
        batch, _, _, keys = weights.shape
        expected = weights.view(batch, event.key.shape[1], -1, keys) @ event.value.to(weights)
        found = out[torch.arange(batch, device=here), row].to(weights)
        expected, found = expected.view(found.shape)[runs], found[runs]
        if float((found - expected).norm()) > _ROUNDING * float(expected.norm()):
            raise NotImplementedError(
                f"layer {event.layer}: a {type(module).__name__} weighs its keys otherwise than by a softmax of scaled "
                "products of queries and keys, so that attention can be neither measured nor ranked by; use plans "
                "without prune:, rank: and leave: (vision:, freeze:, keep:, merge:)"
            )
        if len(found):
            self._reproduced.add(type(module))

    def _event(
        self,
        call: Call,
        index: int,
        module: nn.Module,
        layout: Layout | None,
        attention_mask: Tensor | None,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        options: Arguments,
    ) -> AttentionEvent:
        """What observers are told of a layer that attends, with the heads of all processes."""
        if call.static and layout is None and index not in call.key_positions:
            # The places of a static cache that are not filled yet.
            filled = call.past + call.real.shape[1]
            key, value = key[:, :, :filled], value[:, :, :filled]
            attention_mask = None if attention_mask is None else attention_mask[..., :filled]
        mask = self._observed_mask(call, module, layout, attention_mask, query, key, options)
        scaling = options.get("scaling")
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        query, key, value, sinks = all_heads(self.parts, query, key, value, options.get("s_aux"))
        return AttentionEvent(call, index, query, key, value, mask, scaling, options.get("softcap"), sinks)

    def _observed_mask(
        self,
        call: Call,
        module: nn.Module,
        layout: Layout | None,
        mask: Tensor | None,
        query: Tensor,
        key: Tensor,
        options: Arguments,
    ) -> Mask:
        """Who attended to whom, for observers."""
        if not self.flash:
            return mask if layout is None else layout
        check_window(call, options.get("sliding_window"))
        check_causal(module, options.get("is_causal"))
        return layout or whole_layout(call, mask, query.shape[2], key.shape[2])

    def _from_the_next_call(self, original: Forward, function: Forward, number: int) -> Forward:
        """A forward that calls which are under way do not run."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            return original(*args, **kwargs) if self._before(number) else function(*args, **kwargs)

        return forward

    @contextmanager
    def replace_forwards(self, forwards: Mapping[nn.Module, Forward], *, again: bool = False) -> Iterator[None]:
        """Replace the `forward` of these modules, on the instances only; with `again`, for the call under way too."""
        saved: list[tuple[nn.Module, Any]] = []
        number = 0 if again else self._next()
        try:
            for module, function in forwards.items():
                saved.append((module, module.__dict__.get("forward")))
                module.__dict__["forward"] = self._from_the_next_call(module.forward, function, number)
                seal([module])
            yield
        finally:
            unseal(module for module, _ in saved)
            for module, original in reversed(saved):
                if original is None:
                    module.__dict__.pop("forward", None)
                else:
                    module.__dict__["forward"] = original


def _routed(engine: ref[Engine], own_function: Forward) -> Forward:
    """The attention function to register, which does not keep the engine alive."""

    def attend(*args: Any, **kwargs: Any) -> Any:
        found = engine()
        assert found is not None  # its model calls this function
        return found.attend(own_function, *args, **kwargs)

    return attend


def seal(modules: Iterable[Any]) -> None:
    """Refuse copies of these modules: a copy would run the forwards and hooks of the original for ever."""
    with _OPENING:
        for module in modules:
            _SEALED[module] = _SEALED.get(module, 0) + 1
            module.__dict__.update(dict.fromkeys(_COPYING, _refuse_copies))


def unseal(modules: Iterable[Any]) -> None:
    """Allow them again, once for each :func:`seal`."""
    with _OPENING:
        for module in modules:
            left = _SEALED.get(module, 0) - 1
            if left > 0:
                _SEALED[module] = left
                continue
            _SEALED.pop(module, None)  # gone already where the model itself goes
            for name in _COPYING:
                module.__dict__.pop(name, None)


def _refuse_copies(*_: object) -> NoReturn:
    raise RuntimeError(
        "model: a context (vlm.skipping, vlm.probe, ...) is open on it, and a copy would keep what belongs to the "
        "context; copy or save the model before the context or after it"
    )


def _refuse_continuous_batching(*_: object, **__: object) -> NoReturn:
    raise NotImplementedError(
        "generate_batch: continuous batching packs prompts into one row, which plans and measurements cannot tell "
        "apart; use generate on padded batches, or leave the context first (a manager that runs: stop it before)"
    )


@contextmanager
def attached(model: Model, family: Family | None = None) -> Iterator[Engine]:
    """The model's engine, created by the first open context and removed with the last."""
    model = unwrapped(model)
    with _OPENING:
        held = _ENGINES.get(model) if isinstance(model, nn.Module) else None
        engine = None if held is None else held()
        if engine is None:
            engine = Engine(anatomy(model, family))
            engine.install()
            _ENGINES[engine._model] = ref(engine)
        engine.users += 1
    try:
        yield engine
    finally:
        with _OPENING:
            engine.users -= 1
            if engine.users == 0:
                engine.remove()
                _ENGINES.pop(engine._model, None)
