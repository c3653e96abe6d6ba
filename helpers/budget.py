"""What a study has spent, and the hook that ends a trial when a limit is met."""

from __future__ import annotations

import optuna

from gazegaussian.training.hooks import Hook
from gazegaussian.training.trainer import Trainer
from helpers.limits import Budget
from helpers.ownership import RESUME_OF

SPENT = "spent"  # of a trial: [epochs, seconds of training], those of interrupted predecessors included


class BudgetSpentError(Exception):
    """A limit of the whole study is met in the middle of a trial."""


class TrialTimeoutError(Exception):
    """A trial took longer than one trial may."""


def spent(study: optuna.Study) -> tuple[int, float]:
    """Sum epochs and seconds of training over all trials; a continued trial counts once."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if SPENT in trial.user_attrs]
    continued = {trial.user_attrs.get(RESUME_OF) for trial in trials}
    rows = [trial.user_attrs[SPENT] for trial in trials if trial.number not in continued]
    return sum(int(row[0]) for row in rows), sum(float(row[1]) for row in rows)


def exhausted(study: optuna.Study, budget: Budget) -> str | None:
    """Name the limit that the study has met, or None."""
    if budget.max_total_epochs is None and budget.max_compute is None:
        return None
    epochs, seconds = spent(study)
    if budget.max_total_epochs is not None and epochs >= budget.max_total_epochs:
        return f"{epochs} epochs trained of max_total_epochs {budget.max_total_epochs}"
    if budget.max_compute is not None and seconds >= budget.max_compute:
        return f"{seconds:.0f} s trained of max_compute {budget.max_compute:.0f} s"
    return None


class BudgetHook(Hook):
    """Notes after every epoch what the trial has cost and stops it at a limit; its checkpoints are on disk by then.

    Args:
        study: Whose budget it is.
        trial: The one at work.
        budget: Of the study file.
        epochs: Of a whole trial; after the last one nothing is stopped any more.
    """

    def __init__(self, study: optuna.Study, trial: optuna.Trial, budget: Budget, epochs: int) -> None:
        self.study, self.trial, self.budget, self.epochs = study, trial, budget, epochs

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: dict[str, float]) -> None:
        """Note and compare.

        Raises:
            TrialTimeoutError: This trial has had its time.
            BudgetSpentError: The study has.
        """
        seconds = sum(row.get("seconds", 0.0) for row in trainer.history)
        self.trial.set_user_attr(SPENT, [epoch + 1, seconds])
        if epoch + 1 >= self.epochs:
            return
        limit = self.budget.trial_timeout
        if limit is not None and seconds >= limit:
            raise TrialTimeoutError(f"{seconds:.0f} s after epoch {epoch + 1}, trial_timeout is {limit:.0f} s")
        reason = exhausted(self.study, self.budget)
        if reason is not None:
            raise BudgetSpentError(reason)
