"""Instances for the attention theorems: heads over image and text keys, and a softmax distribution that changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from redundancy.array_types import FloatArray
from redundancy.display import Displayed


def softmax(scores: FloatArray) -> FloatArray:
    """Softmax over the last axis."""
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    out: FloatArray = e / e.sum(axis=-1, keepdims=True)
    return out


def mean_value(weights: FloatArray, values: FloatArray) -> FloatArray:
    """Weighted mean of values (H, n, d) with weights (H, n), shape (H, d)."""
    out: FloatArray = np.einsum("hn,hnd->hd", weights, values)
    return out


@dataclass(frozen=True, eq=False, repr=False)
class AttentionWorld(Displayed):
    """H attention heads of one query; the first n_image keys are image tokens, the others text.

    Attributes
    ----------
    scores : ndarray (H, n)
        Attention scores before the softmax.
    values : ndarray (H, n, d)
        Value vectors.
    n_image : int
        Number of image tokens.
    outputs : ndarray (H, k, d)
        Output matrix of each head.
    new_scores : ndarray (H, n_image)
        Scores of the tokens that replace the image tokens (late entry).
    new_values : ndarray (H, n_image, d)
        Their value vectors.
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
        """Output without the image keys, the softmax renormalised, shape (H, d)."""
        return mean_value(softmax(self.scores[:, self.n_image :]), self.text)

    @property
    def zeroed(self) -> FloatArray:
        """Output with image weights set to zero, not renormalised, shape (H, d)."""
        return mean_value(self.weights[:, self.n_image :], self.text)

    @cached_property
    def replaced_weights(self) -> FloatArray:
        """Attention weights with the image keys replaced, shape (H, n)."""
        return softmax(np.concatenate([self.new_scores, self.scores[:, self.n_image :]], axis=1))

    @property
    def replaced(self) -> FloatArray:
        """Output with the image tokens replaced, shape (H, d)."""
        values = np.concatenate([self.new_values, self.text], axis=1)
        return mean_value(self.replaced_weights, values)


@dataclass(frozen=True, eq=False, repr=False)
class SoftmaxWorld(Displayed):
    """A softmax distribution, a change of its scores, and vectors that go with its entries.

    Attributes
    ----------
    scores : ndarray (n,)
        Scores before the change.
    change : ndarray (n,)
        What is added to them.
    values : ndarray (n, d)
        Vectors averaged with the distribution, or the rows of an unembedding matrix.
    """

    scores: FloatArray
    change: FloatArray
    values: FloatArray

    @property
    def omega(self) -> float:
        """Range of the change: its largest entry minus its smallest."""
        return float(self.change.max() - self.change.min())

    @property
    def before(self) -> FloatArray:
        """The distribution before the change."""
        return softmax(self.scores)

    @property
    def after(self) -> FloatArray:
        """The distribution after the change."""
        return softmax(self.scores + self.change)
