"""A scan's parts: finding recordings, classifying them, keeping what is done."""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp

import fsspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otic import Bundle
from otic.audio.sources import FileSource
from otic.detection.decide import NO_ONSET, ScoreKeeper, ScoreTable, decide, onsets_from
from otic.detection.detector import EventDetector
from otic.errors import ParameterError, RuntimeMissingError, SinkError
from otic.scan import task as task_module
from otic.scan.again import decide_again, run_with_scores
from otic.scan.find import Problem, Recording, find
from otic.scan.folder import Ledger, Run, find_runs, open_run, read_run_scores
from otic.scan.run import Plan, Share
from otic.scan.summary import Progress, summary
from otic.scan.tables import FORMATS
from otic.scan.task import Job, Worker
from otic.types import Chunk, Event, Scores
from tests.support.helpers import F32, decision
from tests.support.scans import BUNDLES, SR, expected_rows, replayed, rows, sound, write

WINDOWS = BUNDLES["windows"]


def recordings(*names: str | Path) -> list[Recording]:
    found = list(find([str(name) for name in names]))
    assert all(isinstance(each, Recording) for each in found), found
    return [each for each in found if isinstance(each, Recording)]


def scanned(
    out: Path,
    bundle: Bundle,
    *names: str | Path,
    scores: bool = False,
    kind: str | None = None,
) -> Run:
    """One task with all that is found and not done."""
    run = open_run(out, bundle, None, kind, scores)
    ledger = Ledger(run, "1of1")
    worker = Worker(Job(bundle, run.path, run.format, None, run.scores))
    plan = Plan([str(name) for name in names], ledger, Share())
    for number, task in enumerate(plan.tasks(plan.survey(), 1)):
        worker.run(f"1of1-{number}", task)
    ledger.close()
    return run


