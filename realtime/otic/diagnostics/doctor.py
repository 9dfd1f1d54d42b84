"""The checks of ``otic doctor``, and running them.

Each check runs by itself and has a time limit; one that crashes is a finding too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from otic.config.load import load_settings
from otic.config.settings import InputSettings, Settings
from otic.config.values import DEFAULT_MODEL
from otic.diagnostics.machine_checks import (
    cache_check,
    clock_check,
    libraries_check,
    model_check,
    power_check,
    processor_check,
    python_check,
    temperature_check,
)
from otic.errors import OticError
from otic.sinks import receivers
from otic.system.files import state_folder
from otic.system.findings import FAIL, Check, Finding, disk_check, secret_checks, split_message
from otic.system.machine import Board

_MODEL_SECONDS = 600.0  # a small computer compiles first
_LEVEL_SECONDS = 60.0


def checks_of(
    settings: Settings | None,
    board: Board,
    asked_for: InputSettings | None = None,
    audio: bool = True,
) -> list[Check]:
    """List the checks; without settings, those that every sensor needs.

    The input that a person has ``asked_for`` is checked in place of those of the settings.
    """
    model = settings.model if settings and settings.model else DEFAULT_MODEL
    checks = [
        Check("Python", lambda: python_check(board)),
        Check("libraries", libraries_check, 120.0),
        Check("processor", lambda: processor_check(board)),
        Check("temperature", lambda: temperature_check(board)),
        Check("power", lambda: power_check(board)),
        Check("clock", lambda: clock_check(board)),
        Check("disk", lambda: disk_check(_state_folder(board))),
    ]
    if audio:
        checks += _audio_checks(settings, board, asked_for)
    checks.append(Check("model", lambda: model_check(model), _MODEL_SECONDS))
    checks.append(Check("compiled kernels", cache_check, 60.0))  # after the model has been compiled
    if settings is not None:
        from otic.diagnostics.receiver_checks import receiver_checks

        checks += receiver_checks(settings)
    return checks


def look(checks: Iterable[Check]) -> Iterator[Finding]:
    """Run the checks one after the other; each gives a finding, whatever happens."""
    for check in checks:
        yield _guarded(check)


def _guarded(check: Check) -> Finding:
    """Run one check; returns its finding, or why it has none.

    It runs in a thread, which is abandoned if it does not end: a sound server that hangs can't
    be interrupted.
    """
    found: list[Finding] = []

    def run() -> None:
        try:
            found.append(check.look())
        except OticError as error:
            found.append(Finding(check.name, FAIL, *split_message(error)))
        except ImportError as error:
            found.append(
                Finding(check.name, FAIL, str(error), ("see the check 'libraries' above",))
            )
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            remedy = "the check itself failed: please report it"
            found.append(Finding(check.name, FAIL, text, (remedy,)))

    thread = threading.Thread(target=run, name=f"check {check.name}", daemon=True)
    thread.start()
    thread.join(check.limit_seconds)
    if found:
        return found[0]
    remedy = "a sound server, a disk or a name server does not answer"
    return Finding(check.name, FAIL, f"no answer within {check.limit_seconds:.0f} s", (remedy,))


def _audio_checks(
    settings: Settings | None, board: Board, asked_for: InputSettings | None
) -> list[Check]:
    from otic.diagnostics import audio_checks as audio

    inputs = (settings or Settings()).inputs if asked_for is None else (asked_for,)
    required = inputs != Settings().inputs
    checks = []
    if not all(each.is_stream for each in inputs):
        checks = [
            Check("permissions", lambda: audio.permissions_check(board)),
            Check("sound server", lambda: audio.sound_server_check(board)),
            Check("input devices", lambda: audio.portaudio_check(required=required), 30.0),
        ]
    for each in inputs:
        checks += secret_checks("inputs.url_file", each.url_file)
        level = partial(audio.level_check, each, required=required)
        checks.append(Check("level", level, _LEVEL_SECONDS))
    return checks


def read_settings(path: str | None, board: Board) -> tuple[Settings | None, Finding | None]:
    """Read the settings in a file; returns them, or a finding about the file, or neither."""
    if path is None:
        return None, None
    try:
        return load_settings(path, board.environment, sections=receivers.sections), None
    except (OticError, OSError) as error:
        remedy = "correct it there; docs/sensor.md has an example of each section"
        return None, Finding("configuration", FAIL, str(error), (remedy,))


def _state_folder(board: Board) -> Path:
    """Return the folder where a sensor keeps its state: the service's, else the user's."""
    named = {"STATE_DIRECTORY", "XDG_STATE_HOME"} & board.environment.keys()
    if not named and os.geteuid() == 0:  # root asks about the service
        return Path("/var/lib")
    return state_folder(board.environment, "--spool-directory")
