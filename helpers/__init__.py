"""What people call: studies, audits, estimates, confirmations, reports, trainings, redirection.

The script `train_gazegaussian_optuna.py` and the notebooks hold nothing but calls of these verbs.
"""

from helpers.animation import save_sweep
from helpers.api import (
    default_request,
    load_study,
    make_config,
    migrate_study,
    report,
    run,
    train,
)
from helpers.audit import audit_study
from helpers.confirm import confirm_study
from helpers.continue_pruned import continue_pruned
from helpers.dashboard import Dashboard, dashboard
from helpers.estimate import estimate_study
from helpers.evaluation import evaluate
from helpers.export import Exported, export, train_winner
from helpers.imports import import_checkpoint
from helpers.plots import save_figures, study_figures
from helpers.redirection import redirect
from helpers.results import best_trial, save_results, summary_rows, top_trials
from helpers.running import StudyProgress, StudyReader, progress
from helpers.stopping import stop
from helpers.study import Crew, StudyRequest, run_study

__all__ = [
    "Crew",
    "Dashboard",
    "Exported",
    "StudyProgress",
    "StudyReader",
    "StudyRequest",
    "audit_study",
    "best_trial",
    "confirm_study",
    "continue_pruned",
    "dashboard",
    "default_request",
    "estimate_study",
    "evaluate",
    "export",
    "import_checkpoint",
    "load_study",
    "make_config",
    "migrate_study",
    "progress",
    "redirect",
    "report",
    "run",
    "run_study",
    "save_figures",
    "save_results",
    "save_sweep",
    "stop",
    "study_figures",
    "summary_rows",
    "top_trials",
    "train",
    "train_winner",
]
