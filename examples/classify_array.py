"""Classify a recording that is in memory, as a NumPy array.

    python examples/classify_array.py [AUDIO_FILE]

Without a file it takes otic's synthetic soundscape.
"""

import sys

from otic import Event, Pipeline, Scores, load_audio, load_bundle
from otic.audio.soundscape import synthesise


def main(path: str | None = None) -> None:
    bundle = load_bundle("esc10-stream")  # or the path of a model file
    sr = bundle.features.sr
    y = load_audio(path, sr) if path else synthesise(sr)[0]  # float32 [n], mono, at sr

    pipe = Pipeline(bundle)
    items = pipe.process(y) + pipe.flush()

    predictions = [item for item in items if isinstance(item, Scores)]
    print(f"{len(y) / sr:.1f} s, {len(predictions)} predictions")
    for item in items:
        if isinstance(item, Event) and item.state == "off":  # an "off" knows the whole event
            print(f"{item.onset:6.2f} … {item.offset:6.2f} s  {item.label}, peak {item.peak:.2f}")

    # The scores themselves, by label: here the highest that each reached.
    for label in bundle.labels:
        highest = max((p.scores[label] for p in predictions), default=0.0)
        print(f"{label:<15} {'█' * round(20 * highest):<20} {highest:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
