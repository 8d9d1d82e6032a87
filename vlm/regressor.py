"""A small torch network with early stopping, as a scikit-learn estimator."""

from __future__ import annotations

import copy
import math
from typing import Self

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from redundancy.array_types import FloatArray, IntArray


class TorchMLPRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Multi-layer perceptron for squared error, as in `redundancy.mmse(..., regressor=TorchMLPRegressor())`.

    Inputs and targets are standardised inside `fit`; a tenth of the rows is held out and training stops
    `patience` epochs after the held-out error was smallest; those weights are kept. With a fixed `random_state` the
    fit is deterministic on the CPU.

    Parameters
    ----------
    hidden : tuple of int
        Widths of the hidden layers.
    learning_rate, weight_decay : float
        Parameters of AdamW.
    dropout : float
        Probability of dropping a hidden unit during the fit.
    epochs : int
        Maximum number of passes over the data.
    batch_size : int
        Rows per gradient step.
    patience : int
        Epochs without improvement before stopping.
    validation : float
        Fraction of rows held out for stopping, in (0, 1); with fewer than 10 rows the training error is used.
    device : str
        Device on which to fit and predict.
    random_state : int, RandomState or None
        Determines initial weights, split and order of the rows.

    Attributes
    ----------
    n_iter_ : int
        Epochs run.
    validation_error_ : float
        Smallest mean squared error of the standardised targets on the held-out rows.

    See Also
    --------
    redundancy.mmse, redundancy.functional : Take one as `regressor`.

    References
    ----------
    Loshchilov and Hutter 2019, *Decoupled Weight Decay Regularization*, arXiv:1711.05101 (AdamW).

    Examples
    --------
    >>> import numpy as np
    >>> from vlm.regressor import TorchMLPRegressor
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(400, 2))
    >>> z = np.sin(2 * x[:, 0]) + x[:, 1] ** 2
    >>> regressor = TorchMLPRegressor(hidden=(32,), epochs=60, random_state=0).fit(x[:300], z[:300])
    >>> round(regressor.score(x[300:], z[300:]), 1)
    0.8
    >>> regressor.predict(x[300:]).shape
    (100,)
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
        random_state: int | RandomState | None = None,
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

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to data.

        Parameters
        ----------
        X : array (n, d)
        y : array (n,) or (n, m)

        Returns
        -------
        TorchMLPRegressor
            Itself.

        Raises
        ------
        ValueError
            NaN, empty or mismatched input; a parameter out of range.
        """
        if not 0.0 < self.validation < 1.0:
            raise ValueError(f"validation: expected a fraction in (0, 1), got {self.validation}")
        if self.epochs < 1 or self.batch_size < 1 or self.patience < 1:
            raise ValueError("epochs, batch_size and patience: expected integers >= 1")
        x: FloatArray
        x, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64, ensure_min_samples=1)
        z = np.asarray(y, dtype=np.float64)
        self.single_ = z.ndim == 1
        z = z.reshape(len(z), -1)
        self.centre_, self.spread_ = x.mean(axis=0), _positive(x.std(axis=0))
        self.target_centre_, self.target_spread_ = z.mean(axis=0), _positive(z.std(axis=0))
        rng = check_random_state(self.random_state)
        order = rng.permutation(len(x))
        generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
        held = math.ceil(self.validation * len(x)) if len(x) >= 10 else 0
        inputs = self._tensor((x - self.centre_) / self.spread_)
        targets = self._tensor((z - self.target_centre_) / self.target_spread_)
        network = self._network(inputs.shape[1], targets.shape[1], generator).to(self.device)
        self._train(network, inputs, targets, order[held:], order[:held], generator)
        # Predictions are computed in double precision, so that they do not depend on the batch of a row.
        self.network_ = network.double().eval()
        return self

    def predict(self, X: ArrayLike) -> FloatArray:
        """Predict the targets of new rows.

        Parameters
        ----------
        X : array (t, d)

        Returns
        -------
        ndarray (t,) or (t, m)
            As many columns as the targets of the fit.
        """
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
        train: IntArray,
        held: IntArray,
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
        # The uniform distribution that torch uses for d inputs, but from our own generator.
        bound = 1.0 / math.sqrt(d)
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
