"""The one owner of hooks: every touch on a model is installed here and undone here."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vlm.engine.flash_attention import Mask, check_causal, check_window, whole
from vlm.engine.flash_attention import attend as flash_attend
from vlm.engine.forward_call import Call, read_call
from vlm.models.attention_kinds import attention_function, attention_module, is_flash
from vlm.models.families import Anatomy, Family, anatomy

# Contexts of several threads open and close one after the other.
_OPENING = threading.RLock()


AttentionObserver = Callable[[Call, int, Tensor, Tensor, Mask, float], None]
LayerObserver = Callable[[Call, int, Tensor, Tensor], None]
StateRewriter = Callable[[Call, int, Tensor], Tensor]


class Engine:
    """Hooks of one model, shared by every open context on it. Get one from :func:`attached`.

    Contexts may close in any order. Calls of different threads are kept apart; a plan holds for all of them, and
    measuring takes one call at a time.
    """

    def __init__(self, parts: Anatomy) -> None:
        self.parts = parts
        self.plan: Any = None
        self.users = 0
        self._calls: dict[int, Call] = {}
        self._signature = inspect.signature(parts.inner.forward)
        self._openings: list[Callable[[Mapping[str, Any]], None]] = []
        self._endings: list[Callable[[Call], None]] = []
        self._observers: list[AttentionObserver] = []
        self._routes = 0
        self._own_attention = ""
        self._routed_name = ""
        self._handles: list[Any] = []

    @property
    def call(self) -> Call | None:
        """The call under way in this thread."""
        return self._calls.get(threading.get_ident())

    def install(self) -> None:
        inner = self.parts.inner
        self._handles = [
            inner.register_forward_pre_hook(self._begin, with_kwargs=True),
            inner.register_forward_hook(self._finish, with_kwargs=True, always_call=True),
        ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        given = kwargs
        if args:
            bound = self._signature.bind_partial(*args, **kwargs).arguments
            given = {**bound, **bound.get("kwargs", {})}
        if self._routes and self.parts.text_config._attn_implementation != self._routed_name:
            raise RuntimeError(
                "the model's attention implementation was changed inside a context that goes through it; set it before "
                "vlm.skipping or vlm.attention begin"
            )
        for opening in self._openings:
            opening(given)
        if self._endings and self._calls.keys() - {threading.get_ident()}:
            raise RuntimeError(
                "probe, attention: another thread's call of this model is being measured; measure one call at a time"
            )
        self._calls[threading.get_ident()] = read_call(given, self.parts.placeholders)

    def _finish(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        call = self._calls.pop(threading.get_ident(), None)
        if call is not None and output is not None:
            for ending in self._endings:
                ending(call)

    def current(self) -> Call:
        """The call under way; an error when the decoder runs without the vision-language model around it."""
        call = self.call
        if call is None:
            raise RuntimeError(
                f"the decoder was called directly; call the whole {type(self.parts.model).__name__} so that image "
                "tokens can be told from text"
            )
        return call

    @contextmanager
    def hold_plan(self, plan: Any) -> Iterator[None]:
        """Make this the model's one plan; an error when it has one."""
        with _OPENING:
            if self.plan is not None:
                raise ValueError(
                    f"skipping: the plan {self.plan} is already active; join plans with | instead of nesting"
                )
            self.plan = plan
        try:
            yield
        finally:
            self.plan = None

    @contextmanager
    def check_calls(self, check: Callable[[Mapping[str, Any]], None]) -> Iterator[None]:
        """Call `check(arguments)` before each forward of the model; it may raise, and then nothing has run."""
        self._openings.append(check)
        try:
            yield
        finally:
            self._openings.remove(check)

    @contextmanager
    def watch_layers(self, observe: LayerObserver, finish: Callable[[Call], None]) -> Iterator[None]:
        """Call `observe(call, layer, state in, state out)` after each decoder layer, `finish` after the model."""

        def hook(index: int) -> Callable[..., None]:
            def after(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
                before = args[0] if args else kwargs["hidden_states"]
                observe(self.current(), index, before, out[0] if isinstance(out, tuple) else out)

            return after

        handles = [layer.register_forward_hook(hook(i), with_kwargs=True) for i, layer in enumerate(self.parts.layers)]
        self._endings.append(finish)
        try:
            yield
        finally:
            self._endings.remove(finish)
            for handle in handles:
                handle.remove()

    @contextmanager
    def rewrite_states(self, rewrite: StateRewriter) -> Iterator[None]:
        """Put `rewrite(call, l, state)` in place of state l: what enters layer l, and what leaves the last (l = L).

        Observers of layers that were opened before see layer l's input as rewritten; of the last layer's output they
        see the original, those opened inside see the rewritten one.
        """
        layers = self.parts.layers

        def entering(index: int) -> Callable[..., Any]:
            def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                if args:
                    return (rewrite(self.current(), index, args[0]), *args[1:]), kwargs
                return args, {**kwargs, "hidden_states": rewrite(self.current(), index, kwargs["hidden_states"])}

            return before

        def leaving(module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
            state = rewrite(self.current(), len(layers), out[0] if isinstance(out, tuple) else out)
            return (state, *out[1:]) if isinstance(out, tuple) else state

        handles = [layer.register_forward_pre_hook(entering(i), with_kwargs=True) for i, layer in enumerate(layers)]
        handles.append(layers[-1].register_forward_hook(leaving))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def watch_modules(
        self, modules: Mapping[Any, nn.Module], observe: Callable[[Call | None, Any, Any, Any], None]
    ) -> Iterator[None]:
        """Call `observe(call, key, first argument, output)` after each of these modules ran.

        The call is None outside a forward of the model: `generate` encodes pictures before it.
        """

        def hook(key: Any) -> Callable[..., None]:
            def after(module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
                observe(self.call, key, args[0], out)

            return after

        handles = [module.register_forward_hook(hook(key)) for key, module in modules.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def watch_attention(
        self, observe: AttentionObserver, finish: Callable[[Call], None] | None = None
    ) -> Iterator[None]:
        """Call `observe(call, layer, query, key, mask, scaling)` wherever a decoder layer attends to a prompt.

        Calls that continue a cache without a picture, as decoding does, are passed over.

        Goes through transformers' attention interface: a function under a name of its own runs the model's own
        attention and then the observers. What has no `finish` keeps nothing beyond the call, so that several threads
        may call at once.
        """
        with self.route_attention():
            with _OPENING:
                self._observers.append(observe)
                if finish is not None:
                    self._endings.append(finish)
            try:
                yield
            finally:
                with _OPENING:
                    if finish is not None:
                        self._endings.remove(finish)
                    self._observers.remove(observe)

    @contextmanager
    def route_attention(self) -> Iterator[None]:
        """Let the decoder layers' attention pass through this engine; the last to leave undoes it."""
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
        """The attention implementation the model was loaded with."""
        return self._own_attention or self.parts.text_config._attn_implementation or "eager"

    @property
    def flash(self) -> bool:
        """Whether that is some flash attention."""
        return is_flash(self.attention_name)

    def _install_attention(self) -> None:
        from transformers import AttentionInterface, AttentionMaskInterface

        own = self.attention_name
        name = self._routed_name = f"skipit_{own}_{id(self):x}"
        AttentionInterface.register(name, self._observed(attention_function(self.parts, own)))
        AttentionMaskInterface.register(name, AttentionMaskInterface()[own])
        self._own_attention = own
        self.parts.text_config._attn_implementation = name

    def _remove_attention(self) -> None:
        from transformers import AttentionInterface, AttentionMaskInterface

        name = self._routed_name
        if self.parts.text_config._attn_implementation == name:
            self.parts.text_config._attn_implementation = self._own_attention
        self._own_attention = self._routed_name = ""
        AttentionInterface._global_mapping.pop(name, None)
        AttentionMaskInterface._global_mapping.pop(name, None)

    def _observed(self, own_function: Callable[..., Any]) -> Callable[..., Any]:
        """The model's own attention function, and then the observers."""
        index_of = {id(attention_module(layer)): i for i, layer in enumerate(self.parts.layers)}

        def attend(
            module: nn.Module,
            query: Tensor,
            key: Tensor,
            value: Tensor,
            attention_mask: Tensor | None,
            **kwargs: Any,
        ) -> Any:
            call, index = self.call, index_of.get(id(module))
            layout = None if call is None or index is None else call.layouts.get(index)
            if call is not None and self.flash and index in call.planned:
                check_window(call, kwargs.get("sliding_window"))
            if call is None or layout is None:
                out = own_function(module, query, key, value, attention_mask, **kwargs)
            else:
                out = flash_attend(own_function, layout, module, query, key, value, **kwargs)
            if index is None or not self._observers or (call is not None and call.decoding):
                return out
            for unusual in ("position_bias", "s_aux", "softcap"):
                if kwargs.get(unusual) is not None:
                    raise NotImplementedError(f"visual attention: layers with {unusual!r} are not supported")
            scaling = kwargs.get("scaling")
            scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
            call = self.current()
            mask: Mask = attention_mask
            if self.flash:
                check_window(call, kwargs.get("sliding_window"))
                check_causal(module, kwargs.get("is_causal"))
                mask = layout or whole(call, attention_mask, query.shape[2], key.shape[2])
            call.value = value
            with torch.no_grad():
                for observe in self._observers:
                    observe(call, index, query, key, mask, scaling)
            call.value = None
            return out

        return attend

    @contextmanager
    def replace_forwards(self, forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
        """Put these functions in place of the modules' own `forward`, on the instances only."""
        saved: list[tuple[nn.Module, Any]] = []
        try:
            for module, function in forwards.items():
                saved.append((module, module.__dict__.get("forward")))
                module.__dict__["forward"] = function
            yield
        finally:
            for module, original in reversed(saved):
                if original is None:
                    module.__dict__.pop("forward", None)
                else:
                    module.__dict__["forward"] = original


@contextmanager
def attached(model: Any, family: Family | None = None) -> Iterator[Engine]:
    """The model's engine, created by the first open context and removed with the last."""
    with _OPENING:
        engine: Engine | None = getattr(model, "__dict__", {}).get("_skipit_engine")
        if engine is None:
            engine = Engine(anatomy(model, family))
            model.__dict__["_skipit_engine"] = engine
            engine.install()
        engine.users += 1
    try:
        yield engine
    finally:
        with _OPENING:
            engine.users -= 1
            if engine.users == 0:
                engine.remove()
                del model.__dict__["_skipit_engine"]
