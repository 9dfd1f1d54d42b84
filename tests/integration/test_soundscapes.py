"""Soundscapes hold what their truth says; detections are judged as the literature does."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from otic import Event, Pipeline, load_bundle
from otic.config.values import DEFAULT_MODEL
from otic_training.data.dataset import DatasetError
from otic_training.data.layouts import load_dataset
from otic_training.data.soundscapes import (
    SOUNDSCAPE_SECONDS,
    Sound,
    Truth,
    as_sound,
    mix,
    noises,
)
from otic_training.data.windows import read_clip, sounding_part
from otic_training.scoring.detections import (
    COLLARS_SECONDS,
    Judged,
    alarm_rate,
    delays,
    event_figures,
    psds,
    segment_figures,
)
from otic_training.scoring.predictions import (
    Detection,
    Predictions,
    at_threshold,
    at_thresholds,
    decide,
    naive,
    paired,
    predictions_of,
)
from tests.support.detection_cases import EXPECTED, LABELS, cases
from tests.support.helpers import FakeClassifier, decision, noise, small_bundle

SR = 8000


def sounds(n: int) -> list[Sound]:
    return [Sound("ab"[i % 2], noise(SR * (1 + i % 3), i, 0.3)) for i in range(n)]


def overlap(a: Truth, b: Truth) -> bool:
    return a is not b and a.onset < b.offset and b.onset < a.offset


def test_every_sound_is_once_where_the_truth_says_at_its_level() -> None:
    made = sounds(120)
    hiss = noise(SR * 20, 99, 0.1)
    found = list(mix(made, [[hiss]], SR, (0.0, 20.0), np.random.default_rng(3)))
    assert len(found) > 1
    truths = [t for s in found for t in s.truths]
    assert len(truths) == 120
    for soundscape in found:
        assert len(soundscape.y) == SOUNDSCAPE_SECONDS * SR
        assert np.abs(soundscape.y).max() <= 0.951
        onsets = [t.onset for t in soundscape.truths]
        assert onsets == sorted(onsets)
        assert onsets[0] > 4.0
        assert max(t.offset for t in soundscape.truths) <= SOUNDSCAPE_SECONDS - 1.0
    soundscape = found[0]
    alone = [t for t in soundscape.truths if not any(overlap(t, o) for o in soundscape.truths)]
    assert len(alone) > 10
    busy = np.zeros(len(soundscape.y), bool)
    for t in soundscape.truths:
        busy[round(t.onset * SR) : round(t.offset * SR)] = True
    room = float(np.mean(soundscape.y[~busy].astype(float) ** 2))
    for t in alone:
        predictions = soundscape.y[round(t.onset * SR) : round(t.offset * SR)].astype(float)
        snr_db = 10 * np.log10(max(np.mean(predictions**2) / room - 1.0, 1e-3))
        assert snr_db == pytest.approx(t.snr_db, abs=1.5)


def test_sounds_of_one_label_never_overlap_and_others_sometimes_do() -> None:
    found = list(mix(sounds(200), [[noise(SR, 1)]], SR, (10.0, 10.0), np.random.default_rng(0)))
    both = 0
    for soundscape in found:
        for label in "ab":
            own = [t for t in soundscape.truths if t.label == label]
            assert all(a.offset <= b.onset for a, b in pairwise(own))
        ts = soundscape.truths
        both += sum(b.onset < a.offset for a, b in pairwise(ts))
    assert 5 < both < 60


def test_the_same_seed_mixes_the_same() -> None:
    first, second = (
        list(mix(sounds(9), [[noise(SR, 1)]], SR, (0.0, 9.0), np.random.default_rng(5)))
        for _ in range(2)
    )
    assert [s.truths for s in first] == [s.truths for s in second]
    np.testing.assert_array_equal(first[0].y, second[0].y)


def test_a_clip_is_cut_to_its_sound() -> None:
    y = noise(SR * 5, 1, 1e-4)
    y[SR : SR + 800] += noise(800, 2, 0.3)  # a bark,
    y[SR + 4000 : SR + 4800] += noise(800, 3, 0.3)  # and another half a second later
    y[4 * SR : 4 * SR + 80] += noise(80, 4, 0.1)  # a click long after
    begin, end = sounding_part(y, SR)
    assert (begin, end) == (SR, SR + 4800)
    sound = as_sound("bark", y, SR)
    assert len(sound.y) == 4800
    assert sound.y[0] == sound.y[-1] == 0.0
    assert sounding_part(np.zeros(SR, np.float32), SR) == (0, SR)


def test_what_can_not_be_mixed_is_refused() -> None:
    with pytest.raises(DatasetError, match="clip of 'x' is silent"):
        as_sound("x", np.zeros(SR, np.float32), SR)
    with pytest.raises(DatasetError, match="background is silent"):
        list(mix(sounds(2), [[np.zeros(SR, np.float32)]], SR, (0, 9), np.random.default_rng(0)))
    assert len(as_sound("x", noise(SR * 400), SR).y) == 30 * SR
    assert len(as_sound("x", noise(20), SR).y) == 20


def test_of_a_long_background_any_part_is_taken_at_the_level_of_a_room() -> None:
    room = np.concatenate([noise(SR * 400, 1, 1e-4), noise(SR * 400, 2, 0.1)])
    levels = []
    for seed in range(4):
        (soundscape,) = mix(sounds(1), [[room]], SR, (0, 0), np.random.default_rng(seed))
        rms = float(np.sqrt(np.mean(soundscape.y[: 4 * SR].astype(float) ** 2)))
        levels.append(20 * np.log10(rms))
    assert len({round(level, 1) for level in levels}) == 4
    assert max(levels) < -39.0


def test_noises_differ_and_are_of_one_level() -> None:
    made = noises(SR, 3.0, np.random.default_rng(0))
    assert len(made) == 5
    for y in made:
        assert y.dtype == np.float32
        assert float(np.sqrt(np.mean(y * y))) == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("dated", [{}, {"onset_ground": 0.5, "onset_back_seconds": 0.3}])
def test_what_is_decided_later_is_what_the_pipeline_decides(dated: dict[str, float]) -> None:
    """Figures are those of the live pipeline, whatever thresholds are tried."""
    bundle = small_bundle(decision=decision(3, smoothing_scores=2, max_on_seconds=0.7, **dated))
    level = 10.0 ** np.repeat(np.random.default_rng(1).uniform(-4, 0, 40), 900)
    y = (noise(36000, 1, 1.0) * level).astype(np.float32)
    pipe = Pipeline(bundle, FakeClassifier())
    items = [*pipe.process(y), *pipe.flush()]
    live = paired([item for item in items if isinstance(item, Event)])
    predictions = predictions_of(bundle, FakeClassifier(), y)
    assert len(live) > 3
    assert decide(predictions, bundle.decision) == live
    assert decide(predictions_of(bundle, FakeClassifier(), y[:10]), bundle.decision) == []


def heard_scores(scores: list[float]) -> Predictions:
    sample = np.arange(1, len(scores) + 1) * 100
    values = np.array(scores, np.float32)[:, None]
    return Predictions(("x",), 1000, int(sample[-1]), sample, values, sample - 50)


def test_the_naive_rule() -> None:
    found = naive(heard_scores([0.1, 0.6, 0.7, 0.2, 0.9]))
    assert found == [Detection("x", 0.2, 0.4, 0.2), Detection("x", 0.5, 0.5, 0.5)]
    assert naive(heard_scores([0.1, 0.2])) == []


def test_thresholds_keep_their_hysteresis() -> None:
    params = decision(2, on_thresholds=(0.6, 0.8), off_thresholds=(0.3, 0.2))
    assert at_threshold(params, 0.4).off_thresholds == pytest.approx((0.2, 0.1))
    assert at_thresholds(params, (1.0, 0.4)).off_thresholds == pytest.approx((0.5, 0.1))


TRUTHS = (Truth("a", 1.0, 3.0, 10.0), Truth("b", 5.0, 6.0, 3.0), Truth("a", 8.0, 9.0, 3.0))


def judged(*found: tuple[str, float, float]) -> list[Judged]:
    detections = tuple(Detection(label, on, off, on + 0.5) for label, on, off in found)
    return [Judged("one", 20.0, TRUTHS, detections)]


def test_event_figures_by_hand() -> None:
    # One within 0.5 s, one within 2 s, a wrong label, and one that is nowhere.
    j = judged(("a", 1.3, 2.0), ("b", 6.5, 7.0), ("b", 8.0, 9.0), ("a", 15.0, 16.0))
    narrow, wide = event_figures("ab", j, 0.5), event_figures("ab", j, 2.0)
    assert (narrow["precision"], narrow["recall"]) == (0.25, 0.3333)
    assert narrow["f1"] == pytest.approx(2 / 7, abs=1e-4)
    assert (wide["precision"], wide["recall"]) == (0.5, 0.6667)
    assert narrow["by_label"]["b"]["f1"] == 0.0
    assert narrow["by_label"]["a"]["recall"] == 0.5
    nothing = event_figures("ab", judged(), 1.0)
    assert nothing["f1"] == nothing["precision"] == nothing["recall"] == 0.0


def test_segment_figures_by_hand() -> None:
    # Truth fills segments 1, 2 (a), 5 (b), 8 (a); found 1, 2 (a), 15 (a).
    values = segment_figures("ab", judged(("a", 1.0, 3.0), ("a", 15.0, 16.0)))
    assert (values["precision"], values["recall"]) == (0.6667, 0.5)


def test_psds_of_all_and_of_nothing() -> None:
    perfect = judged(*((t.label, t.onset, t.offset) for t in TRUTHS))
    assert psds(perfect, [perfect]) == pytest.approx(1.0)
    assert psds(perfect, [judged()]) == 0.0
    half = judged(("a", 1.0, 3.0), ("b", 5.0, 6.0))  # one of two a, all b
    assert psds(perfect, [half]) == pytest.approx(0.75)
    # 180 false ones an hour count nothing below 100 an hour.
    noisy = judged(*((t.label, t.onset, t.offset) for t in TRUTHS), ("a", 12.0, 13.0))
    assert psds(perfect, [noisy]) == pytest.approx(0.5)  # of b all, with no false one


def test_figures_are_those_of_the_libraries() -> None:
    """sed_eval's and psds_eval's, frozen by tests/support/detection_cases.py."""
    for (judged, points), expected in zip(cases(), json.loads(EXPECTED.read_text()), strict=True):
        for collar in COLLARS_SECONDS:
            found = event_figures(LABELS, judged, collar)
            rows = [found, *(found["by_label"][label] for label in LABELS)]
            values = [[row[k] for k in ("f1", "precision", "recall")] for row in rows]
            np.testing.assert_allclose(values, expected[str(collar)], rtol=0.0, atol=5.1e-5)
        segments = list(segment_figures(LABELS, judged).values())
        np.testing.assert_allclose([segments], expected["segments"], rtol=0.0, atol=5.1e-5)
        assert psds(points[0], points) == pytest.approx(expected["psds"], abs=1e-9)


def test_false_alarms_come_with_their_limit() -> None:
    """By the chi-square distribution: 5.99 / 2, 9.49 / 2 and 31.41 / 2 alarms."""
    quiet = alarm_rate(0, 2.5)
    assert quiet == {"hours": 2.5, "false_alarms": 0, "per_hour": 0.0, "limit_per_hour": 1.2}
    assert alarm_rate(1, 1.0)["limit_per_hour"] == 4.74
    assert alarm_rate(9, 0.5)["limit_per_hour"] == 31.41


def test_delays_of_what_was_found() -> None:
    delay, error = delays(judged(("a", 1.25, 2.0), ("a", 1.5, 2.0), ("b", 9.0, 9.5)), 1.0)
    assert delay == [0.75]
    assert error == [0.25]


def test_real_sounds_over_noise_begin_where_they_begin(esc10: Path) -> None:
    """How events are dated; what is found on clips that were not trained on is the README's."""
    bundle = load_bundle(DEFAULT_MODEL)
    sr = bundle.features.sr
    clips = [clip for clip in load_dataset(str(esc10)).clips if clip.fold == 1][:40]
    made = [as_sound(clip.label, read_clip(clip, sr), sr) for clip in clips]
    rng = np.random.default_rng(0)
    found = list(mix(made, [noises(sr, 20.0, rng)], sr, (20.0, 20.0), rng))
    judgements = []
    for soundscape in found:
        pipe = Pipeline(bundle)
        items = [*pipe.process(soundscape.y), *pipe.flush()]
        events = tuple(paired([item for item in items if isinstance(item, Event)]))
        seconds = len(soundscape.y) / sr
        judgements.append(Judged(soundscape.name, seconds, soundscape.truths, events))
    figures = event_figures(bundle.labels, judgements, 1.0)
    assert figures["f1"] > 0.65
    delay, error = delays(judgements, 1.0)
    assert float(np.median(np.abs(error))) < 0.1
    assert float(np.median(delay)) < 1.2