@pytest.mark.parametrize("name", BUNDLES)
def test_events_are_those_of_a_replay(name: str, tmp_path: Path) -> None:
    bundle = BUNDLES[name]
    whole, broken = sound(8, 1), sound(8, 2)
    broken[9000:9700] = np.nan
    paths = [
        write(tmp_path / "in/a.wav", whole),
        write(tmp_path / "in/b/a.wav", broken),
        write(tmp_path / "in/c.flac", sound(5, 3), 16000, "PCM_16"),
    ]
    run = scanned(tmp_path / "out", bundle, tmp_path / "in")
    assert rows(run) == expected_rows(bundle, paths)
    assert len({row[1] for row in rows(run)}) > 1
    assert [row[1:] for row in rows(run, "gaps")] == [(9000, 700)]
    assert [row[4:8] for row in rows(run, "files")] == [
        (SR, 1, 8.0, 0.0),
        (SR, 1, 8.0, 0.0875),
        (16000, 1, 2.5, 0.0),
    ]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Recordings whole, damaged, with gaps, of another rate, too short, and no sound."""
    folder = tmp_path_factory.mktemp("mixed")
    broken = sound(3, 2)
    broken[9000:9700] = np.nan
    paths = [
        write(folder / "a.wav", sound(3, 1)),
        write(folder / "broken.wav", broken),
        write(folder / "cut.wav", sound(3, 3)),
        write(folder / "other.flac", sound(2, 4), 16000, "PCM_16"),
        write(folder / "short.wav", sound(0.05)),
        folder / "text.wav",
    ]
    paths[2].write_bytes(paths[2].read_bytes()[:70_001])
    paths[-1].write_text("no sound")
    return paths


@pytest.mark.parametrize("name", BUNDLES)
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)), cuts=st.sets(st.integers(1, 5)))
def test_any_division_into_tasks_gives_the_same_rows(
    name: str, order: list[int], cuts: set[int], mixed: list[Path], tmp_path: Path
) -> None:
    """Whatever a worker did before leaves no trace, in the windows, the state or the resampler."""
    bundle = BUNDLES[name]
    run = open_run(Path(mkdtemp(dir=tmp_path)) / "out", bundle)
    worker = Worker(Job(bundle, run.path))
    found = recordings(*mixed)
    for number, (start, stop) in enumerate(pairwise([0, *sorted(cuts), 6])):
        worker.run(str(number), [found[i] for i in order[start:stop]])
    whole = scanned(Path(mkdtemp(dir=tmp_path)) / "out", bundle, *mixed)
    assert len(whole.parts()) == 1
    for table in ("events", "files", "errors", "gaps"):
        assert rows(run, table) == rows(whole, table)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", BUNDLES)
def test_scores_are_kept_to_the_bit(name: str, kind: str, tmp_path: Path) -> None:
    bundle = BUNDLES[name]
    paths = [write(tmp_path / f"in/{i}.wav", sound(8, i)) for i in range(2)]
    run = scanned(tmp_path / "out", bundle, *paths, scores=True, kind=kind)
    kept = kept_scores(run)
    for path in paths:
        scores = [item for item in replayed(bundle, path) if isinstance(item, Scores)]
        samples, numbers = kept[str(path)]
        assert samples == [item.sample for item in scores]
        assert np.array_equal(
            numbers, np.array([list(item.scores.values()) for item in scores], np.float32)
        )


def kept_scores(run: Run) -> dict[str, tuple[list[int], F32]]:
    """Samples and scores by file."""
    kept: dict[str, list[ScoreTable]] = {}
    for part in run.parts():
        for file, table in read_run_scores(run, part):
            kept.setdefault(file, []).append(table)
    return {
        file: (
            np.concatenate([table.samples for table in tables]).tolist(),
            np.concatenate([table.scores for table in tables]),
        )
        for file, tables in kept.items()
    }


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", BUNDLES)
def test_events_from_kept_scores_are_those_of_another_scan(
    name: str, kind: str, tmp_path: Path
) -> None:
    bundle = BUNDLES[name]
    broken = sound(8, 2)
    broken[9000:9700] = np.nan
    write(tmp_path / "in/a.wav", sound(8, 1))
    write(tmp_path / "in/b.wav", broken)
    write(tmp_path / "in/short.wav", sound(0.05))
    (tmp_path / "in/text.wav").write_text("no sound")
    first = scanned(tmp_path / "out", bundle, tmp_path / "in", scores=True, kind=kind)
    decided = bundle.decision
    for i, value in enumerate(decided.on_thresholds):
        decided = decided.with_threshold(i, value * (1.01 if name == "state" else 1.4))
    other = replace(bundle, decision=decided)
    again = open_run(tmp_path / "out", other, None, kind, False)
    source = run_with_scores(tmp_path / "out", other, None)
    assert source.path == first.path
    for count in (4, 0):
        ledger = Ledger(again, "1of1")
        assert decide_again(source, again, ledger) == count
        ledger.close()
    expected = scanned(tmp_path / "direct", other, tmp_path / "in", kind=kind)
    assert rows(again) != rows(first)
    for table in ("events", "files", "errors", "gaps"):
        assert rows(again, table) == rows(expected, table)


LABELS = ("a", "b")


@settings(max_examples=60)
@given(
    steps=st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), min_size=1, max_size=60),
    gaps=st.sets(st.integers(1, 59), max_size=3),
    back=st.booleans(),
    smoothing=st.integers(1, 4),
    thresholds=st.tuples(st.sampled_from([0.3, 0.6, 1.0]), st.sampled_from([0.3, 0.8])),
    blocks=st.integers(1, 30),
)
def test_events_are_decided_again_from_kept_scores(
    steps: list[tuple[int, int]],
    gaps: set[int],
    back: bool,
    smoothing: int,
    thresholds: tuple[float, float],
    blocks: int,
) -> None:
    """Also with other thresholds than those that the scores were kept with."""
    dated = {"onset_ground": 0.4, "onset_back_seconds": 3.0} if back else {}
    first = decision(2, smoothing_scores=smoothing, **dated)
    other = first
    for i, value in enumerate(thresholds):
        other = other.with_threshold(i, value)
    keeper = ScoreKeeper(EventDetector(LABELS, first, 10), onsets_from(first))
    direct, expected = EventDetector(LABELS, other, 10), list[Event]()
    sample, lost, tables = 0, [], []
    keeper.start(0)
    direct.start(0)
    for i, step in enumerate(steps):
        if i in gaps:
            keeper.close(sample)
            expected += direct.close(sample)
            lost.append((sample, 7))
            sample += 7
            keeper.start(sample)
            direct.start(sample)
        sample += 5
        scores = (np.array(step) / 10).astype(np.float32)
        began = sample - 3 - i % 4
        keeper.update(sample, scores, lambda began=began: began)  # type: ignore[misc]
        expected += direct.update(sample, scores, lambda began=began: began)[1]  # type: ignore[misc]
        if len(keeper) >= blocks:
            tables.append(keeper.take())
    expected += direct.close(sample)
    tables.append(keeper.take())
    assert decide(LABELS, other, 10, tables, lost, sample, onsets_from(first)) == expected


def test_thresholds_below_the_onsets_that_are_kept_are_refused() -> None:
    low = decision(1, on_thresholds=(0.05,), off_thresholds=(0.05,))
    with pytest.raises(ParameterError, match=r"kept from a score of 0\.1 on.*from 0\.05"):
        decide(("a",), low, 10, [], [], 0, onsets_from(decision(1)))


def test_onsets_are_looked_for_only_where_a_score_is_high() -> None:
    keeper = ScoreKeeper(EventDetector(("a",), decision(1, smoothing_scores=1), 10), 0.1)
    keeper.start(0)
    for sample, score in ((1, 0.05), (2, 0.2)):
        keeper.update(sample, np.array([score], np.float32), lambda: 7)
    table = keeper.take()
    assert isinstance(table, ScoreTable)
    assert table.onsets.tolist() == [NO_ONSET, 7]
    assert len(keeper) == 0


def test_folders_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("in/b.WAV", "in/a/x.flac", "in/z.wav", "in/notes.txt", "in/.hidden/y.wav"):
        write_stub(tmp_path / name)
    write_stub(tmp_path / "elsewhere/y.wav")
    (tmp_path / "in/linked").symlink_to("../elsewhere")
    (tmp_path / "in/twice").symlink_to("../elsewhere")
    (tmp_path / "in/a/loop").symlink_to("../../in")
    (tmp_path / "in/broken.wav").symlink_to("nowhere.wav")
    (tmp_path / "in/itself").symlink_to("itself")
    os.mkfifo(tmp_path / "in/pipe.wav")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    names = ["in", "in/z.wav", "in/*.txt", "no*.wav", "gone.wav", "empty"]
    found = [(each.path.removeprefix(f"{tmp_path}/"), each) for each in find(names)]
    good = [path for path, each in found if isinstance(each, Recording)]
    bad = {path: each.reason for path, each in found if isinstance(each, Problem)}
    assert good == ["in/b.WAV", "in/z.wav", "in/a/x.flac", "in/linked/y.wav"]
    assert {key: reason[:24] for key, reason in bad.items()} == {
        "empty": "it has no audio files (.",
        "gone.wav": "No such file or director",
        "in/a/loop": "it leads back into a fol",
        "in/broken.wav": "No such file or director",
        "in/itself": "Too many levels of symbo",
        "in/pipe.wav": "it is no file",
        "no*.wav": "no file matches this pat",
    }


def test_a_folder_of_many_files_takes_memory_for_their_names(tmp_path: Path) -> None:
    for i in range(3000):
        (tmp_path / f"20240101_{i:06}.wav").touch()
    tracemalloc.start()
    try:
        assert sum(1 for _ in find([str(tmp_path)])) == 3000
        assert tracemalloc.get_traced_memory()[1] < 3000 * 150
    finally:
        tracemalloc.stop()


def write_stub(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"stub")


def test_recordings_behind_urls_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From fsspec's store in memory; of what is fetched nothing stays."""
    store = fsspec.filesystem("memory")
    for i, name in enumerate(("b.wav", "a/20240701_060000.flac", "a/cut.wav", ".hidden/x.wav")):
        path = write(tmp_path / "in" / name, sound(3, i), subtype="PCM_16")
        if name == "a/cut.wav":
            path.write_bytes(path.read_bytes()[:20_000])
        store.pipe(f"/scan/in/{name}", path.read_bytes())
    store.pipe("/scan/in/a/notes.txt", b"no sound")
    url = "memory://scan/in"
    asked = (
        url,
        f"{url}/a",
        f"{url}/*.wav",
        f"{url}/a/notes.txt",
        "memory://gone",
        f"{url}/a*.wav",
    )
    found = {each.path: each for each in find(asked)}
    assert [path for path, each in found.items() if isinstance(each, Problem)] == [
        "memory://gone",
        f"{url}/a*.wav",
    ]
    assert sorted(path for path, each in found.items() if isinstance(each, Recording)) == [
        f"{url}/a/20240701_060000.flac",
        f"{url}/a/cut.wav",
        f"{url}/a/notes.txt",
        f"{url}/b.wav",
    ]
    run = scanned(tmp_path / "out", WINDOWS, url)
    local = scanned(tmp_path / "local", WINDOWS, tmp_path / "in")
    assert [(f"{tmp_path}/in{row[0].removeprefix(url)}", *row[1:]) for row in rows(run)] == rows(
        local
    )
    files = {row[0]: row for row in rows(run, "files")}
    assert files[f"{url}/a/20240701_060000.flac"][9] == "2024-07-01T06:00:00.000+00:00"
    assert [file for file, _ in rows(run, "errors")] == [f"{url}/a/cut.wav"]
    assert list((run.path / "writing").iterdir()) == []
    assert not Plan([url], Ledger(run, "1of1"), Share()).survey().files

    def fails(*_: object) -> None:
        raise ValueError("the other side has a bad day")

    monkeypatch.setattr(type(store), "get_file", fails)
    run = scanned(tmp_path / "again", WINDOWS, f"{url}/b.wav")
    assert rows(run, "errors") == [
        (f"{url}/b.wav", "can't read it: ValueError: the other side has a bad day")
    ]
    assert rows(run, "files") == []


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("sftp://me:secret@host/x", ParameterError, "a URL with a password would be written"),
        ("nothing://x/y.wav", ParameterError, "'nothing://x/y.wav' can't be read: Protocol not"),
        ("s3://bucket/x", RuntimeMissingError, r"s3:// needs .* pip install 'otic\[cloud\]'"),
    ],
)
def test_urls_that_nobody_reads_are_refused(
    url: str, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(error, match=words):
        list(find([url]))


def test_damaged_files_are_errors_and_the_rest_goes_on(tmp_path: Path) -> None:
    whole = write(tmp_path / "in/a.wav", sound(3, 1))
    cut = write(tmp_path / "in/cut.wav", sound(6, 1))
    cut.write_bytes(cut.read_bytes()[: 4 * 3 * SR])
    (tmp_path / "in/text.wav").write_text("no sound")
    (tmp_path / "in/zero.wav").touch()
    run = scanned(tmp_path / "out", WINDOWS, tmp_path / "in")
    errors = {Path(file).name: reason for file, reason in rows(run, "errors")}
    assert set(errors) == {"cut.wav", "text.wav", "zero.wav"}
    assert "could be read and were classified" in errors["cut.wav"]
    assert errors["zero.wav"].endswith("zero.wav' is empty: it has 0 bytes")
    assert {Path(row[0]) for row in rows(run)} == {whole, cut}
    lines, n_errors = summary(run)
    assert n_errors == 3
    assert lines[-1].startswith(f"     3  {tmp_path}/in: 'cut.wav' is damaged")
    assert lines[1].split()[-1] == "2"


def test_what_may_pass_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "in/a.wav", sound(3, 1))
    other = write(tmp_path / "in/b.wav", sound(3, 2))
    real = task_module._content

    def fails(name: str) -> str:
        if name == str(path):
            raise OSError(5, "Input/output error")
        os.utime(name, ns=(1, 1))
        return real(name)

    monkeypatch.setattr(task_module, "_content", fails)
    run = scanned(tmp_path / "out", WINDOWS, tmp_path / "in", scores=True)
    assert rows(run) == []
    assert rows(run, "errors") == [
        (str(path), "can't read it: Input/output error"),
        (str(other), "it changed while it was read"),
    ]
    monkeypatch.setattr(task_module, "_content", real)
    run = scanned(tmp_path / "out", WINDOWS, tmp_path / "in", scores=True)
    assert rows(run) == expected_rows(WINDOWS, [path, other])
    assert rows(run, "errors") == []
    assert set(kept_scores(run)) == {str(path), str(other)}


