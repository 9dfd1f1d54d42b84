"""A sensor in real time under random faults: `python -m tests.soak.hour [SECONDS] [--seed N]`.

`otic run` hears real recordings through a virtual microphone and tells six receivers, while the
microphone, the sound server, the broker, the web server, the disk and otic itself fail.
"""

from __future__ import annotations

import argparse
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tests.conftest import DATA
from tests.soak.broker import Ear, Gate, new_broker
from tests.soak.disk import SmallDisk
from tests.soak.evidence import Evidence
from tests.soak.faults import Chance, Fault
from tests.soak.hook import SECRET, Hook
from tests.soak.hour_checks import check
from tests.soak.player import Player
from tests.soak.report import Report, end_in_order_on_sigterm
from tests.soak.sensor import Sensor
from tests.support import mosquitto, virtual_microphone

_EVIDENCE = "evidence.pickle"
_DRAIN_SECONDS = 60.0
_DISK_MEGABYTES = 24
CLIPS_MEGABYTES = 2.0
_CONFIG = """\
name = "soak"
model = "esc10-mfcc-mlp"
[[inputs]]
name = "mic"
[jsonl]
path = "{disk}/log.jsonl"
max_megabytes = 0.1
keep = 10000
[csv]
path = "{disk}/events.csv"
[sqlite]
path = "{disk}/events.sqlite"
[clips]
directory = "{disk}/clips"
max_megabytes = {clips}
[spool]
directory = "{disk}/spool"
[command]
argv = ["tee", "-a", "{folder}/command.jsonl"]
[webhook]
url = "{url}"
timeout_seconds = 2.0
[mqtt]
host = "127.0.0.1"
port = {mqtt_port}
timeout_seconds = 3.0
[metrics]
listen = "{metrics_port}"
"""


@dataclass(frozen=True)
class Pace:
    """How fast things go wrong: an hour's, or a test's of some seconds."""

    fault_every: float = 20.0
    shortest: float = 1.0
    longest: float = 20.0
    stopped: float = 5.0
    pause: float = 2.0
    life_weight: float = 0.4  # of the end of a life, where other faults have 1
    stop: float = 1.0  # seconds that a SIGTERM may take


def soak(
    seconds: float,
    seed: int,
    clips: Sequence[Path],
    folder: Path,
    pace: Pace,
    keep: Path | None = None,
) -> Report:
    """Run for so long, then let all heal, and look at what was told."""
    report = Report()
    with ExitStack() as stack:
        disk = SmallDisk(folder / "disk", _DISK_MEGABYTES)
        stack.callback(disk.close)
        if keep is not None:
            ignore = shutil.ignore_patterns("pulse")
            stack.callback(shutil.copytree, folder, keep, ignore=ignore, dirs_exist_ok=True)
        (folder / "pulse").mkdir()
        microphone = virtual_microphone.Server(folder / "pulse")
        microphone.start()
        stack.callback(microphone.stop)
        broker = new_broker(folder)
        stack.callback(broker.kill)
        ear = Ear(broker.port)
        stack.enter_context(ear)
        gate = Gate(broker.port, ear)
        stack.callback(gate.close)
        mode = ["ok"]
        hook = Hook(lambda: mode[0])
        stack.callback(hook.close)
        metrics_port = mosquitto.free_port()
        config = folder / "otic.toml"
        ports = {"mqtt_port": gate.port, "metrics_port": metrics_port, "url": hook.url}
        names = {"disk": disk.folder, "folder": folder, "clips": CLIPS_MEGABYTES}
        config.write_text(_CONFIG.format(**names, **ports))
        env = {**microphone.env, "OTIC_WEBHOOK_SECRET": SECRET, "OTIC_STORE": "off"}
        sensor = Sensor(config, disk.folder / "log.jsonl", folder / "stderr.txt", env)
        stack.callback(sensor.end)
        player = Player(clips, microphone.env, seed, pace.pause)
        stack.callback(player.close)

        def answer(value: str) -> None:
            mode[0] = value
            hook.release()

        def life_ends(how: str) -> None:
            sensor.kill() if how == "killed" else sensor.stop()
            sensor.start()

        span, pause = (pace.shortest, pace.longest), (pace.stopped, pace.stopped)
        faults = [
            Fault(
                "unplug",
                "device",
                lambda: virtual_microphone.unplug(microphone.env),
                lambda: virtual_microphone.plug(microphone.env),
                *span,
            ),
            Fault("sound server dies", "device", microphone.kill, microphone.start, *span),
            Fault("broker dies", "broker", broker.kill, broker.start, *span),
            Fault("broker stalls", "broker", broker.stall, broker.go_on, *span),
            *(
                Fault(f"web server: {m}", "hook", partial(answer, m), partial(answer, "ok"), *span)
                for m in ("stall", "500", "drop")
            ),
            Fault("disk full", "disk", disk.fill, disk.empty, *span),
            Fault(
                "otic stopped",
                "otic",
                lambda: sensor.send(signal.SIGSTOP),
                lambda: sensor.send(signal.SIGCONT),
                *pause,
            ),
            Fault(
                "capture stopped",
                "otic",
                lambda: sensor.send_to_capture(signal.SIGSTOP),
                lambda: sensor.send_to_capture(signal.SIGCONT),
                *pause,
            ),
            Fault("killed", "otic", lambda: life_ends("killed"), weight=pace.life_weight),
            Fault("restarted", "otic", lambda: life_ends("stopped"), weight=pace.life_weight),
        ]
        # Else the first life would spend its first seconds compiling.
        warmup = [sys.executable, "-m", "otic", "warmup", "--model", "esc10-mfcc-mlp"]
        subprocess.run(warmup, env=env, check=True, capture_output=True)
        sensor.start()
        sensor.wait_until_it_listens()
        chance = Chance(faults, seed, pace.fault_every)
        scrapes = _run(sensor, chance, seconds, metrics_port)
        chance.end_all()
        sensor.stop()
        sensor.start()  # the last life, and nothing goes wrong any more
        page = _drain(sensor, metrics_port)
        player.close()
        sensor.stop()
        time.sleep(0.5)
        sensor.look_for_orphans()
        report.figure("clips played, interrupted", f"{player.played}, {player.failed}")
        report.figure("metrics read, not answered", scrapes)
        report.figure("web server: posts without a good answer", hook.refused)
        evidence = Evidence(
            folder=folder,
            disk=disk.folder,
            lives=sensor.lives,
            problems=sensor.problems,
            happened=chance.happened,
            mqtt=ear.notifications,
            webhook=hook.taken,
            unsigned=hook.unsigned,
            metrics=page,
            disk_is_limited=disk.limited,
        )
        (folder / _EVIDENCE).write_bytes(pickle.dumps(evidence))
        check(report, evidence, pace.stop)
    return report


