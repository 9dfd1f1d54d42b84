"""Few-shot accuracy of embeddings: the classes of ESC-50 in a folder with a clips.csv.

``python -m tests.benchmarks.few_shot BASE.tflite FREE [--yamnet FILE] [--teacher FILE]`` draws 3
and 5 recordings a class ten times, fits the same logistic regression on each embedding's mean over
a clip, and prints the share of the other recordings' clips that are named right, mean and sd of the
draws. The base must not have heard these clips.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soxr
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from otic import FeatureParams, load_bundle
from otic.features.frontend import Frontend
from otic_training.base.head import BaseFrames, without_head
from otic_training.data.dataset import Clip
from otic_training.data.sound_tables import sounds_of
from otic_training.data.windows import active_part, read_clip

F32 = NDArray[np.float32]
SR, DRAWS, FEWEST = 22_050, 10, 5
EMBEDDING = "yamnet_frames/global_average_pooling2d/Mean"


def of_base(path: str) -> Callable[[F32], F32]:
    frames = BaseFrames(without_head(load_bundle(path)))
    return lambda y: frames(np.pad(y, (SR // 2, SR)))[2:].mean(0)


def of_yamnet(path: str) -> Callable[[F32], F32]:
    model = Interpreter(path, num_threads=1, experimental_preserve_all_tensors=True)
    model.allocate_tensors()
    place = next(t["index"] for t in model.get_tensor_details() if t["name"] == EMBEDDING)

    def embedding(y: F32) -> F32:
        z = soxr.resample(y, SR, 16_000).astype(np.float32)
        z = np.pad(z, (0, max(0, 15_600 - len(z))))
        found = []
        for first in range(0, len(z) - 15_600 + 1, 7_680):
            taken = model.get_input_details()[0]
            part = z[first : first + 15_600].reshape(taken["shape"])
            model.set_tensor(taken["index"], part)
            model.invoke()
            found.append(model.get_tensor(place).ravel())
        return np.asarray(np.mean(found, 0), np.float32)

    return embedding


def of_teacher(path: str) -> Callable[[F32], F32]:
    model = Interpreter(path, num_threads=1)
    model.allocate_tensors()
    place = next(d["index"] for d in model.get_output_details() if d["shape"].tolist() == [1, 384])

    def embedding(y: F32) -> F32:
        z = soxr.resample(y, SR, 32_000).astype(np.float32)
        z = np.pad(z, (0, max(0, 64_000 - len(z))))
        found = []
        for first in range(0, len(z) - 64_000 + 1, 32_000):
            model.set_tensor(model.get_input_details()[0]["index"], z[None, first : first + 64_000])
            model.invoke()
            found.append(model.get_tensor(place).ravel())
        return np.asarray(np.mean(found, 0), np.float32)

    return embedding


def statistics(y: F32) -> F32:
    p = FeatureParams(
        sr=SR,
        n_fft=2048,
        hop_length=512,
        n_mels=128,
        n_mfcc=40,
        fmin=0.0,
        fmax=SR / 2,
        top_db=80.0,
        center=False,
        window_frames=max(8, 1 + (len(y) - 2048) // 512),
        statistics=("mean", "std", "delta_mean", "delta_rms"),
    )
    frontend = Frontend(p)
    frontend.push(np.pad(y, (0, max(0, p.window_samples - len(y)))))
    return frontend.features()


def accuracy(x: F32, labels: NDArray[np.str_], recordings: NDArray[np.str_], k: int) -> list[float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = []
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        learned = np.zeros(len(x), bool)
        for label in np.unique(labels):
            own = np.unique(recordings[labels == label])
            chosen = rng.permutation(own)[:k]
            learned |= (labels == label) & np.isin(recordings, chosen)
        head = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        head.fit(x[learned], labels[learned])
        found.append(float(np.mean(head.predict(x[~learned]) == labels[~learned])))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base")
    parser.add_argument("free")
    parser.add_argument("--yamnet")
    parser.add_argument("--teacher", help="mn04-2s.tflite")
    a = parser.parse_args()
    clips = defaultdict(list)
    for sound in sounds_of([a.free], ("label", "recording")):
        if sound.of_esc50:
            clips[sound.label].append(sound)
    kept = [sound for label in sorted(clips) for sound in clips[label]]
    y = []
    for sound in kept:
        whole = read_clip(Clip(Path(sound.path), "", 0, ""), SR)
        begin, end = active_part(whole, SR)
        y.append(whole[begin:end])
    labels, recordings = (np.array([getattr(s, n) for s in kept]) for n in ("label", "recording"))
    print(f"{len(kept)} clips of {len(clips)} classes, {len(set(recordings.tolist()))} recordings")
    ways = {"base": of_base(a.base), "MFCC statistics": statistics}
    if a.yamnet:
        ways["YAMNet"] = of_yamnet(a.yamnet)
    if a.teacher:
        ways["mn04"] = of_teacher(a.teacher)
    for name, embed in ways.items():
        x = np.array([embed(each) for each in y])
        figures = [accuracy(x, labels, recordings, k) for k in (3, FEWEST)]
        cells = [f"{100 * np.mean(f):.1f} ± {100 * np.std(f):.1f}" for f in figures]
        print(f"{name}: 3 clips {cells[0]} %, 5 clips {cells[1]} %", flush=True)


if __name__ == "__main__":
    main()