def grows(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(4000))


def shrinks(path: Path) -> None:
    os.truncate(path, 20_000)


def is_written_again(path: Path) -> None:
    write(path, sound(3, 7))


@pytest.mark.parametrize("deed", [Path.unlink, shrinks, grows, is_written_again])
def test_a_recording_that_changes_while_it_is_read_is_not_done(
    deed: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "in/a.wav", sound(3, 1))
    other = write(tmp_path / "in/b.wav", sound(3, 2))
    chunks = FileSource.chunks

    def changed(source: FileSource) -> Iterator[Chunk | None]:
        for number, chunk in enumerate(chunks(source)):
            yield chunk
            if number == 0 and source.name == "a.wav":
                deed(path)

    monkeypatch.setattr(FileSource, "chunks", changed)
    monkeypatch.setattr(task_module, "FAST_BLOCK", 1000)
    run = scanned(tmp_path / "out", WINDOWS, tmp_path / "in", scores=True)
    assert rows(run, "errors") == [(str(path), "it changed while it was read")]
    assert rows(run) == expected_rows(WINDOWS, [other])
    assert [row[0] for row in rows(run, "files")] == [str(other)]
    monkeypatch.undo()
    run = scanned(tmp_path / "out", WINDOWS, tmp_path / "in", scores=True)
    assert [row[0] for row in rows(run, "files")] == sorted(map(str, (tmp_path / "in").iterdir()))


