"""What people call: studies, trainings, results, figures, redirection.

The script `train_gazegaussian_optuna.py` and the notebooks hold nothing but calls of these verbs.
"""

from helpers.api import (
    default_request,
    load_study,
    make_config,
    redirect,
    run,
    train,
)
from helpers.audit import audit_study
from helpers.estimate import estimate_study
from helpers.plots import save_figures, study_figures
from helpers.results import best_trial, save_results, summary_rows, top_trials
from helpers.study import StudyRequest, run_study

__all__ = [
    "StudyRequest",
    "audit_study",
    "best_trial",
    "default_request",
    "estimate_study",
    "load_study",
    "make_config",
    "redirect",
    "run",
    "run_study",
    "save_figures",
    "save_results",
    "study_figures",
    "summary_rows",
    "top_trials",
    "train",
]
