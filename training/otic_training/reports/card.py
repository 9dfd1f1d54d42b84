"""Model cards: what a person should know before they rely on a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from otic.detection.thresholds import DecisionParams
from otic.errors import OticError
from otic.model.bundle import Bundle
from otic_training.fitting.export import INT8_SUFFIX
from otic_training.networks.presets import STREAM, preset
from otic_training.reports.cost import Cost, cost_of
from otic_training.scoring.metrics import Figures


def int8_path(path: str) -> str:
    """Path of the int8 bundle's card, beside the other's."""
    place = Path(path)
    return str(place.with_name(f"{place.stem}{INT8_SUFFIX}{place.suffix}"))


def write_card(
    path: str, bundle: Bundle, command: str, tutorial: Figures | None, credits_file: str = ""
) -> None:
    """Write a bundle's card, see :func:`model_card`."""
    write_text(path, model_card(bundle, command, tutorial, cost_of(bundle), credits_file))


def write_text(path: str, text: str) -> None:
    """Write a card or credits, whole or not at all.

    Raises
    ------
    OticError
        If it can't be written.
    """
    place = Path(path)
    beside = place.with_name(f".{place.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(place)
    except OSError as error:
        raise OticError(f"can't write '{path}': {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)


def model_card(
    bundle: Bundle,
    command: str,
    tutorial: Figures | None,
    cost: Cost,
    credits_file: str = "",
) -> str:
    """Describe a bundle in Markdown.

    Parameters
    ----------
    bundle : Bundle
        Trained on all folds, with the figures of a cross-validation.
    command : str
        The command line that reproduces it.
    tutorial : Figures, optional
        The tutorial preset's, under the same protocol.
    cost : Cost
    credits_file : str
        Name of the file beside the card that says whose recordings it learned from.
    """
    p, decision, figures = bundle.features, bundle.decision, Figures(**bundle.accuracy)
    origin = bundle.provenance
    versions = ", ".join(f"{k} {v}" for k, v in origin["versions"].items())
    by_fold = ", ".join(f"{a:.1%}" for a in figures.clip_by_fold)
    rows = _accuracy_row(f"{origin['preset']} (this recipe)", figures)
    if tutorial is not None:
        rows += "\n" + _accuracy_row("tutorial, same protocol", tutorial)
    on, off = _span(decision.on_thresholds), _span(decision.off_thresholds)
    teachers = [f"\n{who}: {text}." for who, text in _teachers(origin) if text]
    base = _base(origin["base"]) if "base" in origin else ""
    folds = ", ".join(map(str, origin["folds"]))
    return f"""# {bundle.name}

Classifies {len(bundle.labels)} kinds of sound: {", ".join(bundle.labels)}.
{_none(origin["preset"], origin.get("others"))}

## How well it works

{figures.protocol}.

| | of clips | of windows | clips tested |
|---|---|---|---|
{rows}

Mean ± standard deviation over the folds. By fold: {by_fold}.
{_calibration(bundle)}
The shipped model was then trained with the same recipe on all folds; it has no test data
left, so these figures are the recipe's. They say how well a clip is named that holds one
of the sounds; how well events are found in a stream is in docs/models.md, by recipe.

Confusion matrix over all folds (rows: true, columns: predicted, counts of clips):

{_confusion(bundle.labels, figures.confusion)}

## What it looks at

{p.looked_at} over a rolling window of {p.window_frames} frames
({p.window_seconds:.3f} s), a score every {bundle.inference_hop_seconds:.3f} s.{_memory(bundle)}
{cost.parameters} parameters, {cost.macs} multiplications a score, {cost.bytes / 1000:.0f} kB.

| parameter | value |
|---|---|
{_rows(p.to_dict())}

Events: {_smoothed(decision)}; on from {on} for at least
{decision.min_on_seconds} s, off below {off} for at least {decision.min_off_seconds} s;
onsets are dated {_onsets(decision)}, offsets back by {decision.lag_seconds} s.{_budget(origin)}
{_by_label(bundle)}
## Data and licence

{origin["data"]}, {origin["clips"]} clips, folds {folds}.{"".join(teachers)}{base}
{bundle.license}.
{_licences(origin.get("licences"), credits_file)}
## Reproduce

```
{command}
```

Seed {origin["seed"]}, {origin["epochs"]} epochs, {versions}{_commit(origin)}.
SHA-256 of the file: `{bundle.sha256}`.
"""


def _onsets(decision: DecisionParams) -> str:
    if not decision.onset_ground:
        return "to the sound's rise"
    return (
        f"to the sound's rise when the score reached {decision.onset_ground:g} of the\n"
        f"threshold, at most {decision.onset_back_seconds:g} s before it reached that"
    )


def _span(thresholds: tuple[float, ...]) -> str:
    low, high = min(thresholds), max(thresholds)
    return f"{low:g}" if low == high else f"{low:g} to {high:g} (by label)"


def _budget(origin: dict[str, Any]) -> str:
    if "budget" not in origin:
        return ""
    budget = origin["budget"]
    return (
        f"\nThresholds from a budget of {budget['budget_per_hour']:g} false alarms an hour on "
        f"{budget['hours']:.2f} h of negatives that it was not\ntrained on, where it reports "
        f"{budget['false_alarms']}."
    )


def _licences(counts: dict[str, int] | None, credits_file: str) -> str:
    parts = []
    if counts:
        listed = ", ".join(f"{licence} {n}" for licence, n in counts.items())
        parts.append(f"Clips by their own licence: {listed}.\n")
    if credits_file:
        parts.append(f"Whose recordings they are: [{credits_file}]({credits_file}).\n")
    return "".join(parts)


def _teachers(origin: dict[str, Any]) -> list[tuple[str, str | None]]:
    base = origin.get("base")
    of_base = base.get("teacher") if isinstance(base, dict) else None
    return [("Teacher", origin.get("teacher")), ("Teacher of the base", of_base)]


def _memory(bundle: Bundle) -> str:
    stream = bundle.stream
    if stream is None:
        return ""
    return (
        f"\nIt remembers what it heard: base and head hand a state from step to step. "
        f"{stream.warm_up_steps} step of warm-up,\nand a score is about the sound "
        f"{stream.delay_seconds:.2f} s before it."
    )


def _by_label(bundle: Bundle) -> str:
    """List thresholds where labels have different ones."""
    thresholds = bundle.decision.on_thresholds
    if len(set(thresholds)) == 1:
        return ""
    named = ", ".join(f"{k} {v:g}" for k, v in zip(bundle.labels, thresholds, strict=True))
    return f"On thresholds: {named}.\n"


def _base(base: dict[str, Any]) -> str:
    if "embedding" not in base:
        heard = f"it has heard folds {base['folds']} of {base['data']}" if base.get("data") else ""
        weights = f"{base.get('parameters')} parameters, {base.get('weights')} weights"
        return f"\nBase: {base['name']}, licence: {base['license']}; " + "; ".join(
            filter(None, (weights, heard))
        )
    return (
        f"\nBase: {base['name']}, licence: {base['license']}; its tensor `{base['embedding']}`;\n"
        f"SHA-256 of its file: `{base['sha256']}`."
    )


def _calibration(bundle: Bundle) -> str:
    error = f"Calibration error of windows: {bundle.accuracy['calibration_error']:.1%}"
    temperature = bundle.provenance.get("temperature")
    if temperature is None:
        return f"{error}."
    if bundle.name.endswith(INT8_SUFFIX):
        return f"{error}, before calibration; the shipped model has temperature {temperature}."
    return (
        f"{error}, at the temperature that the scores on the other\nfolds gave; the shipped "
        f"model's is {temperature}."
    )


def _smoothed(decision: DecisionParams) -> str:
    n = decision.smoothing_scores
    return f"mean of the last {n} scores" if n > 1 else "each score by itself"


def _none(name: str, negatives: str | None) -> str:
    if name == STREAM:
        against = f", and on {negatives} that hold none of them" if negatives else ""
        return (
            f"It was trained on mixed scenes that hold these sounds{against}.\nEach label has a "
            "score of its own. It may still take another sound for one of them."
        )
    if not preset(name).none_share:
        return (
            "It knows no others: any sound is given to the most similar of these, with a score "
            "that may be high."
        )
    if negatives:
        return (
            f'It was also trained on silence, noises, hums and {negatives} as "none of these":\n'
            "low scores for all. Sounds unlike all that may still be given to the most similar "
            "label."
        )
    return (
        'It was also trained on silence, noises and hums as "none of these": low scores for '
        "all.\nOther sounds it does not know: one may be given to the most similar label, with "
        "a high score."
    )


def _commit(origin: dict[str, Any]) -> str:
    return f", commit {origin['commit']}" if origin["commit"] else ""


def _accuracy_row(name: str, figures: Figures) -> str:
    return f"| {name} | {figures.spread('clip')} | {figures.spread('window')} | {figures.clips} |"


def _confusion(labels: tuple[str, ...], confusion: list[list[int]]) -> str:
    lines = [f"| | {' | '.join(labels)} |", "|---" * (len(labels) + 1) + "|"]
    for label, row in zip(labels, confusion, strict=True):
        lines.append(f"| **{label}** | {' | '.join(str(n) if n else '·' for n in row)} |")
    return "\n".join(lines)


def _rows(values: dict[str, Any]) -> str:
    return "\n".join(
        f"| `{k}` | {', '.join(v) if isinstance(v, list) else v} |" for k, v in values.items()
    )
