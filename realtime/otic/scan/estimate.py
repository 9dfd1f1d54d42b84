"""How much audio there is, and how long it will take, before anything is done."""

from __future__ import annotations

import time
from collections.abc import Sequence

from otic.audio.sources import FileSource
from otic.config.values import FAST_BLOCK
from otic.errors import OticError
from otic.model.bundle import Bundle
from otic.pipeline import Pipeline
from otic.scan.find import Recording
from otic.scan.run import Survey, about_seconds
from otic.types import Lost

_MEASURED_SECONDS = 30.0  # of audio


def audio_seconds(survey: Survey) -> float:
    """Estimate how much audio there is, by the headers of some recordings."""
    import soundfile

    known = size = 0.0
    for each in survey.sample:
        try:
            info = soundfile.info(each.path)
        except (RuntimeError, OSError, TypeError):
            continue
        if info.frames < 2**40:
            known += info.frames / info.samplerate
            size += each.size
    return survey.size * known / size if size else survey.seconds


def measured_speed(bundle: Bundle, sample: Sequence[Recording]) -> float | None:
    """Measure seconds of audio a second, on a recording that can be read; None without one."""
    pipeline = Pipeline(bundle)
    for each in sorted(sample, key=about_seconds, reverse=True):
        try:
            source = FileSource(each.path, bundle.features.sr, FAST_BLOCK)
        except OticError:
            continue
        try:
            chunks = source.chunks()
            began = 0.0
            start = 0
            for chunk in chunks:
                if chunk is None or isinstance(chunk, Lost):
                    break
                pipeline.process(chunk)
                if not began:  # the first one compiles, and opens the file
                    began, start = time.perf_counter(), pipeline.sample
                if pipeline.sample > _MEASURED_SECONDS * bundle.features.sr:
                    break
        except OticError:
            pass
        finally:
            source.close()
        took = time.perf_counter() - began
        if began and pipeline.sample > start:
            return (pipeline.sample - start) / bundle.features.sr / took
        pipeline.reset()
    return None
