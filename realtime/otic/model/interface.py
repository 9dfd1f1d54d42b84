"""How a model that was not made here takes features and gives scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from otic.config.values import as_float, as_tuple, check_keys
from otic.errors import ParameterError
from otic.features.params import LOG_MEL, MFCC, FeatureParams

FRAMES_FIRST, BANDS_FIRST = "frames_first", "bands_first"
ORDERS = (FRAMES_FIRST, BANDS_FIRST)
ACTIVATIONS = ("none", "softmax", "sigmoid")
MAX_OUTPUTS = 256
"""Limit for damaged files."""


@dataclass(frozen=True)
class ModelInterface:
    """Steps from features to a model's input, and from its output to scores.

    The defaults do nothing: the features go in as they are, and the first output
    is the scores. The models that otic trains need no more.

    Parameters
    ----------
    order : str
        ``frames_first`` or ``bands_first``: the order of the cells of a
        ``log_mel`` or ``mfcc`` patch. librosa's arrays are ``bands_first``.
    relative_to_peak : bool
        The window's maximum is subtracted from its log-mel frames, as
        ``librosa.power_to_db(ref=np.max)`` does.
    scale, offset : tuple of float
        Features are multiplied by the first and the second is added: one number
        for all, or one for each feature in the order in which the model takes them.
    output : int
        Number of the output with the scores, from 0.
    activation : str
        ``none``; ``softmax`` or ``sigmoid`` where the model gives logits.

    Raises
    ------
    ParameterError
        If a value is outside its range.
    """

    order: str = FRAMES_FIRST
    relative_to_peak: bool = False
    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    output: int = 0
    activation: str = "none"

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ParameterError(f"order={self.order!r} must be one of {', '.join(ORDERS)}")
        if self.activation not in ACTIVATIONS:
            raise ParameterError(
                f"activation={self.activation!r} must be one of {', '.join(ACTIVATIONS)}"
            )
        if not isinstance(self.relative_to_peak, bool):
            raise ParameterError(
                f"relative_to_peak={self.relative_to_peak!r} must be true or false"
            )
        for name in ("scale", "offset"):
            values = as_tuple(name, getattr(self, name))
            object.__setattr__(self, name, tuple(as_float(name, value) for value in values))
        output = self.output
        whole = isinstance(output, int) and not isinstance(output, bool)
        if not whole or not 0 <= output < MAX_OUTPUTS:
            raise ParameterError(
                f"output={output!r} must be a whole number from 0 to {MAX_OUTPUTS - 1}"
            )

    @property
    def plain(self) -> bool:
        """True where no step is needed."""
        return self == PLAIN

    def check_fits(self, features: FeatureParams) -> None:
        """Require that the steps fit the features.

        Raises
        ------
        ParameterError
            If they do not; the message names the step.
        """
        for name in ("scale", "offset"):
            count = len(getattr(self, name))
            if count not in (1, features.n_features):
                raise ParameterError(
                    f"{name} has {count} numbers: 1 or {features.n_features}, "
                    "one for each feature, are needed"
                )
        if self.order != FRAMES_FIRST and features.statistics not in ((LOG_MEL,), (MFCC,)):
            raise ParameterError(
                f"order={self.order} is for {LOG_MEL} or {MFCC} alone, "
                f"not for {', '.join(features.statistics)}"
            )
        if self.relative_to_peak and features.statistics != (LOG_MEL,):
            raise ParameterError(
                f"relative_to_peak is for {LOG_MEL} alone, not for {', '.join(features.statistics)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON, in field order."""
        return {**asdict(self), "scale": list(self.scale), "offset": list(self.offset)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelInterface:
        """Read what :meth:`to_dict` gives.

        Raises
        ------
        ParameterError
            If a key is missing or unknown, or a value is outside its range.
        """
        check_keys("interface", values, [f.name for f in fields(cls)])
        return cls(**values)


PLAIN = ModelInterface()
"""Interface without any step."""