def _run(sensor: Sensor, chance: Chance, seconds: float, metrics_port: int) -> str:
    read = unanswered = 0
    begin = said = scraped = time.monotonic()
    while (now := time.monotonic()) - begin < seconds:
        time.sleep(0.05)
        sensor.look()
        chance.look()
        if now - scraped > 10.0:
            scraped = now
            if _metrics(metrics_port):
                read += 1
            else:
                unanswered += 1
        if now - said > 60.0:
            said = now
            lives, faults = len(sensor.lives), len(chance.happened)
            print(f"{now - begin:6.0f} s, life {lives}, {faults} faults", flush=True)
    return f"{read}, {unanswered}"


def _drain(sensor: Sensor, metrics_port: int) -> str:
    """Wait until nothing waits for a receiver; the metrics then."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    page = ""
    while time.monotonic() < deadline:
        time.sleep(0.25)
        sensor.look()
        page = _metrics(metrics_port)
        waiting = [line for line in page.splitlines() if line.startswith("otic_receiver_waiting")]
        nothing_waits = bool(waiting) and all(line.endswith(" 0.0") for line in waiting)
        if nothing_waits and sensor.lives[-1].clock:
            break
    time.sleep(2.0)  # what is heard now has time to come, too
    return _metrics(metrics_port) or page


def _metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=0.5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.hour", description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=3600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between faults")
    parser.add_argument("--keep", type=Path, help="copy all files here in the end")
    parser.add_argument("--again", type=Path, help="only check what --keep has copied here")
    args = parser.parse_args()
    if args.again is not None:
        evidence = pickle.loads((args.again / _EVIDENCE).read_bytes())
        report = Report()
        check(report, replace(evidence, folder=args.again, disk=args.again / "disk"), Pace.stop)
        return report.print()
    virtual_microphone.install()
    mosquitto.install()
    clips = sorted((DATA / "esc10" / "audio").glob("*.*"))
    if not clips:
        print(f"no recordings at {DATA / 'esc10'}: set OTIC_DATA", file=sys.stderr)
        return 2
    end_in_order_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="otic-soak-") as name:
        report = soak(args.seconds, args.seed, clips, Path(name), Pace(args.every), args.keep)
    return report.print()


if __name__ == "__main__":
    sys.exit(main())
