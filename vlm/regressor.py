"""A small torch network with early stopping behind the scikit-learn estimator interface."""

from __future__ import annotations

import copy
import math
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from redundancy.array_types import FloatArray


class TorchMLPRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Multi-layer perceptron for squared error, for `redundancy.mmse(..., regressor=TorchMLPRegressor())`.

    Inputs and targets are standardised inside `fit`; a tenth of the rows is held out and training stops
    `patience` epochs after its error was smallest, keeping those weights. Given `random_state` the fit is
    deterministic on the CPU.

    Parameters
    ----------
    hidden : tuple of int
        Widths of the hidden layers.
    learning_rate, weight_decay : float
        Of AdamW.
    dropout : float
        Probability of dropping a hidden unit while fitting.
    epochs : int
        Most passes over the data.
    batch_size : int
        Rows per step.
    patience : int
        Epochs without improvement before stopping.
    validation : float
        Fraction of rows held out for stopping; with fewer than 10 rows the training error decides.
    device : str
        Where to fit and predict.
    random_state : int, RandomState or None
        Initial weights, split and order of the rows.
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (128, 64),
        *,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-3,
        dropout: float = 0.0,
        epochs: int = 200,
        batch_size: int = 128,
        patience: int = 15,
        validation: float = 0.1,
        device: str = "cpu",
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.validation = validation
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to X (n, d) and y (n,) or (n, m); raises ValueError on NaN, empty or mismatched input."""
        if not 0.0 < self.validation < 1.0:
            raise ValueError(f"validation: expected a fraction in (0, 1), got {self.validation}")
        if self.epochs < 1 or self.batch_size < 1 or self.patience < 1:
            raise ValueError("epochs, batch_size and patience: expected integers >= 1")
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64, ensure_min_samples=1)
        self.single_ = y.ndim == 1
        z = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        self.centre_, self.spread_ = X.mean(axis=0), _positive(X.std(axis=0))
        self.target_centre_, self.target_spread_ = z.mean(axis=0), _positive(z.std(axis=0))
        rng = check_random_state(self.random_state)
        order = rng.permutation(len(X))
        generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
        held = math.ceil(self.validation * len(X)) if len(X) >= 10 else 0
        inputs = self._tensor((X - self.centre_) / self.spread_)
        targets = self._tensor((z - self.target_centre_) / self.target_spread_)
        network = self._network(inputs.shape[1], targets.shape[1], generator).to(self.device)
        self._train(network, inputs, targets, order[held:], order[:held], generator)
        # Predictions are made in double precision: a row's prediction then does not depend on its batch.
        self.network_ = network.double().eval()
        return self

    def predict(self, X: Any) -> FloatArray:
        """Predictions (t,) or (t, m) for X (t, d)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        with torch.no_grad():
            rows = torch.as_tensor((X - self.centre_) / self.spread_, device=self.device)
            z = self.network_(rows).cpu().numpy() * self.target_spread_ + self.target_centre_
        return np.asarray(z[:, 0] if self.single_ else z)

    def _tensor(self, a: FloatArray) -> torch.Tensor:
        return torch.as_tensor(a, dtype=torch.float32, device=self.device)

    def _network(self, d: int, m: int, generator: torch.Generator) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width in self.hidden:
            layers += [_linear(d, width, generator), nn.GELU(), nn.Dropout(self.dropout)]
            d = width
        return nn.Sequential(*layers, _linear(d, m, generator))

    def _train(
        self,
        network: nn.Sequential,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        train: NDArray[np.int64],
        held: NDArray[np.int64],
        generator: torch.Generator,
    ) -> None:
        judge = held if held.size else train
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        best, best_weights, waited = math.inf, copy.deepcopy(network.state_dict()), 0
        rows = torch.as_tensor(train, device=self.device)
        self.n_iter_ = 0
        while self.n_iter_ < self.epochs and waited < self.patience:
            self.n_iter_ += 1
            network.train()
            shuffled = rows[torch.randperm(len(rows), generator=generator).to(self.device)]
            for start in range(0, len(shuffled), self.batch_size):
                batch = shuffled[start : start + self.batch_size]
                optimizer.zero_grad()
                torch.autograd.backward(nn.functional.mse_loss(network(inputs[batch]), targets[batch]))
                optimizer.step()
            network.eval()
            with torch.no_grad():
                error = float(nn.functional.mse_loss(network(inputs[judge]), targets[judge]))
            if error < best:
                best, best_weights, waited = error, copy.deepcopy(network.state_dict()), 0
            else:
                waited += 1
        network.load_state_dict(best_weights)
        self.validation_error_ = best


def _positive(spread: FloatArray) -> FloatArray:
    return np.where(spread > 0, spread, 1.0)


def _linear(d: int, m: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(d, m)
    with torch.no_grad():
        # The uniform law of He et al.'s analysis for d inputs, from our own generator.
        bound = 1.0 / math.sqrt(d)
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
