"""A PortAudio that misbehaves on purpose."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.support.helpers import F32

SR = 22050


class FakePortAudio:
    """One stereo device; what is put into ``feed`` is delivered when the stream starts."""

    class PortAudioError(Exception):
        pass

    def __init__(self, rates: tuple[int, ...] = (SR,), channels: tuple[int, ...] = (1, 2)) -> None:
        self.rates, self.channels = rates, channels
        self.names = ["Fake USB: Audio (hw:1,0)"]
        self.feed: list[tuple[F32, float, bool]] = []  # block, ADC time, overflow flag
        self.opened: dict[str, Any] = {}
        self.active = True
        self.now = 0.0  # the monotonic clock, which goes with the ADC's unless that was set
        self.clock_was_set_by = 0.0

    def monotonic(self) -> float:
        return self.now

    def query_devices(self, kind: str | None = None) -> Any:
        devices = [
            {
                "index": 3 + i,
                "name": name,
                "max_input_channels": 2,
                "default_samplerate": 48000.0,
            }
            for i, name in enumerate(self.names)
        ]
        if kind:
            return devices[0] if devices else {"index": -1}
        return devices

    def check_input_settings(self, device: int, channels: int, dtype: str, samplerate: int) -> None:
        if samplerate not in self.rates or channels not in self.channels:
            raise self.PortAudioError("Invalid sample rate")

    def InputStream(self, **options: Any) -> FakePortAudio:  # noqa: N802
        self.opened = options
        return self

    def start(self) -> None:
        for block, adc_time, overflow in self.feed:
            self.now = adc_time + len(block) / SR
            times = SimpleNamespace(inputBufferAdcTime=adc_time + self.clock_was_set_by * overflow)
            status = SimpleNamespace(input_overflow=overflow)
            self.opened["callback"](block, len(block), times, status)
