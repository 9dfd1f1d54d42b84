"""``otic search``: hyper-parameters of a preset, tuned on validation folds only.

The test folds are never read. Each trial is a cross-validation over the others; Optuna's
sampler maximises the mean accuracy of clips.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otic.cli.arguments import Parser, add_json_option, whole
from otic.errors import OticError, RuntimeMissingError
from otic_training.cli.options import add_dataset_options, add_recipe_options
from otic_training.cli.progress import say
from otic_training.data.dataset import listed
from otic_training.experiment import Experiment, experiment_from, load_tensorflow
from otic_training.networks.presets import Passes, Preset

if TYPE_CHECKING:
    import optuna

_MIN_FOLDS = 3


def add_search_options(parser: Parser) -> None:
    """Add the options of ``otic search``."""
    parser.epilog = (
        "example: otic search ESC-50-master --preset mfcc-mlp --test-folds 5 --study esc.db"
    )
    add_dataset_options(parser)
    add_recipe_options(parser)
    parser.add_argument(
        "--test-folds", metavar="N,…", help="folds that are never read (default: the last)"
    )
    parser.add_argument(
        "--trials", type=whole, default=20, metavar="N", help="number of trials (default 20)"
    )
    parser.add_argument(
        "--study",
        default="otic-search.db",
        metavar="FILE",
        help="file with the trials; an existing one is continued (default %(default)s)",
    )
    add_json_option(parser)


def search(args: argparse.Namespace) -> int:
    """Continue a study, or begin one; print the best values so far."""
    if find_spec("optuna") is None:
        raise RuntimeMissingError(
            "a search needs optuna, which is not installed: pip install 'otic[train,search]'"
        )
    experiment = experiment_from(args)
    dataset, recipe = experiment.dataset, experiment.preset
    if len(dataset.folds) < _MIN_FOLDS:
        raise OticError(
            f"'{args.dataset}' has {len(dataset.folds)} folds: a search needs {_MIN_FOLDS}, one to "
            "keep for the test and two to train and validate on"
        )
    text = args.test_folds or str(dataset.folds[-1])
    kept = dataset.some_folds("--test-folds", text)
    folds = [fold for fold in dataset.folds if fold not in kept]
    if len(folds) < 2:
        raise OticError(f"--test-folds {text} leaves one fold: two are needed to validate on")
    study = _study(args.study, experiment, folds)
    load_tensorflow()

    import numpy as np
    import optuna

    from otic_training.fitting.prepare import prepare
    from otic_training.fitting.validate import cross_validate

    seen = replace(dataset, clips=tuple(c for c in dataset.clips if c.fold in folds))
    validation = replace(experiment, dataset=seen)
    prepared = prepare(validation)

    def objective(trial: optuna.Trial) -> float:
        tried = replace(validation, preset=varied(recipe, trial))
        results = cross_validate(prepared, tried, _quiet)
        tested = [result.tested(1.0, len(prepared.labels)) for result in results.held_out]
        accuracy = float(np.mean([t.clip_accuracy for t in tested]))
        say(f"trial {trial.number}: {accuracy:.1%} of clips with {_listed(trial.params)}")
        return accuracy

    left = args.trials - len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)))
    say(f"{max(0, left)} of {args.trials} trials to go, on folds {listed(folds)}")
    if left > 0:
        study.optimize(objective, n_trials=left)
    outcome = {
        "preset": recipe.name,
        "data": dataset.name,
        "validation_folds": folds,
        "trials": len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))),
        "clip_mean": round(study.best_value, 4),
        "best": study.best_params,
    }
    if args.json:
        print(json.dumps(outcome, indent=2))
        return 0
    print(
        f"{recipe.name} on {dataset.name}, validated on folds {listed(folds)} in turn "
        f"(folds {listed(kept)} were not read): {study.best_value:.1%} of clips"
    )
    print(f"  {_listed(study.best_params)}")
    return 0


def varied(recipe: Preset, trial: optuna.Trial) -> Preset:
    """Change a recipe as the trial suggests."""
    changed = replace(
        recipe,
        learning_rate=trial.suggest_float(
            "learning_rate", recipe.learning_rate / 5, recipe.learning_rate * 5, log=True
        ),
        batch_size=trial.suggest_categorical("batch_size", [16, 32, 64, 128]),
        label_smoothing=trial.suggest_float("label_smoothing", 0.0, 0.2),
        weight_decay=trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True),
    )
    if isinstance(recipe.windows, Passes):
        return changed
    windows = replace(
        recipe.windows,
        mix_share=trial.suggest_float("mix_share", 0.0, 1.0),
        speed=trial.suggest_float("speed", 1.0, 1.5),
    )
    if windows.equaliser_db:
        windows = replace(windows, equaliser_db=trial.suggest_float("equaliser_db", 0.0, 8.0))
    return replace(changed, windows=windows)


def _study(path: str, experiment: Experiment, folds: list[int]) -> optuna.Study:
    """Open the study in the file; its name stands for all that makes trials comparable.

    Raises
    ------
    OticError
        If the file can't be read or written, or holds something else.
    """
    import optuna

    from otic_training.data.cache import key_of

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = Path(path).absolute()
    clips = [(c.path.name, c.label, c.fold) for c in experiment.dataset.clips]
    clips += [(c.path.name, c.label, c.fold) for c in experiment.negatives]
    models = [None if m is None else m.key for m in (experiment.teacher, experiment.base)]
    rest = key_of(experiment.preset.key, clips, models)[:12]
    name = f"{experiment.preset.name} on {experiment.dataset.name}, folds {listed(folds)}, "
    name += f"seed {experiment.seed}, {experiment.epochs} epochs, {rest}"
    try:
        study = optuna.create_study(
            study_name=name,
            storage=f"sqlite:///{place}",
            load_if_exists=True,
            direction="maximize",
        )
        # A study that is continued must not draw again what it drew at first.
        seed = (experiment.seed + len(study.trials)) % 2**32
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        return study
    except Exception as error:  # SQLAlchemy's and Optuna's, which share nothing
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OticError(f"can't use '{path}' as a study: {reason}") from error


def _listed(values: dict[str, Any]) -> str:
    shown = {k: f"{v:.3g}" if isinstance(v, float) else str(v) for k, v in values.items()}
    return ", ".join(f"{k} {v}" for k, v in shown.items())


def _quiet(line: str) -> None:
    """Drop the lines about a trial's folds."""
