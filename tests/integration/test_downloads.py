"""Downloads are resumed, checked, and never leave half a data set under its name."""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import random
import re
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from otic import OticError
from otic.cli.main import main
from otic.model.archive import attach
from otic.model.bundle import load_bundle
from otic_training.cli.download import download
from otic_training.data.download import MIRROR, ORIGINALS, Original, content_hash
from otic_training.data.yamnet import PUBLISHED, download_yamnet
from otic_training.networks.base_model import Base
from otic_training.networks.presets import YAMNET, YAMNET_HOP_FRAMES

NAMES = [f"{fold}-{10 * fold + label}-A-{label}.wav" for fold in (1, 2) for label in (0, 1)]
HEADER = "filename,fold,target,category,esc10,src_file,take\n"
ROWS = [f"{n},{n[0]},{n[-5]},{'ab'[int(n[-5])]},True,{n.split('-')[1]},A\n" for n in NAMES]
LINE = "- [{}]: clip derived from x (http://www.freesound.org/people/x/sounds/1/) by x [CC0]\n"
LICENSE = "".join(LINE.format(name.replace(".wav", ".ogg")) for name in NAMES)
FILES = {"meta/esc50.csv": (HEADER + "".join(ROWS)).encode(), "LICENSE": LICENSE.encode()} | {
    f"audio/{name}": random.Random(name).randbytes(50_000) for name in NAMES
}
URBAN_ROWS = "".join(f"{n},{n.split('-')[1]},{n[0]},{'ab'[int(n[-5])]}\n" for n in NAMES)
URBAN = {
    "metadata/UrbanSound8K.csv": b"slice_file_name,fsID,fold,class\n" + URBAN_ROWS.encode()
} | {f"audio/fold{name[0]}/{name}": random.Random(name).randbytes(50_000) for name in NAMES}