def test_only_what_is_missing_is_done(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"in/{i}.wav", sound(3, i)) for i in range(3)]
    scanned(tmp_path / "out", WINDOWS, paths[0])
    run = scanned(tmp_path / "out", WINDOWS, tmp_path / "in")
    assert len(run.parts()) == 2
    before = {part: part.stat().st_mtime_ns for part in run.parts()}
    scanned(tmp_path / "out", WINDOWS, tmp_path / "in")
    assert {part: part.stat().st_mtime_ns for part in run.parts()} == before
    write(paths[1], sound(4, 9))
    scanned(tmp_path / "out", WINDOWS, tmp_path / "in")
    assert rows(run) == expected_rows(WINDOWS, paths)
    assert len(rows(run, "files")) == 3


def test_other_thresholds_and_channels_go_beside(tmp_path: Path) -> None:
    path = write(tmp_path / "in/a.wav", sound(3, 1))
    run = scanned(tmp_path / "out", WINDOWS, path)
    before = rows(run)
    other = replace(WINDOWS, decision=WINDOWS.decision.with_threshold(0, 0.9))
    assert scanned(tmp_path / "out", other, path).path != run.path
    assert open_run(tmp_path / "out", WINDOWS, 1, None, False).path != run.path
    assert rows(run) == before
    assert len(find_runs(tmp_path / "out")) == 3


