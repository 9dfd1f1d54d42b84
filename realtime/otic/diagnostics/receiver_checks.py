"""Checks of ``otic doctor`` for what a configuration names: receivers, folders, secrets."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from otic.config.settings import Settings
from otic.sinks import receivers
from otic.system.findings import Check, disk_check, extra_check, folder_checks, secret_checks


def receiver_checks(settings: Settings) -> list[Check]:
    """List a check for each receiver, folder and file with a secret that is set."""
    checks: list[Check] = []
    for name, section in settings.receivers.items():
        checks += receivers.module(name).checks(section)
    if settings.metrics.listen:
        check = partial(extra_check, "metrics", "prometheus_client")
        checks.append(Check("extra metrics", check))
    if settings.web.listen:
        checks.append(Check("extra web", partial(extra_check, "web", "uvicorn")))
    checks += secret_checks("web.token_file", settings.web.token_file)
    clips = settings.clips
    if clips.directory and clips.enabled:
        check = partial(disk_check, Path(clips.directory), "clips", clips.max_megabytes)
        checks.append(Check("clips", check))
    if settings.spool.directory:
        check = partial(disk_check, Path(settings.spool.directory), "spool")
        checks.append(Check("spool", check))
    return checks + folder_checks("jsonl", settings.jsonl.path)
