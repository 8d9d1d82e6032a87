"""A measurement on disk as `vlm.decide` reads it, an image a sample: memory does not grow with the prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import FloatArray
from vlm.experiments.image_means import ImageMeans
from vlm.measure.attention_reading import Heads, TextTokens, check_reading
from vlm.table import Table


@dataclass(frozen=True, eq=False)
class ImageMeasurement:
    """Means over each image's prompts, with the image as the sample: what `vlm.decide` makes of prompts itself.

    Prompts without an image are left out; a ValueError if none remains.

    Attributes
    ----------
    means : ImageMeans
        Must stay open while this is read.
    """

    means: ImageMeans

    def __post_init__(self) -> None:
        if not self.samples:
            raise ValueError("measurement: expected records of prompts with an image, got none")

    @property
    def _rows(self) -> NDArray[np.int64]:
        return self.means.having(list(self.means.images), "vision")

    @property
    def samples(self) -> int:
        """Number of images."""
        return len(self._rows)

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return self.means.depth

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Distances at which closeness was counted."""
        names = (name for name in self.means.names("vision") if name.startswith("within_"))
        return tuple(sorted(float(name.removeprefix("within_")) for name in names))

    def table(self) -> Table:
        """As `ProbeRecord.table`, vision tokens only."""
        rows = self._rows
        sample, layer = (a.reshape(-1) for a in np.indices((len(rows), self.depth), dtype=np.int32))
        columns: dict[str, NDArray[Any]] = {
            "sample": sample,
            "layer": layer,
            "modality": np.broadcast_to(np.array("vision"), sample.shape),
        }
        for name in self.means.names("vision"):
            columns[name] = self.means.mean("vision", name, rows).reshape(-1)
        return Table(columns)

    def ratios(self) -> FloatArray:
        """As `AttentionRecord.ratios`: (samples, layers, heads)."""
        return self.means.mean("attention", "heads", self._rows)

    def reading(self, *, tokens: TextTokens = "all", heads: Heads = "largest") -> FloatArray:
        """As `AttentionRecord.reading`: (samples, layers); a ValueError if a record has the answer token's alone."""
        check_reading(tokens, heads)
        if tokens == "all" and self.means.answer_only:
            raise ValueError(
                f"measurement: expected what all text tokens attend to, got {self.means.answer_only} of "
                f"{self.means.prompts} records of the answer token alone, made by an earlier version; measure again "
                "into a new directory, or judge by the answer token (tokens='answer', heads='mean')"
            )
        names = {
            ("all", "largest"): "largest",
            ("all", "mean"): "largest_mean",
            ("answer", "largest"): "ratio_largest",
            ("answer", "mean"): "ratio",
        }
        return self.means.mean("attention", names[tokens, heads], self._rows)