def test_what_a_killed_scan_left_is_removed(tmp_path: Path) -> None:
    path = write(tmp_path / "in/a.wav", sound(3, 1))
    run = open_run(tmp_path / "out", WINDOWS, None, None, False)
    left = run.path / "writing" / "1of1-host-1-1"
    left.mkdir(parents=True)
    (left / "events.csv").write_text("half of a")
    run = scanned(tmp_path / "out", WINDOWS, path)
    assert not left.exists()
    assert rows(run) == expected_rows(WINDOWS, [path])


def test_a_part_that_is_there_already_stays(tmp_path: Path) -> None:
    """Two workers may do the same task, where one was given up for dead."""
    found = recordings(write(tmp_path / "in/a.wav", sound(3, 1)))
    run = open_run(tmp_path / "out", WINDOWS, None, None, False)
    worker = Worker(Job(WINDOWS, run.path))
    worker.run("a", found)
    worker.run("b", found)
    assert len(run.parts()) == 1
    assert list((run.path / "writing").iterdir()) == []


def test_shares_are_disjoint_and_whole(tmp_path: Path) -> None:
    for i in range(20):
        write_stub(tmp_path / f"{i}.wav")
    shares = [
        {each.path for task in plan.tasks(plan.survey(), 1) for each in task}
        for plan in (Plan([str(tmp_path)], None, Share(i, 3)) for i in (1, 2, 3))
    ]
    assert sorted(path for share in shares for path in share) == sorted(
        each.path for each in recordings(tmp_path)
    )
    assert all(shares)


