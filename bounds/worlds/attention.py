"""One query over image and text keys, and two softmax laws: the worlds of the attention statements."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from redundancy.array_types import FloatArray


def softmax(scores: FloatArray) -> FloatArray:
    """Softmax over the last axis."""
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    out: FloatArray = e / e.sum(axis=-1, keepdims=True)
    return out


def mean_value(weights: FloatArray, values: FloatArray) -> FloatArray:
    """Weighted mean of values (H, n, d) with weights (H, n), shape (H, d)."""
    out: FloatArray = np.einsum("hn,hnd->hd", weights, values)
    return out


@dataclass(frozen=True, eq=False)
class AttentionWorld:
    """H heads of one query; the first n_image keys are image tokens, the others text.

    Attributes
    ----------
    scores : ndarray (H, n)
    values : ndarray (H, n, d)
    n_image : int
    outputs : ndarray (H, k, d)
        Output matrix of each head.
    new_scores : ndarray (H, n_image), new_values : ndarray (H, n_image, d)
        What replaces the image tokens (late entry).
    """

    scores: FloatArray
    values: FloatArray
    n_image: int
    outputs: FloatArray
    new_scores: FloatArray
    new_values: FloatArray

    @cached_property
    def weights(self) -> FloatArray:
        """Attention weights, shape (H, n)."""
        return softmax(self.scores)

    @property
    def mass(self) -> FloatArray:
        """Weight on image tokens, shape (H,): the visual attention ratio of each head."""
        out: FloatArray = self.weights[:, : self.n_image].sum(axis=1)
        return out

    @property
    def image(self) -> FloatArray:
        """Image values, shape (H, n_image, d)."""
        return self.values[:, : self.n_image]

    @property
    def text(self) -> FloatArray:
        """Text values, shape (H, n - n_image, d)."""
        return self.values[:, self.n_image :]

    @property
    def full(self) -> FloatArray:
        """Output of each head, shape (H, d)."""
        return mean_value(self.weights, self.values)

    @property
    def removed(self) -> FloatArray:
        """Output without the image keys, softmax renormalised."""
        return mean_value(softmax(self.scores[:, self.n_image :]), self.text)

    @property
    def zeroed(self) -> FloatArray:
        """Output with image weights set to zero, not renormalised."""
        return mean_value(self.weights[:, self.n_image :], self.text)

    @cached_property
    def replaced_weights(self) -> FloatArray:
        """Weights with the image keys replaced."""
        return softmax(np.concatenate([self.new_scores, self.scores[:, self.n_image :]], axis=1))

    @property
    def replaced(self) -> FloatArray:
        """Output with the image tokens replaced."""
        values = np.concatenate([self.new_values, self.text], axis=1)
        return mean_value(self.replaced_weights, values)


@dataclass(frozen=True, eq=False)
class SoftmaxWorld:
    """A softmax law, a change of its scores, and the values or hidden states behind it.

    Attributes
    ----------
    scores : ndarray (n,)
    change : ndarray (n,)
    values : ndarray (n, d)
        Averaged with the law; or the rows of an unembedding.
    """

    scores: FloatArray
    change: FloatArray
    values: FloatArray

    @property
    def omega(self) -> float:
        """Range of the change."""
        return float(self.change.max() - self.change.min())

    @property
    def before(self) -> FloatArray:
        """The law."""
        return softmax(self.scores)

    @property
    def after(self) -> FloatArray:
        """The changed law."""
        return softmax(self.scores + self.change)
