from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from otic import DecisionParams, FeatureParams
from otic.errors import ParameterError
from tests.support.helpers import LIBROSA_DEFAULTS, SMALL, decision


def test_derived_sizes() -> None:
    assert LIBROSA_DEFAULTS.n_features == 160
    assert LIBROSA_DEFAULTS.window_samples == 82 * 512 + 2048
    assert LIBROSA_DEFAULTS.window_seconds == pytest.approx(1.996916, abs=1e-6)
    assert SMALL.n_bins == 129


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_fft": 1000}, ["n_fft=1000", "power of two", "256", "4096"]),
        ({"n_fft": 128}, ["n_fft=128"]),
        ({"n_fft": 8192}, ["n_fft=8192"]),
        ({"hop_length": 0}, ["hop_length=0"]),
        ({"hop_length": 1.5}, ["hop_length=1.5"]),
        ({"sr": True}, ["sr=True"]),
        ({"window_frames": 10**7}, ["window_frames=10000000", "1000000"]),
        ({"n_mels": 257}, ["n_mels=257", "256"]),
        ({"n_mfcc": 25}, ["n_mfcc=25", "n_mels=24"]),
        ({"fmax": 4001.0}, ["fmax=4001", "4000"]),
        ({"fmin": float("nan")}, ["fmin=nan"]),
        ({"fmin": -1.0}, ["fmin=-1"]),
        ({"top_db": 0.0}, ["top_db=0"]),
        ({"window_frames": 10**6}, ["window_frames=1000000", "67108864"]),
        ({"window_frames": 10**6, "n_mels": 128, "hop_length": 1}, ["n_mels=128", "67108864"]),
        ({"center": 1}, ["center=1", "true or false"]),
        ({"tail_samples": 5}, ["tail_samples=5", "center=False"]),
        ({"center": True, "tail_samples": 100}, ["tail_samples=100", "below 100"]),
        ({"center": True, "tail_samples": -1}, ["tail_samples=-1"]),
        ({"center": True, "window_frames": 1}, ["without samples"]),
        ({"statistics": ()}, ["statistics"]),
        ({"statistics": None}, ["statistics=None must be a list"]),
        ({"statistics": "mean"}, ["statistics='mean' must be a list"]),
        ({"statistics": ("median",)}, ["median", "delta_rms"]),
        ({"statistics": ("mean", "mean")}, ["at most once"]),
        ({"window_frames": 1, "statistics": ("delta_mean",)}, ["window_frames=1"]),
    ],
)
def test_a_bad_value_is_named_with_its_limit(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ParameterError) as caught:
        replace(SMALL, **changes)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("statistics", "n_features", "words"),
    [
        (("waveform",), 856, "the waveform at 8000 Hz"),
        (("mfcc",), 56, "8 MFCCs"),
        (("log_mel",), 168, "24 log-mel bands"),
        (("mean", "std"), 16, "mean + std of 8 MFCCs"),
        (("mean", "mfcc", "waveform"), 920, "mean of 8 MFCCs and 8 MFCCs and the waveform at"),
    ],
)
def test_what_is_looked_at(statistics: tuple[str, ...], n_features: int, words: str) -> None:
    params = replace(SMALL, statistics=statistics)
    assert params.n_features == n_features
    assert params.looked_at.startswith(words)
    assert FeatureParams.from_dict(params.to_dict()) == params


def test_feature_params_survive_json() -> None:
    assert FeatureParams.from_dict(SMALL.to_dict()) == SMALL


def test_there_are_no_defaults_and_no_unknown_keys() -> None:
    values = SMALL.to_dict()
    del values["top_db"]
    values["to_db"] = 80.0
    with pytest.raises(ParameterError, match=r"missing keys top_db; unknown keys to_db"):
        FeatureParams.from_dict(values)
    with pytest.raises(ParameterError, match="JSON object, not list"):
        FeatureParams.from_dict([])  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="statistics='mean' must be a list"):
        FeatureParams.from_dict({**SMALL.to_dict(), "statistics": "mean"})


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"smoothing_scores": 0}, "smoothing_scores=0"),
        ({"min_on_seconds": -1.0}, "min_on_seconds=-1"),
        ({"lag_seconds": "x"}, "lag_seconds='x'"),
        ({"max_on_seconds": 0.2}, "max_on_seconds=0.2"),
        ({"on_thresholds": (0.5, 1.1)}, "on_thresholds"),
        ({"on_thresholds": (0.5,)}, "1 on_thresholds and 2 off_thresholds"),
        ({"off_thresholds": (0.9, 0.4)}, "above its on threshold"),
    ],
)
def test_bad_decision_params(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ParameterError, match=word):
        decision(2, **changes)


def test_decision_params_survive_json() -> None:
    params = decision(3)
    assert DecisionParams.from_dict(params.to_dict()) == params
    with pytest.raises(ParameterError, match="unknown keys hold"):
        DecisionParams.from_dict({**params.to_dict(), "hold": 1})
