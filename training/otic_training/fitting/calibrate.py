"""The temperature that makes scores mean what they say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LIMITS = (0.25, 4.0)


def best_temperature(logits: NDArray[np.float32], target: NDArray[np.int64]) -> float:
    """The temperature T at which ``softmax(logits / T)`` is likeliest to give ``target``.

    C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.

    Parameters
    ----------
    logits : float32 [n, n_outputs]
        Of windows that the model was not trained on.
    target : int64 [n]

    Returns
    -------
    float
        Rounded to three places, within ``LIMITS``.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    exact, windows = logits.astype(np.float64), np.arange(len(target))

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(exact / np.exp(log_temperature), axis=1)
        return -float(scaled[windows, target].mean())

    found = minimize_scalar(loss, bounds=np.log(LIMITS), method="bounded")
    return round(float(np.exp(found.x)), 3)
