"""Which device is meant, by index, name or an id that stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from otic.audio import devices
from otic.audio.devices import find_device, input_devices, stable_ids
from otic.errors import DeviceError
from tests.support.fake_portaudio import FakePortAudio


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakePortAudio:
    """Two USB microphones of one make, and the sound server."""
    fake = FakePortAudio()
    fake.names = ["USB PnP: Audio (hw:1,0)", "USB PnP: Audio (hw:2,0)", "pulse"]
    monkeypatch.setattr(devices, "portaudio", lambda: fake)
    links = tmp_path / "snd"
    for folder, name, card in (
        ("by-id", "usb-C-Media_USB_PnP-00", 1),
        ("by-path", "platform-3f980000.usb-usb-0:1.2:1.0", 1),
        ("by-path", "platform-3f980000.usb-usb-0:1.3:1.0", 2),
    ):
        (links / folder).mkdir(parents=True, exist_ok=True)
        (links / folder / name).symlink_to(f"../controlC{card}")
    monkeypatch.setattr(devices, "_SOUND_LINKS", links)
    return fake


def test_each_has_an_id_of_its_own(portaudio: FakePortAudio) -> None:
    assert [d["ids"] for d in input_devices()] == [
        ["usb-C-Media_USB_PnP-00", "platform-3f980000.usb-usb-0:1.2:1.0"],
        ["platform-3f980000.usb-usb-0:1.3:1.0"],
        [],
    ]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ("4", 4),
        ("platform-3f980000.usb-usb-0:1.3:1.0", 4),
        ("platform-3f980000.usb-usb-0:1.2:1.0", 3),
        ("usb-C-Media_USB_PnP-00", 3),
        ("hw:2", 4),
        ("USB PnP: Audio (hw:1,0)", 3),
        ("PULSE", 5),
        (None, 3),
    ],
)
def test_a_device_is_found(portaudio: FakePortAudio, wanted: str | None, index: int) -> None:
    assert find_device(wanted)["index"] == index


def test_what_fits_two_is_refused(portaudio: FakePortAudio) -> None:
    with pytest.raises(DeviceError, match="2 input devices match 'usb pnp': there are 3: USB"):
        find_device("usb pnp")


@pytest.mark.parametrize("wanted", ["USB 9", "7"])
def test_an_unknown_device_lists_the_known(portaudio: FakePortAudio, wanted: str) -> None:
    with pytest.raises(DeviceError, match=f"no input device '{wanted}': there are 3: USB PnP"):
        find_device(wanted)


def test_no_device_at_all(portaudio: FakePortAudio) -> None:
    portaudio.names = []
    with pytest.raises(DeviceError, match="no input device: plug in a microphone"):
        find_device(None)


def test_a_source_of_the_sound_server(
    portaudio: FakePortAudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {})
    found = find_device("pulse:alsa_input.usb")
    assert (found["index"], found["name"]) == (5, "alsa_input.usb")
    assert os.environ["PULSE_SOURCE"] == "alsa_input.usb"
    portaudio.names = portaudio.names[:2]
    with pytest.raises(DeviceError, match="PortAudio has no device 'pulse' here"):
        find_device("pulse:alsa_input.usb")


def test_without_udev_there_are_no_ids(tmp_path: Path) -> None:
    assert stable_ids(tmp_path) == {}