class Server(ThreadingHTTPServer):
    """Serves bytes by path; notes what ranges were asked for."""

    daemon_threads = True
    files: dict[str, bytes]
    ranges: list[str | None]
    can_resume: bool
    break_after: int | None  # bytes of a body, and then it closes


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        body = self.server.files.get(self.path)
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if body is None:
            self.send_error(500 if "broken" in self.path else 404)
            return
        start = int(asked[6:-1]) if asked and self.server.can_resume else 0
        if start and start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:][: self.server.break_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as found:
        found.files, found.ranges, found.can_resume, found.break_after = {}, [], True, None
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def zipped(files: dict[str, bytes], top: str = "ESC-50-1234/") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.mkdir(top)
        for name, content in files.items():
            archive.writestr(top + name, content)
    return data.getvalue()


def tarred(files: dict[str, bytes], top: str = "UrbanSound8K/", link: str = "") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo(top + "link")
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
    return data.getvalue()


def published(
    monkeypatch: pytest.MonkeyPatch, server: Server, name: str, archive: bytes, **changes: object
) -> None:
    """Let this archive be the data set's, on this server."""
    known = ORIGINALS[name]
    algorithm = known.archive_hash.split(":")[0]
    server.files[f"/{known.archive}"] = archive
    original = replace(
        known,
        url=f"http://127.0.0.1:{server.server_port}/{known.archive}",
        archive_bytes=len(archive),
        unpacked_bytes=10_000,
        archive_hash=f"{algorithm}:{hashlib.new(algorithm, archive).hexdigest()}",
        clips=len(NAMES),
        **changes,  # type: ignore[arg-type]
    )
    monkeypatch.setitem(ORIGINALS, name, original)


def fetch(name: str, to: Path) -> int:
    return download(argparse.Namespace(dataset=name, to=str(to)))


@contextmanager
def refused(pattern: str) -> Iterator[None]:
    with pytest.raises(OticError) as caught:
        yield
    assert re.search(pattern, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_tables_are_whole() -> None:
    for original in ORIGINALS.values():
        algorithm, digits = original.archive_hash.split(":")
        assert len(digits) == 2 * hashlib.new(algorithm).digest_size
        assert original.url.startswith("https://")


@pytest.mark.parametrize(("name", "folder"), [("esc50", "ESC-50-master"), ("urbansound8k", "U")])
def test_a_data_set_is_fetched_checked_and_named(
    name: str,
    folder: str,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files, archive = (FILES, zipped(FILES)) if name == "esc50" else (URBAN, tarred(URBAN))
    published(monkeypatch, server, name, archive, folder=folder)
    to = tmp_path / "made" / "here"
    assert main(["download", name, "--to", str(to)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{to / folder}\n"
    assert all(line.startswith("otic: ") for line in err.splitlines())
    assert "deleted" in err
    assert "refuses" not in err
    assert left(to) == [folder]
    for path, content in files.items():
        assert (to / folder / path).read_bytes() == content
    licences = "licences of the clips: CC0-1.0 4; 'otic train --any-use' goes by them"
    assert (licences in err) == (name == "esc50")
    # A second call finds it, without a request.
    server.ranges.clear()
    assert fetch(name, to) == 0
    out, err = capsys.readouterr()
    assert out == f"{to / folder}\n"
    assert "there already" in err
    assert server.ranges == []
    # And a folder that lacks a clip is not taken for it.
    next((to / folder / "audio").rglob("*.wav")).unlink()
    with refused(r"has 3 of 4 clips: move it away"):
        fetch(name, to)


@pytest.mark.parametrize("can_resume", [True, False])
def test_an_interrupted_download_is_resumed(
    can_resume: bool,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    published(monkeypatch, server, "urbansound8k", tarred(URBAN))
    server.break_after = 150_000
    with refused(
        r"the connection broke; 131072 bytes are kept: check the network and run the same"
    ):
        fetch("urbansound8k", tmp_path)
    assert left(tmp_path) == ["UrbanSound8K.tar.gz.part"]
    server.break_after, server.can_resume = None, can_resume
    assert fetch("urbansound8k", tmp_path) == 0
    assert server.ranges == [None, "bytes=131072-"]
    said = "going on after 131072 bytes" if can_resume else "starting over"
    assert said in capsys.readouterr().err
    assert left(tmp_path) == ["UrbanSound8K"]


@pytest.mark.parametrize("rest", [b"", b"and more"])
def test_a_part_that_is_complete_or_too_long(
    rest: bytes, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tarred(URBAN)
    published(monkeypatch, server, "urbansound8k", archive)
    (tmp_path / "UrbanSound8K.tar.gz.part").write_bytes(archive + rest)
    assert fetch("urbansound8k", tmp_path) == 0
    assert len(server.ranges) == (2 if rest else 1)
    assert left(tmp_path) == ["UrbanSound8K"]


def test_a_wrong_archive_is_not_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(monkeypatch, server, "urbansound8k", tarred(URBAN))
    known = ORIGINALS["urbansound8k"].archive_hash
    other = server.files["/UrbanSound8K.tar.gz"] = tarred(URBAN, "Other/")
    found = hashlib.md5(other).hexdigest()
    with refused(rf"UrbanSound8K.tar.gz' from http.* has the hash {found} and must have {known}"):
        fetch("urbansound8k", tmp_path)
    assert left(tmp_path) == []


def test_esc50_in_other_bytes_is_judged_by_its_content(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path, content in FILES.items():
        (tmp_path / "plain" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plain" / path).write_bytes(content)
    known = content_hash(tmp_path / "plain", "meta/esc50.csv")
    lines = [f"{hashlib.md5(FILES[p]).hexdigest()}  {p}\n" for p in sorted(FILES) if p != "LICENSE"]
    assert known == hashlib.sha256("".join(lines).encode()).hexdigest()
    published(monkeypatch, server, "esc50", zipped(FILES), content_hash=known)
    # Other bytes, the same clips.
    server.files["/ESC-50-master.zip"] = zipped(FILES | {"README.md": b"new"}, "ESC-50-master/")
    assert fetch("esc50", tmp_path / "a") == 0
    assert left(tmp_path / "a") == ["ESC-50-master"]
    # An archive that is not the known one may say anything of licences: it must say it of all.
    server.files["/ESC-50-master.zip"] = zipped(FILES | {"LICENSE": b"free"})
    assert fetch("esc50", tmp_path / "c") == 0
    assert "the licences of 4 of 4 clips are not stated" in capsys.readouterr().err
    # Another clip.
    changed = FILES | {f"audio/{NAMES[0]}": b"?"}
    server.files["/ESC-50-master.zip"] = zipped(changed)
    with refused(rf"not the published ones: their hash is [0-9a-f]{{64}} and must be {known}"):
        fetch("esc50", tmp_path / "b")
    assert left(tmp_path / "b") == []
    # No archive at all, as a hotel's login page is none.
    server.files["/ESC-50-master.zip"] = b"<html>please log in"
    with refused(r"ESC-50-master.zip' is damaged .*: deleted"):
        fetch("esc50", tmp_path / "b")
    assert left(tmp_path / "b") == []


@pytest.mark.parametrize(
    ("path", "message"), [("/missing/", "answers 404"), ("/broken/", "answers 500")]
)
def test_a_server_that_refuses(
    path: str, message: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(monkeypatch, server, "esc50", zipped(FILES))
    monkeypatch.setenv(MIRROR, f"http://127.0.0.1:{server.server_port}{path}")
    with refused(rf"{path}ESC-50-master.zip {message} .*OTIC_DOWNLOAD_URL"):
        fetch("esc50", tmp_path)
    assert left(tmp_path) == []


def test_a_mirror_takes_the_hosts_place(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(monkeypatch, server, "esc50", zipped(FILES))
    server.files["/mirror/ESC-50-master.zip"] = server.files.pop("/ESC-50-master.zip")
    monkeypatch.setenv(MIRROR, f"http://127.0.0.1:{server.server_port}/mirror")
    assert fetch("esc50", tmp_path) == 0


def test_nobody_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv(MIRROR, f"http://127.0.0.1:{port}")
    plenty = ORIGINALS["esc50"]
    monkeypatch.setitem(ORIGINALS, "esc50", replace(plenty, archive_bytes=1, unpacked_bytes=1))
    assert main(["download", "esc50", "--to", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "Connection refused: check the network" in err.splitlines()[-1]
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["../evil", "/evil", "audio/../../../evil"])
def test_nothing_is_unpacked_elsewhere(
    name: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = "" if name.startswith("/") else "UrbanSound8K/"
    archive = tarred(URBAN | {name: b"!"}, top)
    published(monkeypatch, server, "urbansound8k", archive)
    with refused(rf"holds '{top}{name}', which is outside of its folder"):
        fetch("urbansound8k", tmp_path / "to")
    published(monkeypatch, server, "esc50", zipped(FILES | {name: b"!"}, top))
    with refused(rf"holds '{top}{name}'"):
        fetch("esc50", tmp_path / "to")
    assert [p.name for p in tmp_path.rglob("*")] == ["to"]


def test_links_are_not_unpacked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(monkeypatch, server, "urbansound8k", tarred(URBAN, link="/etc/passwd"))
    with refused(r"holds 'UrbanSound8K/link', which is no file"):
        fetch("urbansound8k", tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_unpacking_leaves_the_archive_only(
    error: BaseException, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(monkeypatch, server, "urbansound8k", tarred(URBAN))
    stale = tmp_path / ".UrbanSound8K.unpacking"  # as a run that was killed leaves it
    stale.mkdir()
    (stale / "old").touch()

    def stop(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("otic_training.data.download.shutil.copyfileobj", stop)
        if isinstance(error, KeyboardInterrupt):
            assert main(["download", "urbansound8k", "--to", str(tmp_path)]) == 130
        else:
            with refused("No space left on device; the archive is kept"):
                fetch("urbansound8k", tmp_path)
    assert left(tmp_path) == ["UrbanSound8K.tar.gz"]
    assert fetch("urbansound8k", tmp_path) == 0
    assert len(server.ranges) == 1
    assert left(tmp_path) == ["UrbanSound8K"]
    assert not (tmp_path / "UrbanSound8K" / "old").exists()


def test_ctrl_c_while_downloading_keeps_what_came(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    published(monkeypatch, server, "urbansound8k", tarred(URBAN))

    def stop(self: requests.Response, _: int) -> Iterator[bytes]:
        yield self.raw.read(100)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(requests.Response, "iter_content", stop)
        assert main(["download", "urbansound8k", "--to", str(tmp_path)]) == 130
    assert left(tmp_path) == ["UrbanSound8K.tar.gz.part"]
    assert fetch("urbansound8k", tmp_path) == 0
    assert server.ranges[-1] == "bytes=100-"


def test_a_disk_without_room(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(monkeypatch, server, "esc50", zipped(FILES))
    original: Original = ORIGINALS["esc50"]
    monkeypatch.setitem(ORIGINALS, "esc50", replace(original, unpacked_bytes=10**18))
    with refused(r"GB free, but ESC-50-master takes 1000000000.0 GB, its archive included"):
        fetch("esc50", tmp_path)
    assert server.ranges == []


def test_what_training_refuses_is_said_and_kept(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The files are as published: to delete gigabytes for it would help nobody."""
    files = FILES | {"meta/esc50.csv": HEADER.encode()}
    published(monkeypatch, server, "esc50", zipped(files))
    assert fetch("esc50", tmp_path) == 0
    assert "as published, but training refuses them" in capsys.readouterr().err
    assert left(tmp_path) == ["ESC-50-master"]


# YAMNet


def test_a_model_that_is_another_is_refused_and_not_kept(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, f"http://127.0.0.1:{server.server_port}/mirror/")
    with refused("yamnet.tflite answers 404 Not Found: try again later, or set OTIC_DOWNLOAD_URL"):
        fetch("yamnet", tmp_path)
    for content in (b"x", bytes(PUBLISHED.size), bytes(PUBLISHED.size + 10)):
        server.files["/mirror/yamnet.tflite"] = content
        with refused(
            f"gave {min(len(content), PUBLISHED.size + 1)} bytes with the SHA-256 .* and "
        ):
            fetch("yamnet", tmp_path)
    server.files["/mirror/yamnet.tflite"] = bytes(PUBLISHED.size)
    server.break_after = 1000
    with refused("nothing is kept|can't download"):
        fetch("yamnet", tmp_path)
    server.shutdown()
    server.server_close()
    with refused("can't download .*: nothing listens on this port: check the network and run the"):
        fetch("yamnet", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_yamnet_has_a_name_when_it_is_downloaded(
    tmp_path: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    esc10: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file is Google's with its labels in a zip behind it, as MediaPipe publishes it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    barks = [str(path) for path in sorted((esc10 / "audio").glob("*-0.*"))[:3]]
    assert len(barks) == 3
    log = str(tmp_path / "log.jsonl")
    replay = [
        "replay",
        *barks,
        "--model",
        "yamnet",
        "--speed",
        "max",
        "--jsonl",
        log,
        "--log",
        "events",
    ]
    assert main(replay) == 1
    assert "model 'yamnet' is not here yet: run 'otic download yamnet'" in capsys.readouterr().err
    model = (esc10.parent / "yamnet" / "yamnet.tflite").read_bytes()
    with (esc10.parent / "yamnet" / "yamnet_class_map.csv").open() as file:
        labels = [row["display_name"] for row in csv.DictReader(file)]
    content = attach(model, {"yamnet_label_list.txt": "\n".join(labels)})
    server.files["/yamnet.tflite"] = content
    known = replace(
        PUBLISHED,
        url=f"http://127.0.0.1:{server.server_port}/yamnet.tflite",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    path = download_yamnet(None, known)
    assert path == tmp_path / "otic" / "models" / "yamnet.tflite"
    assert download_yamnet(None, known) == path
    assert len(server.ranges) == 1  # the second time it is there already
    bundle = load_bundle("yamnet")
    assert bundle.labels == tuple(labels)
    assert bundle.model == content
    thresholds = dict(zip(bundle.labels, bundle.decision.on_thresholds, strict=True))
    assert thresholds["Silence"] == thresholds["Inside, small room"] == 1.0
    assert set(thresholds.values()) == {thresholds["Dog"], 1.0}
    assert main(replay) == 0
    events = [json.loads(line) for line in Path(log).read_text().splitlines()]
    on = [event["label"] for event in events if event.get("state") == "on"]
    assert on.count("Dog") >= 3
    assert not {"Silence", "Inside, small room"} & set(on)
    capsys.readouterr()
    assert main(["models"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["yamnet", "521"] in [row[:2] for row in rows]
    base = Base("yamnet")
    assert (base.features, base.inference_hop_frames) == (YAMNET, YAMNET_HOP_FRAMES)
    with refused("is there, but of another file: move it away and run the same command again"):
        download_yamnet(None, replace(known, sha256="0" * 64))
