"""The verbs that train: a study, or one stage without a study.

Torch and plotly are imported where they are used: a study that is complete needs neither.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.storages import BaseStorage

from gazegaussian.config import RunConfig, load_run
from gazegaussian.errors import ConfigError, NonFiniteError
from gazegaussian.utils.counts import counted
from helpers.search.samplers_and_pruners import require_search
from helpers.storage.location import has_store
from helpers.storage.training_lock import sole_training
from helpers.study.resume import complete_study, existing_store, has_results, is_reported
from helpers.study.spec import StudySpec
from helpers.utils.environment import store_environment
from helpers.utils.files import log_output_dir, require_no_file

if TYPE_CHECKING:
    from gazegaussian.training.trainer import TrainResult

logger = logging.getLogger(__name__)


def run(spec: StudySpec, *, audit: bool = True, figures: bool = True) -> optuna.Study:
    """Run or resume a study, draw its figures and write its report.

    Runs trials until there are as many finished ones as asked for, a limit of the budget is reached, or `stop` asks. The
    study's attribute `stop_reason` says which. A study that has all its trials is left as it is.

    Args:
        spec: What to run and where, by whom.
        audit: First make sure that every searched parameter reaches training and that none changes the validation metric;
            a passed audit is remembered in the study's folder.
        figures: Draw figures and write the report at the end, unless they are there and no trial has ended since, or no
            epoch was trained.

    Raises:
        ConfigError: The audit names a parameter, or the study was created differently; no training was spent.
        UserError: Configuration, data, checkpoint, disk or storage cannot be used; nothing finished is lost.
        RuntimeError: Too many trials failed in a row.
        KeyboardInterrupt: Ctrl-C or SIGTERM; running trials are queued again for the next run.

    >>> study = helpers.run(helpers.default_spec("digits", n_trials=3, epochs=2), audit=False, figures=False)
    >>> len(study.trials)  # three were there: nothing was trained
    3
    """
    store = existing_store(spec)
    study = complete_study(spec, store)
    if study is not None and is_reported(study, spec.folder):
        return study
    if study is None:
        study = _run(spec, store, audit)
    if figures and not has_results(study, spec.folder):
        logger.info("study %s ended before its first epoch: the report follows", spec.study.study_name)
    elif figures:
        from helpers.reporting.report import report

        report(study, spec.folder, storage=spec.storage)
        spec.save_snapshot()  # the note is in the store
    return study


def _run(spec: StudySpec, store: BaseStorage | None, audit: bool) -> optuna.Study:
    require_search(spec.study, spec.config.training.epochs)
    logger.info("study %s in %s: loading torch and the renderers", spec.study.study_name, spec.folder)
    if spec.pool is not None:
        from helpers.study.workers.fork_server import import_ahead

        import_ahead(spec.pool, spec.config)  # beside the imports of this process
    from helpers.study.run import run_study

    if not audit:
        return run_study(spec, store)
    from helpers.analysis.audit import require_audit

    return run_study(spec, store, require_audit)


def train(config: RunConfig, out: Path) -> TrainResult:
    """Train one stage without a study, or resume a training of the same configuration; with more epochs, too.

    Args:
        config: What to train.
        out: Folder of the training; everything lands there.

    Returns:
        The finished training; one that was finished before is left as it is.

    Raises:
        ConfigError: `out` holds a study or a training of another configuration, or another process trains there now.
        UserError: Data, checkpoint or device cannot be used.
        NonFiniteError: The training diverged, or its metric was never finite.

    >>> result = helpers.train(helpers.make_config("digits", epochs=2), Path("my_training"))
    >>> result.best_checkpoint.as_posix(), len(result.history)
    ('my_training/best.pt', 2)
    """
    require_no_file(Path(out))
    if has_store(Path(out)):
        raise ConfigError(f"{out} is the folder of a study, which a training would spoil: give another --out.")
    logger.info("training of the %s in %s: loading torch and the renderers", config.stage, out)
    from gazegaussian.build import train_run
    from gazegaussian.training.run_folder import TRACES, find_run

    before = find_run(config, Path(out))
    if before is not None and before.finished:
        logger.info(
            "%s: already finished after %s: nothing to do; give %sanother --out or delete the folder",
            out,
            counted(len(before.result.history), "epoch"),
            "more --epochs, " if before.result.stop_reason is None else "",
        )
        return before.result
    if before is None:
        _require_no_others(Path(out), TRACES)
    log_output_dir(Path(out))
    with sole_training(Path(out)):
        store_environment(Path(out), config)
        result = train_run(config, Path(out), resume=before is not None)
    if result.best_epoch < 0:
        raise NonFiniteError(f"{config.training.monitor} was never finite in {counted(len(result.history), 'epoch')}")
    return result


def _require_no_others(out: Path, names: Collection[str]) -> None:
    """Reject a folder whose files a new training would delete, unless an earlier one left them before its first epoch.

    Raises:
        ConfigError: It holds files of these names without the configuration of a training.
    """
    there = [name for name in names if (out / name).exists()]
    try:
        ours = not there or bool(load_run(out / "config.yaml"))
    except ConfigError:
        ours = False
    if not ours:
        raise ConfigError(f"{out} holds {there[0]}, which is not of a training of this program. Give another --out.")
