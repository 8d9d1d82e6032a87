"""What every record of measurements has in common, and the parts of it that decisions and selectors use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from redundancy.array_types import FloatArray
from redundancy.display import Displayed, plain
from vlm.measure.attention_reading import Heads, TextTokens
from vlm.table import Table

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class DistanceMeasurement(Protocol):
    """Distances between layers, as :func:`vlm.decide` and :func:`vlm.selectors.redundancy` read them.

    :class:`vlm.ProbeRecord` is one; so is a measurement that was read back from disk.
    """

    @property
    def samples(self) -> int:
        """Number of prompts."""

    @property
    def depth(self) -> int:
        """Number of decoder layers."""

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Distances t at which the fraction of close tokens was counted."""

    def table(self) -> Table:
        """One row per (sample, layer, modality), as `ProbeRecord.table` describes them."""


@runtime_checkable
class AttentionMeasurement(Protocol):
    """Visual attention ratios, as :func:`vlm.decide` and :func:`vlm.selectors.small_attention` read them.

    :class:`vlm.AttentionRecord` is one; so is a measurement that was read back from disk.
    """

    def ratios(self) -> FloatArray:
        """Visual attention ratio of the answer token, shape (samples, layers, heads), in [0, 1]."""

    def reading(self, *, tokens: TextTokens, heads: Heads) -> FloatArray:
        """The ratio that is judged, shape (samples, layers); a ValueError if those tokens were not measured."""


@runtime_checkable
class EffectMeasurement(Protocol):
    """Relative effects of removing the image, as :func:`vlm.decide` reads them; :class:`vlm.RemovalRecord` is one."""

    def effects(self, *, tokens: TextTokens) -> FloatArray:
        """Change of attention output over the norm of the state, shape (samples, layers), at least 0."""


def check_distances(record: object, name: str = "record") -> None:
    """Raise a TypeError that names the argument unless `record` holds distances."""
    if not isinstance(record, DistanceMeasurement):
        raise TypeError(
            f"{name}: expected distances between layers (the record of vlm.probe), got {type(record).__name__}"
            f"{_hint(record)}"
        )


def check_attention(record: object, name: str = "attention") -> None:
    """Raise a TypeError that names the argument unless `record` holds attention ratios."""
    if not isinstance(record, AttentionMeasurement):
        raise TypeError(
            f"{name}: expected visual attention ratios (the record of vlm.attention), got {type(record).__name__}"
            f"{_hint(record)}"
        )


def check_effects(record: object, name: str = "removal") -> None:
    """Raise a TypeError that names the argument unless `record` holds effects of removing the image."""
    if not isinstance(record, EffectMeasurement):
        raise TypeError(
            f"{name}: expected effects of removing the image (the record of vlm.removal), got {type(record).__name__}"
            f"{_hint(record)}"
        )


def _hint(record: object) -> str:
    if isinstance(record, AttentionMeasurement):
        return "; attention ratios are another argument"
    if isinstance(record, DistanceMeasurement):
        return "; distances are another argument"
    return f"; pass the record itself, not its {type(record).__name__}" if isinstance(record, Table) else ""


class GrowingRecord(Displayed, ABC):
    """A record that grows while the model runs. Its one-line ``repr`` shows its settings and size, never its contents.

    Subclasses are dataclasses with ``eq=False, repr=False``; fields with a leading underscore are internal.
    """

    @property
    @abstractmethod
    def samples(self) -> int:
        """Number of samples recorded so far."""

    @abstractmethod
    def _measured(self) -> dict[str, object]:
        """The measured values by name, for :meth:`to_dict`; called only when there are samples."""

    def _check_recorded(self, noun: str) -> None:
        """Raise a ValueError that names the record while it has no samples."""
        if not self.samples:
            raise ValueError(
                f"{noun}: nothing recorded yet; call the model inside the context first, with a new cache (calls that "
                "continue one are passed over, and with prefix tuning every call does)"
            )

    def _shown(self) -> list[tuple[str, Any]]:
        return [("samples", self.samples), *super()._shown()]

    def to_dict(self) -> dict[str, Any]:
        """Settings, number of samples and, once something was recorded, the measured values, as JSON can hold them."""
        measured = self._measured() if self.samples else {}
        return {"samples": self.samples, **super().to_dict(), **plain(measured)}


class BatchedRecord(GrowingRecord):
    """A record that keeps one tensor of each call, with the samples along one axis."""

    _done: list[Tensor]
    _sample_axis: ClassVar[int] = 0

    @property
    def samples(self) -> int:
        """Number of samples (rows of all batches) recorded."""
        return sum(part.shape[self._sample_axis] for part in self._done)
