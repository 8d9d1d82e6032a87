"""`certify`: choose the certificate that fits an estimate."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Literal, TypedDict, Unpack

from bounds.certificates.certificate import Certificate, Side
from bounds.certificates.critic import certify_critic_information
from bounds.certificates.entropy import certify_plugin_entropy
from bounds.certificates.means import certify_curve, certify_mean, certify_token_mean
from bounds.confidence import Method
from redundancy import checks
from redundancy.estimate import Estimate, Quantity

MEANS = (
    "mean",
    "geometric",
    "proximal",
    "proximal image event",
    "functional",
    "mmse",
    "cross-entropy",
    "usable information",
    "accuracy",
    "score",
    "visual attention ratio",
    "probability gained",
    "answers that may change",
)
ENTROPIES = ("entropy", "conditional entropy", "informational")
Certifier = Callable[..., Certificate]


class Options(TypedDict, total=False):
    """Parameters that `certify` forwards to the function it chooses."""

    side: Side
    simultaneous: int
    d_max: float | None
    largest_loss: float | None
    max_rows: float | None
    size: int | tuple[int, int] | None
    shuffle: bool


def certify(
    estimate: Estimate,
    confidence: float = 0.95,
    *,
    method: Method | Literal["dkw", "mcdiarmid"] | None = None,
    weighting: Literal["image", "token"] = "image",
    **options: Unpack[Options],
) -> Certificate:
    """Finite-sample confidence interval for the quantity that `estimate` measures.

    Calls the function that fits the estimate, which documents its own parameters:

    ==================================================  ==========================
    estimate                                            certified by
    ==================================================  ==========================
    geometric, proximal, functional, mmse, a mean, ...  `certify_mean`
    the same with ``weighting="token"``                 `certify_token_mean`
    proximal with ``method="dkw"``                      `certify_curve`
    entropy, conditional entropy, informational         `certify_plugin_entropy`
    mutual information of `critic_information`          `certify_critic_information`
    ==================================================  ==========================

    Parameters
    ----------
    estimate : Estimate
        What an estimator of `redundancy` returned, or an `Estimate` of your own with quantity "mean".
    confidence : float
        1 - alpha, in (0, 1).
    method : str, optional
        As in the function chosen; "dkw" asks for a band over all thresholds of a proximal estimate.
    weighting : {"image", "token"}
        What counts the same: every unit of sampling, or every row of it (needs `max_rows`).
    **options
        `side`, `simultaneous`, `d_max`, `largest_loss`, `max_rows`, `size`, `shuffle`, as in the function chosen.

    Returns
    -------
    Certificate
        `.low`, `.high`, and `.guarantee`, one sentence that says what is guaranteed.

    Raises
    ------
    TypeError
        An option that is not a parameter of the function chosen; something other than an Estimate.
    ValueError
        What cannot be certified: a quantity without a finite-sample guarantee, an unbounded range, ...

    See Also
    --------
    certify_entropy : From samples of codewords.
    certify_information : A lower bound on mutual information.
    implications : What follows from certificates through the theorems.

    References
    ----------
    Theory, sections 9.1 and 9.2 (docs/explanation/theory); Waudby-Smith and Ramdas (2024), *Estimating means of
    bounded random variables by betting*, arXiv:2010.09686; Massart (1990), *The tight constant in the
    Dvoretzky-Kiefer-Wolfowitz inequality*, Annals of Probability 18.

    Examples
    --------
    >>> import numpy as np
    >>> import bounds
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> image = np.repeat(np.arange(200), 5)
    >>> x = rng.normal(size=(1000, 8))
    >>> y = x + 0.2 * rng.normal(size=x.shape)
    >>> distance = rd.geometric(x, y, groups=image)
    >>> bounds.certify(distance)
    geometric in [0.008729, 0.06271] at confidence 0.95 (betting, n = 200 images)
    >>> bounds.certify(distance, method="hoeffding", side="upper", simultaneous=24)
    geometric in [0, 0.2706] at confidence 0.95 (hoeffding, n = 200 images)
    >>> bounds.certify(distance, weighting="token", max_rows=5).method
    'betting'
    >>> bounds.certify(distance, max_rows=5)
    Traceback (most recent call last):
        ...
    TypeError: max_rows: not a parameter of certify_mean, which certifies this geometric estimate; leave it out
    """
    certifier = _certifier(estimate, method, weighting)
    accepted = inspect.signature(certifier).parameters
    for name in options:
        if name not in accepted:
            raise TypeError(
                f"{name}: not a parameter of {certifier.__name__}, which certifies this {estimate.quantity} estimate; "
                "leave it out"
            )
    given = {} if method is None or "method" not in accepted else {"method": method}
    return certifier(estimate, confidence, **given, **options)


def _certifier(estimate: Estimate, method: str | None, weighting: str) -> Certifier:
    """The function that certifies this estimate, or an error that lists what can be certified."""
    if not isinstance(estimate, Estimate):
        raise TypeError(f"estimate: expected a redundancy Estimate, got {type(estimate).__name__}")
    checks.one_of(weighting, ("image", "token"), name="weighting")
    if estimate.quantity in ENTROPIES:
        certifier: Certifier = certify_plugin_entropy
    elif estimate.quantity == Quantity.MUTUAL_INFORMATION and "pairs" in estimate.details:
        certifier = certify_critic_information
    elif estimate.quantity in MEANS or estimate.per_unit is None:
        certifier = certify_curve if method == "dkw" else certify_mean
    else:
        raise ValueError(
            f"quantity: expected one of {', '.join((*MEANS, *ENTROPIES))}; got {str(estimate.quantity)!r}. Certify a "
            "mean of your own with bounds.certify_mean, or as an Estimate with quantity='mean' and its support"
        )
    if weighting == "image":
        return certifier
    if certifier is not certify_mean:
        raise ValueError(f"weighting: expected 'image' for {certifier.__name__}, got {weighting!r}; leave it out")
    return certify_token_mean