def test_folders_that_are_no_scan_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("mine")
    with pytest.raises(SinkError, match="holds something else than a scan"):
        open_run(tmp_path, WINDOWS, None, None, False)
    (tmp_path / "scan.json").write_text('{"scan": 99}')
    with pytest.raises(SinkError, match="is a scan of format 99, this otic writes format 1"):
        open_run(tmp_path, WINDOWS, None, None, False)
    out = tmp_path / "out"
    run = open_run(out, WINDOWS, None, None, False)
    with pytest.raises(SinkError, match="was begun without scores"):
        open_run(out, WINDOWS, None, None, True)
    with pytest.raises(SinkError, match="holds csv"):
        open_run(out, WINDOWS, None, "parquet", False)
    ledger = Ledger(run, "1of1")
    with pytest.raises(SinkError, match="another scan writes to"):
        Ledger(run, "1of1")
    ledger.close()
    (run.path / "run.json").write_text('{"model": 3}')
    with pytest.raises(SinkError, match=r"run\.json' is damaged \(model is 3\)"):
        find_runs(out)


def test_a_full_disk_leaves_nothing_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = recordings(write(tmp_path / "in/a.wav", sound(3, 1)))
    run = open_run(tmp_path / "out", WINDOWS, None, None, False)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SinkError, match="No space left on device: make room"):
        Worker(Job(WINDOWS, run.path)).run("a", found)
    assert run.parts() == []


def test_a_disk_that_is_full_at_once_is_no_scan_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SinkError, match="No space left on device: name a folder"):
        open_run(tmp_path / "out", WINDOWS)
    monkeypatch.undo()
    assert open_run(tmp_path / "out", WINDOWS).parts() == []


def test_progress_says_how_far_it_is(tmp_path: Path, said: list[str]) -> None:
    write(tmp_path / "a.wav", sound(2))
    now = [0.0]
    progress = Progress(Plan([str(tmp_path)], None, Share()).survey(), lambda: now[0])
    now[0] = 30.0
    progress.tick()
    assert said == []
    now[0] = 61.0
    done = task_module.Done(1, 32044, 610.0, [("x", "y")])
    progress.add(done)
    assert said[0].startswith("1 of 1 files, 0.17 h of audio, 10 × real time, ")
    assert said[0].endswith(" left, 1 errors")
