"""``otic search``: hyper-parameters of a preset, tuned on validation folds only.

The folds to be tested on are never read. Each trial is a cross-validation over the
others: the mean accuracy of clips is what Optuna's sampler makes better.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from otic.cli.arguments import Parser, add_json_option, whole
from otic.errors import OticError, RuntimeMissingError
from otic_training.cli.options import add_dataset_options, add_recipe_options
from otic_training.cli.progress import say
from otic_training.data.cache import default_store, key_of
from otic_training.data.windows import Passes
from otic_training.fitting.requests import begin, listed, load_tensorflow, some_folds
from otic_training.networks.presets import Preset
from otic_training.scoring.protocols import prepared_for

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
    """Go on with a study, or begin one; prints the best values so far."""
    if find_spec("optuna") is None:
        raise RuntimeMissingError(
            "a search needs optuna, which is not installed: pip install 'otic[train,search]'"
        )
    dataset, recipe = begin(args)
    if len(dataset.folds) < _MIN_FOLDS:
        raise OticError(
            f"'{args.dataset}' has {len(dataset.folds)} folds: a search needs {_MIN_FOLDS}, one to "
            "keep for the test and two to train and validate on"
        )
    text = args.test_folds or str(dataset.folds[-1])
    kept = some_folds("--test-folds", text, dataset.folds)
    folds = [fold for fold in dataset.folds if fold not in kept]
    if len(folds) < 2:
        raise OticError(f"--test-folds {text} leaves one fold: two are needed to validate on")
    study = _study(args, recipe, dataset.name, folds)
    load_tensorflow()

    import optuna

    from otic_training.fitting.validate import cross_validate

    store = default_store()
    validation = replace(dataset, clips=tuple(c for c in dataset.clips if c.fold in folds))
    prepared = prepared_for(args, validation, recipe, args.seed, store)

    def objective(trial: optuna.Trial) -> float:
        tried = varied(recipe, trial)
        results = cross_validate(prepared, tried, args.seed, args.epochs, _silent, store)
        tested = [result.tested(1.0, len(prepared.labels)) for result in results]
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
    """The recipe with what the trial suggests."""
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


def _study(args: argparse.Namespace, recipe: Preset, data: str, folds: list[int]) -> optuna.Study:
    """The study in the file; its name stands for all that makes trials comparable.

    Raises
    ------
    OticError
        If the file can't be read or written, or is none.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = Path(args.study).absolute()
    rest = key_of(recipe.key, args.teacher, args.base, args.group_regex, args.subset, args.other)[
        :12
    ]
    name = f"{recipe.name} on {data}, folds {listed(folds)}, seed {args.seed}, "
    name += f"{args.epochs or recipe.epochs} epochs, {rest}"
    try:
        study = optuna.create_study(
            study_name=name,
            storage=f"sqlite:///{path}",
            load_if_exists=True,
            direction="maximize",
        )
        # One that goes on must not draw again what it drew at first.
        study.sampler = optuna.samplers.TPESampler(seed=(args.seed + len(study.trials)) % 2**32)
        return study
    except Exception as error:  # SQLAlchemy's and Optuna's, which share nothing
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OticError(f"can't use '{args.study}' as a study: {reason}") from error


def _listed(values: dict[str, Any]) -> str:
    shown = {k: f"{v:.3g}" if isinstance(v, float) else str(v) for k, v in values.items()}
    return ", ".join(f"{k} {v}" for k, v in shown.items())


def _silent(text: str) -> None:
    """Folds of a trial are not told."""
