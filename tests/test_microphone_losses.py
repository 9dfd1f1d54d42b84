"""The microphone against a PortAudio that misbehaves on purpose."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from realtime import microphone
from realtime.conversion import Chunk, Lost
from realtime.errors import DeviceError
from realtime.microphone import Microphone
from tests.helpers import F32, noise

SR = 22050


class FakePortAudio:
    """One stereo device; what is put into ``feed`` is delivered when the stream starts."""

    class PortAudioError(Exception):
        pass

    def __init__(self, rates: tuple[int, ...] = (SR,), channels: tuple[int, ...] = (1, 2)) -> None:
        self.rates, self.channels = rates, channels
        self.feed: list[tuple[F32, float, bool]] = []  # block, ADC time, overflow flag
        self.opened: dict[str, Any] = {}
        self.active = True
        self.closed = False

    def query_devices(self, kind: str | None = None) -> Any:
        device = {
            "index": 3,
            "name": "Fake USB",
            "max_input_channels": 2,
            "default_samplerate": 48000.0,
        }
        return device if kind else [device]

    def check_input_settings(self, device: int, channels: int, dtype: str, samplerate: int) -> None:
        if samplerate not in self.rates or channels not in self.channels:
            raise self.PortAudioError("Invalid sample rate")

    def InputStream(self, **options: Any) -> FakePortAudio:  # noqa: N802
        self.opened = options
        return self

    def start(self) -> None:
        for block, adc_time, overflow in self.feed:
            times = SimpleNamespace(inputBufferAdcTime=adc_time)
            status = SimpleNamespace(input_overflow=overflow)
            self.opened["callback"](block, len(block), times, status)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> FakePortAudio:
    fake = FakePortAudio()
    monkeypatch.setattr(microphone, "portaudio", lambda: fake)
    return fake


def drain(source: Microphone) -> list[Chunk]:
    """All that is there, up to the first None."""
    found = []
    for chunk in source.chunks():
        if chunk is None:
            break
        found.append(chunk)
    return found


def test_samples_arrive_as_they_are(portaudio: FakePortAudio) -> None:
    y = noise(5000)[:, None]
    portaudio.feed = [(y[i : i + 1000], i / SR, False) for i in range(0, 5000, 1000)]
    source = Microphone(None, SR, 1000)
    np.testing.assert_array_equal(np.concatenate(drain(source)), y[:, 0])  # type: ignore[arg-type]
    assert source.warnings() == []
    source.close()
    assert portaudio.closed
    assert portaudio.opened["blocksize"] == 1000
    assert (portaudio.opened["samplerate"], portaudio.opened["channels"]) == (SR, 1)


def test_an_overflow_is_a_loss_of_the_length_that_the_clock_tells(
    portaudio: FakePortAudio,
) -> None:
    block = noise(1000)[:, None]
    portaudio.feed = [
        (block, 0.0, False),
        (block, (1000 + 441) / SR, True),
        (block, (2000 + 441) / SR, True),  # flagged, but the clock shows no gap: at least one
    ]
    source = Microphone(None, SR, 1000)
    sizes = [c.samples if isinstance(c, Lost) else -len(c) for c in drain(source)]
    assert sizes == [-1000, 441, -1000, 1, -1000]
    (warning,) = source.warnings()
    assert "442 samples at 22050 Hz were lost (2 overflows" in warning


def test_an_overflow_at_the_very_start_has_no_length_to_tell(portaudio: FakePortAudio) -> None:
    portaudio.feed = [(noise(1000)[:, None], 123456.7, True)]
    assert drain(Microphone(None, SR, 1000))[0] == Lost(1)


def test_a_block_larger_than_the_usual_ring_is_not_lost(portaudio: FakePortAudio) -> None:
    y = noise(6 * SR)[:, None]
    portaudio.feed = [(y, 0.0, False)]
    (got,) = drain(Microphone(None, SR, 6 * SR))
    np.testing.assert_array_equal(got, y[:, 0])


def test_what_came_before_a_device_went_is_not_lost(portaudio: FakePortAudio) -> None:
    portaudio.feed = [(noise(1000)[:, None], 0.0, False)]
    portaudio.active = False
    source = Microphone(None, SR, 1000)
    chunks = source.chunks()
    assert len(next(chunks)) == 1000  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="stopped delivering"):
        next(chunks)


def test_not_finite_samples_are_told(portaudio: FakePortAudio) -> None:
    y = noise(1000)[:, None]
    y[5] = np.nan
    portaudio.feed = [(y, 0.0, False)]
    source = Microphone(None, SR, 1000)
    drain(source)
    assert "1 samples are NaN" in source.warnings()[0]


def test_an_overrun_of_the_ring_is_counted(portaudio: FakePortAudio) -> None:
    y = noise(5 * SR)[:, None]  # the ring holds four seconds
    portaudio.feed = [(y[i : i + SR], i / SR, False) for i in range(0, 5 * SR, SR)]
    source = Microphone(None, SR, SR)
    lost, samples = drain(source)
    assert lost == Lost(SR)
    np.testing.assert_array_equal(samples, y[SR:, 0])
    assert "were lost" in source.warnings()[0]


def test_a_device_without_the_models_rate_is_resampled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakePortAudio(rates=(48000,), channels=(2,))
    monkeypatch.setattr(microphone, "portaudio", lambda: fake)
    y = noise(48000)
    fake.feed = [(np.stack([y, y], axis=1), 0.0, False)]
    source = Microphone("fake", SR, 1024)
    n = sum(len(c) for c in drain(source) if not isinstance(c, Lost))
    assert (fake.opened["samplerate"], fake.opened["channels"]) == (48000, 2)
    assert SR - 1000 < n <= SR  # the resampler holds a little back


def test_a_channel_can_be_chosen(portaudio: FakePortAudio) -> None:
    y = np.stack([noise(100, 1), noise(100, 2)], axis=1)
    portaudio.feed = [(y, 0.0, False)]
    (got,) = drain(Microphone("3", SR, 100, channel=2))
    np.testing.assert_array_equal(got, y[:, 1])
    with pytest.raises(DeviceError, match="--channel 3 is outside 1 to 2, the channels of 'Fake"):
        Microphone(None, SR, 100, channel=3)


def test_a_device_that_stops_is_named(portaudio: FakePortAudio) -> None:
    portaudio.active = False
    with pytest.raises(DeviceError, match="'Fake USB' stopped delivering"):
        list(Microphone(None, SR, 100).chunks())


def test_an_unknown_device_lists_the_known(portaudio: FakePortAudio) -> None:
    for wanted in ("USB 2", "7"):
        with pytest.raises(DeviceError, match=f"no input device '{wanted}': there are 3: Fake USB"):
            Microphone(wanted, SR, 100)


def test_no_device_at_all(portaudio: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portaudio, "query_devices", lambda kind=None: {"index": -1} if kind else [])
    with pytest.raises(DeviceError, match="no input device: plug in a microphone"):
        Microphone(None, SR, 100)
