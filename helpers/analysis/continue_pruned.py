"""What pruning cost: a share of the pruned trials trained to the end, to see whether one would have won.

The trials themselves stay as they are; copies resume from their last checkpoints.
"""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from gazegaussian.config import RunConfig
from gazegaussian.errors import ConfigError
from gazegaussian.utils.plain_files import read_plain
from helpers.analysis.retrain import Source, missed_limits, open_source, rerun, trial_config
from helpers.analysis.shares import largest_count
from helpers.results.ranking import best_trial, metric_names, objective_key, signs
from helpers.results.run_files import trial_dir
from helpers.utils.files import content_of, write_json

if TYPE_CHECKING:
    from helpers.study.isolation import Train
    from helpers.study.spec import StudySpec

logger = logging.getLogger(__name__)

CONTINUED_FILE = "continued.json"
CONTINUED_FOLDER = "continued"


@dataclass(frozen=True)
class Continued:
    """One pruned trial, trained to the end."""

    trial: int
    pruned_after: int  # epochs
    value_when_pruned: float  # the best until then
    value: float | None  # best of the whole training; None when it failed
    epochs: int
    seconds: float  # of all its epochs, those before the pruning too
    beats_winner: bool
    reason: str = ""  # of a failure
    missed: tuple[str, ...] = ()  # constraints that its best epoch misses; such a trial wins nothing


@dataclass(frozen=True)
class ContinuedReport:
    """What the continued trials became."""

    metric: str
    winner: int
    winner_value: float
    pruned: int  # pruned trials of the study
    trials: tuple[Continued, ...]

    @property
    def lost(self) -> int:
        """Continued trials that would have beaten the best trial."""
        return sum(row.beats_winner for row in self.trials)

    @property
    def statement(self) -> str:
        """Whether pruning lost the best trial, as far as was looked."""
        done = [row for row in self.trials if row.value is not None]
        if not done:
            return f"None of {self.pruned} pruned trials was trained to the end: the price of pruning is not known."
        counted = f"{self.lost} of {len(done)} continued trials would have beaten the best trial (trial {self.winner})"
        barred = sum(bool(row.missed) for row in done)
        counted += f", {barred} missed a constraint" if barred else ""
        if len(done) == self.pruned:
            return f"{counted}; these are all pruned ones."
        most = largest_count(self.lost, len(done), self.pruned)
        return (
            f"{counted}; of all {self.pruned} pruned ones up to {most} ({most / self.pruned:.0%}) might (95% interval, "
            "hypergeometric)."
        )

    def rows(self) -> list[dict[str, Any]]:
        """One row per trial, for tables."""
        return [
            {
                "trial": row.trial,
                "pruned after epoch": row.pruned_after,
                f"best {self.metric} then": row.value_when_pruned,
                f"best {self.metric} at the end": row.value,
                "beats the best trial": "yes" if row.beats_winner else row.reason or _no(row),
            }
            for row in self.trials
        ]


def _no(row: Continued) -> str:
    return f"no, misses {' and '.join(row.missed)}" if row.missed else "no"


def continue_pruned(
    source: StudySpec | Path | str,
    share: float = 0.1,
    seed: int = 0,
    train: Train | None = None,
    check: Callable[[RunConfig], None] | None = None,
    storage: str | None = None,
) -> ContinuedReport:
    """Train a random share of the pruned trials to the end and compare them with the best trial.

    Finished ones under `<study>/continued/` are read, not repeated; `continued.json` holds the report. A trial whose
    last checkpoint was removed is trained from its beginning.

    Args:
        source: The spec that ran the study, or its folder.
        share: Of the pruned trials, 0 to 1; at least one of them.
        seed: Of the choice; a trial's place in it does not depend on the others.
        train: As in `StudySpec`; default the spec's, else the real training.
        check: As in `StudySpec`.
        storage: URL, as in `open_source`.

    Raises:
        ConfigError: No such study, no best trial to compare with, several objectives (never pruned), or a bad share.
        UserError: Data, checkpoint or device cannot be used.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"The share of pruned trials to continue must be above 0 and at most 1, not {share}.")
    opened = open_source(source, train, check, storage)
    study = opened.study
    if len(study.directions) > 1:
        raise ConfigError(f"Study {study.study_name!r} has several objectives: it prunes nothing to continue.")
    best = best_trial(study)
    if best is None or best.value is None:
        raise ConfigError(f"Study {study.study_name!r} has no complete trial to compare with. Run more trials first.")
    pruned = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
        if math.isfinite(objective_key(study, trial)[0])
    ]
    pruned.sort(key=lambda trial: random.Random(f"{seed} {trial.number}").random())
    chosen = sorted(pruned[: math.ceil(share * len(pruned) - 1e-9)], key=lambda trial: trial.number)
    rows = [_continue(opened, trial, best) for trial in chosen]
    report = ContinuedReport(metric_names(study)[0], best.number, best.value, len(pruned), tuple(rows))
    write_json(opened.folder / CONTINUED_FILE, {**asdict(report), "statement": report.statement})
    return report


def _continue(source: Source, trial: FrozenTrial, best: FrozenTrial) -> Continued:
    sign = signs(source.study)[0]
    logger.info("continue: trial %d, pruned after epoch %d", trial.number, len(trial.intermediate_values))
    folder = source.folder / CONTINUED_FOLDER / f"trial_{trial.number:04d}"
    run_dir = trial_dir(trial, source.folder)
    start = run_dir if run_dir is not None and (run_dir / "last.pt").is_file() else None
    run = rerun(source, trial_config(source.config, trial.params), folder, start)
    missed = missed_limits(source.limits, run.metrics)
    better = run.value is not None and sign * run.value < objective_key(source.study, best)[0]
    return Continued(
        trial=trial.number,
        pruned_after=len(trial.intermediate_values),
        value_when_pruned=sign * objective_key(source.study, trial)[0],
        value=run.value,
        epochs=run.epochs,
        seconds=run.seconds,
        beats_winner=bool(better and not missed),
        reason=run.reason,
        missed=missed,
    )


def load_continued(folder: Path) -> ContinuedReport | None:
    """Read `continued.json` of a study's folder; None when there is none."""
    path = Path(folder) / CONTINUED_FILE
    if not path.is_file():
        return None
    with content_of(path):
        content = json.loads(read_plain(path))
        rows = tuple(Continued(**{**row, "missed": tuple(row.get("missed", ()))}) for row in content["trials"])
        return ContinuedReport(content["metric"], content["winner"], content["winner_value"], content["pruned"], rows)
