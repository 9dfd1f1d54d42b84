"""What a capture process hears, against a PortAudio that misbehaves on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from otic.audio import capture_worker as capture
from otic.audio import devices
from otic.audio.capture import HEADER
from otic.audio.capture_worker import DeviceCapture
from otic.errors import DeviceError
from tests.support.fake_portaudio import SR, FakePortAudio
from tests.support.helpers import F32, noise


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> FakePortAudio:
    fake = FakePortAudio()
    for module in (capture, devices):
        monkeypatch.setattr(module, "portaudio", lambda: fake)
    monkeypatch.setattr(capture, "time", fake)
    return fake


def blocks_of(opened: DeviceCapture) -> list[tuple[int, int, F32]]:
    """All that is there: frames lost before, overruns so far, samples [n, channels]."""
    found = []
    while data := opened.read():
        lost, overruns, fill, ends_at, frames = HEADER.unpack_from(data)
        assert 0.0 <= fill <= 1.0
        assert ends_at <= vars(capture)["time"].monotonic()  # a clock that tests move
        samples = np.frombuffer(data[HEADER.size :], np.float32).reshape(frames, -1)
        assert samples.shape[1] == opened.channels or not frames
        found.append((lost, overruns, samples))
    return found


def test_samples_arrive_as_they_are(portaudio: FakePortAudio) -> None:
    y = noise(5000)[:, None]
    portaudio.feed = [(y[i : i + 1000], i / SR, False) for i in range(0, 5000, 1000)]
    opened = DeviceCapture(None, SR, 1000 / SR)
    ((lost, overruns, samples),) = blocks_of(opened)
    np.testing.assert_array_equal(samples, y)
    assert (lost, overruns) == (0, 0)
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
    found = [(lost, len(y)) for lost, _, y in blocks_of(DeviceCapture(None, SR, 1000 / SR))]
    assert found == [(0, 1000), (441, 1000), (1, 1000)]


def test_a_wall_clock_that_is_set_makes_no_loss(portaudio: FakePortAudio) -> None:
    """PortAudio's times may be the wall clock's, and a Pi's is set by weeks at boot."""
    block = noise(1000)[:, None]
    portaudio.feed = [(block, 0.0, False), (block, 1000 / SR, True)]
    portaudio.clock_was_set_by = 90 * 86400.0
    ((_, first), (lost, _)) = (
        (n, len(y)) for n, _, y in blocks_of(DeviceCapture(None, SR, 1000 / SR))
    )
    assert first == 1000
    assert lost <= 1000


def test_overruns_are_counted(portaudio: FakePortAudio) -> None:
    y = noise(13 * SR)[:, None]  # the ring holds twelve seconds
    portaudio.feed = [(y[i : i + SR], i / SR, i == 3 * SR) for i in range(0, 13 * SR, SR)]
    found = blocks_of(DeviceCapture(None, SR, 1.0))
    assert [(lost, overruns) for lost, overruns, _ in found] == [(SR, 2), (1, 2)]
    np.testing.assert_array_equal(np.concatenate([y for *_, y in found]), y[SR:])


def test_an_overflow_at_the_very_start_has_no_length_to_tell(portaudio: FakePortAudio) -> None:
    portaudio.feed = [(noise(1000)[:, None], 123456.7, True)]
    assert blocks_of(DeviceCapture(None, SR, 1000 / SR))[0][0] == 1


def test_a_block_larger_than_the_usual_ring_is_not_lost(portaudio: FakePortAudio) -> None:
    y = noise(20 * SR)[:, None]
    portaudio.feed = [(y, 0.0, False)]
    ((lost, _, samples),) = blocks_of(DeviceCapture(None, SR, 20.0))
    assert lost == 0
    np.testing.assert_array_equal(samples, y)


def test_its_own_rate_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for rates, channels, wanted, expected in (
        ((48000, SR), (1, 2), None, (48000, 1)),
        ((44100, SR), (2,), None, (44100, 2)),
        ((SR,), (1, 2), 2, (SR, 2)),
        ((), (), None, (48000, 2)),  # none fits: PortAudio says why
    ):
        fake = FakePortAudio(rates, channels)
        for module in (capture, devices):
            monkeypatch.setattr(module, "portaudio", lambda fake=fake: fake)
        opened = DeviceCapture("fake", SR, 0.05, wanted)
        assert (opened.rate, opened.channels) == expected


def test_a_channel_that_is_not_there(portaudio: FakePortAudio) -> None:
    with pytest.raises(DeviceError, match="--channel 3 is outside 1 to 2, the channels of 'Fake"):
        DeviceCapture(None, SR, 0.05, 3)


def test_a_device_that_can_not_be_opened(
    portaudio: FakePortAudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy() -> None:
        raise FakePortAudio.PortAudioError("Device unavailable")

    monkeypatch.setattr(portaudio, "start", busy)
    with pytest.raises(DeviceError, match=r"can't open 'Fake.*\(Device unavailable\)"):
        DeviceCapture(None, SR, 0.05)
