"""The networks: features in, one logit for each output.

Every network standardises its own input: it takes the front end's features as they are.
Only layers that become int8 TFLite well are used, and none but the standardiser subtracts
or multiplies (see :mod:`otic_training.fitting.export`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otic.features.params import LOG_MEL, FeatureParams

if TYPE_CHECKING:  # `otic train --help` lists the presets: it need not wait for NumPy
    from collections.abc import Callable

    import keras
    import numpy as np
    from numpy.typing import NDArray

    _F32 = NDArray[np.float32]

    Build = Callable[[FeatureParams, _F32, int], keras.Model]
    """Feature parameters, training features to standardise by, and the number of outputs."""

_MOMENTUM = 0.95  # of batch normalisation: an epoch has a few dozen batches only


def tutorial(params: FeatureParams, x: _F32, n_outputs: int) -> keras.Model:
    """The article's network, on features that are not standardised."""
    import keras
    from keras import layers

    features = hidden = keras.Input((params.n_features,))
    for _ in range(2):
        hidden = layers.Dropout(0.5)(layers.Dense(256, activation="relu")(hidden))
    return keras.Model(features, layers.Dense(n_outputs)(hidden))


def mfcc_mlp(params: FeatureParams, x: _F32, n_outputs: int) -> keras.Model:
    """128-64 ReLU with dropout, on statistics of MFCCs."""
    import keras
    from keras import layers

    features = keras.Input((params.n_features,))
    hidden = _standardise(features, x)
    for units in (128, 64):
        hidden = layers.Dense(
            units, activation="relu", kernel_regularizer=keras.regularizers.l2(1e-4)
        )(hidden)
        hidden = layers.Dropout(0.3)(hidden)
    return keras.Model(features, layers.Dense(n_outputs)(hidden))


def logmel_cnn(params: FeatureParams, x: _F32, n_outputs: int) -> keras.Model:
    """Six plain convolutions on log-mel frames; the mean and the maximum of what they find."""
    return _plain_cnn(params, x, n_outputs, ((16, 2), (32, 2), (48, 2), (48, 1), (56, 2), (64, 1)))


def tiny(params: FeatureParams, x: _F32, n_outputs: int) -> keras.Model:
    """Five plain convolutions. Depthwise-separable ones of this size were 5 points worse."""
    return _plain_cnn(params, x, n_outputs, ((8, 2), (12, 2), (20, 2), (28, 2), (32, 1)))


def embedding_head(params: FeatureParams, x: _F32, n_outputs: int) -> keras.Model:
    """One dense layer on a base model's embedding."""
    import keras
    from keras import layers

    embedding = keras.Input((x.shape[1],))
    spread = x.std(axis=0, dtype="float64")
    # A number that hardly ever changes must not count for much when it does.
    spread += 0.25 * spread.mean() + 1e-6
    standard = layers.Normalization(mean=x.mean(axis=0, dtype="float64"), variance=spread**2)
    dropped = layers.Dropout(0.3)(standard(embedding))
    logits = layers.Dense(n_outputs, kernel_regularizer=keras.regularizers.l2(1e-3))
    return keras.Model(embedding, logits(dropped))


def _plain_cnn(
    params: FeatureParams, x: _F32, n_outputs: int, convolutions: tuple[tuple[int, int], ...]
) -> keras.Model:
    """Convolutions of 3 x 3, each with its channels and stride."""
    import keras

    features = keras.Input((params.n_features,))
    maps = _patch(params, features, x)
    for channels, stride in convolutions:
        maps = _convolve(maps, channels, stride)
    return keras.Model(features, _head(maps, n_outputs))


def _convolve(maps: Any, channels: int, stride: int) -> Any:
    """Convolution, batch normalisation, ReLU."""
    from keras import layers

    maps = layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(maps)
    return layers.ReLU()(layers.BatchNormalization(momentum=_MOMENTUM)(maps))


def _head(maps: Any, n_outputs: int) -> Any:
    """Mean and maximum of each map, dropout, one dense layer."""
    from keras import layers

    pooled = [layers.GlobalAveragePooling2D()(maps), layers.GlobalMaxPooling2D()(maps)]
    return layers.Dense(n_outputs)(layers.Dropout(0.2)(layers.Concatenate()(pooled)))


def _standardise(tensor: Any, x: _F32) -> Any:
    """Scale each number of the last axis to mean 0, variance 1 over ``x``, float32 [..., n]."""
    from keras import layers

    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axis=axes, dtype="float64"), x.var(axis=axes, dtype="float64")
    return layers.Normalization(mean=mean, variance=variance)(tensor)


def _patch(params: FeatureParams, features: Any, x: _F32) -> Any:
    """The standardised log-mel frames of the feature vector, [window_frames, n_mels, 1]."""
    from keras import layers

    start, width, shape = _place(params, LOG_MEL), params.width(LOG_MEL), _shape(params)
    part = features if params.n_features == width else features[:, start : start + width]
    frames = layers.Reshape(shape)(part)
    standard = _standardise(frames, x[:, start : start + width].reshape(-1, *shape))
    return layers.Reshape((*shape, 1))(standard)


def _shape(params: FeatureParams) -> tuple[int, int]:
    return params.window_frames, params.n_mels


def _place(params: FeatureParams, statistic: str) -> int:
    """Index at which a statistic begins in the feature vector."""
    before = params.statistics[: params.statistics.index(statistic)]
    return sum(params.width(name) for name in before)
