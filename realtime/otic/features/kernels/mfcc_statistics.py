"""The kernel that turns a window of log-mel frames into rolling MFCC statistics."""

from __future__ import annotations

from functools import cache

import numpy as np

from otic.features.kernels.jit import Kernel, entry, inner
from otic.features.kernels.log_mel import LOWS, N_MELS, PEAKS, RING, STALE, WINDOW_FRAMES, product
from otic.features.kernels.simd import LANES, section

_at = np.uint64  # see otic.features.kernels.fft


@inner()
def _mel_sums(ring, n_frames, n_mels, oldest, floor, sums):  # type: ignore[no-untyped-def]
    """Sum over the frames, oldest first, of the clamped log-mel values, in float64."""
    for m in range(n_mels):
        sums[_at(m)] = 0.0
    for i in range(n_frames):
        row = oldest + i if oldest + i < n_frames else oldest + i - n_frames
        frame = section(ring, row * n_mels, n_mels)
        for m in range(n_mels):
            sums[_at(m)] += np.float64(max(frame[_at(m)], floor))


@inner()
def _mean_mfcc(sums, n_frames, dct, mean):  # type: ignore[no-untyped-def]
    """DCT of the mean frame; dct : float64 [n_mels, n_mfcc]."""
    n_mels, n_mfcc = dct.shape
    for c in range(n_mfcc):
        mean[_at(c)] = 0.0
    for m in range(n_mels):
        value = sums[_at(m)] / n_frames
        for c in range(n_mfcc):
            mean[_at(c)] += dct[_at(m), _at(c)] * value


@inner()
def _refresh(ring, stale, lows, floor, n_mels, basis, groups, clamped, mfcc):  # type: ignore[no-untyped-def]
    """Bring each frame's MFCCs up to date, in ``mfcc``, float32 [n_frames, n_mfcc or more].

    They depend on the window only through the clamp, so a frame keeps those it
    has unless it is new (its entry in ``stale`` is 1) or is clamped, now or
    then (2). A frame's MFCCs never depend on what was kept.
    """
    n_frames, n_groups = mfcc.shape[0], mfcc.shape[1] // LANES
    for row in range(n_frames):
        is_clamped = lows[_at(row)] < floor
        if stale[_at(row)] == 0.0 and not is_clamped:
            continue
        for m in range(n_mels):
            clamped[_at(m)] = max(ring[_at(row * n_mels + m)], floor)
        product(basis, groups, n_groups, clamped, mfcc[_at(row)])
        stale[_at(row)] = 2.0 if is_clamped else 0.0


@inner()
def _spread_and_differences(mfcc, oldest, sums):  # type: ignore[no-untyped-def]
    """Fill rows 1 to 3 of ``sums``, float64 [4, n_mfcc]; row 0 holds the mean."""
    n_frames, n_mfcc = mfcc.shape[0], sums.shape[1]
    for c in range(n_mfcc):
        sums[1, _at(c)] = sums[2, _at(c)] = sums[3, _at(c)] = 0.0
    last = oldest
    for i in range(n_frames):
        row = oldest + i if oldest + i < n_frames else oldest + i - n_frames
        for c in range(n_mfcc):
            value = np.float64(mfcc[_at(row), _at(c)])
            step = value - np.float64(mfcc[_at(last), _at(c)])
            sums[1, _at(c)] += (value - sums[0, _at(c)]) ** 2
            sums[2, _at(c)] += abs(step)
            sums[3, _at(c)] += step * step
        last = row
    steps = max(1, n_frames - 1)
    for c in range(n_mfcc):
        sums[1, _at(c)] = np.sqrt(sums[1, _at(c)] / n_frames)
        sums[2, _at(c)] /= steps
        sums[3, _at(c)] = np.sqrt(sums[3, _at(c)] / steps)


@cache
def make_rolling_statistics() -> Kernel:
    """The kernel ``rolling_statistics``: see its docstring."""

    @entry(
        "rolling_statistics",
        "void(int64[::1], int64, float64, float64[:, ::1], float32[::1],"
        " int64[::1], float32[::1], float32[:, ::1], float64[::1], float64[:, ::1],"
        " int64[::1], float32[::1])",
    )
    def rolling_statistics(  # type: ignore[no-untyped-def]
        state,
        oldest,
        top_db,
        dct,
        basis,
        groups,
        clamped,
        mfcc,
        mel_sums,
        sums,
        selected,
        out,
    ):
        """Statistics over the whole ring of the MFCCs, clamped at its maximum - top_db.

        The clamp depends on every frame in the window, so nothing is carried
        over from one call to the next: the result can't drift. The DCT is
        linear, so the mean MFCC is the DCT of the mean clamped log-mel frame:
        one DCT. The other statistics are not linear and need one for each frame.

        Frames are added oldest first, so that the sums do not depend on where in
        the ring the window begins. Sums are float64.

        state : as in `otic.features.kernels.log_mel`.
        oldest : the row of the oldest frame.
        dct : float64 [n_mels, n_mfcc].
        basis, groups : float32 and int64, its transpose from `filters.pack_rows`.
        clamped : float32, scratch as wide as that reaches, 0 behind n_mels.
        mfcc : float32 [window_frames, n_mfcc rounded up to LANES], kept from call to call.
        mel_sums, sums : float64 [n_mels] and [4, n_mfcc], scratch.
        selected : int64, the statistics wanted: 0 the mean, 1 the standard
            deviation, 2 the mean absolute and 3 the root mean square difference.
        out : float32 [len(selected) * n_mfcc], the result.
        """
        arena = state.view(np.float32)
        n_frames, n_mels = state[WINDOW_FRAMES], state[N_MELS]
        n_mfcc = dct.shape[1]
        ring = section(arena, state[RING], n_frames * n_mels)
        peaks = section(arena, state[PEAKS], n_frames)
        floor = np.float32(np.max(peaks) - top_db)
        _mel_sums(ring, n_frames, n_mels, oldest, floor, mel_sums)
        _mean_mfcc(mel_sums, n_frames, dct, sums[0])
        if selected.shape[0] > 1 or selected[0] != 0:
            stale = section(arena, state[STALE], n_frames)
            lows = section(arena, state[LOWS], n_frames)
            _refresh(ring, stale, lows, floor, n_mels, basis, groups, clamped, mfcc)
            _spread_and_differences(mfcc, oldest, sums)
        for s in range(selected.shape[0]):
            for c in range(n_mfcc):
                out[_at(s * n_mfcc + c)] = sums[_at(selected[s]), _at(c)]

    return rolling_statistics
