"""What people call: studies, audits, estimates, confirmations, reports, trainings, redirection.

The script `train_gazegaussian_optuna.py` and the notebooks hold nothing but calls of these verbs. Each is imported when it is
first used: torch, plotly and scikit-learn take seconds, which a misspelt file name or a worker of a study should not wait for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helpers.animation import save_sweep
    from helpers.api import run, train
    from helpers.audit import audit_study
    from helpers.confirm import confirm_study
    from helpers.continued import continue_pruned
    from helpers.dashboard_process import Dashboard, dashboard
    from helpers.estimate import estimate_study
    from helpers.evaluation import evaluate
    from helpers.export_folder import Exported, export, train_winner
    from helpers.imports import import_checkpoint
    from helpers.inputs import default_request, load_study, make_config
    from helpers.migration import migrate_study
    from helpers.plots import save_figures, study_figures
    from helpers.redirection import redirect
    from helpers.request import Crew, StudyRequest
    from helpers.results import best_trial, save_results, summary_rows, top_trials
    from helpers.running import StudyProgress, StudyReader, progress
    from helpers.stopping import stop
    from helpers.study import run_study
    from helpers.study_report import report

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

# As above, for Python. A module must not be called like a verb: its import would take the verb's place.
_HOMES = {
    "animation": ("save_sweep",),
    "api": ("run", "train"),
    "audit": ("audit_study",),
    "confirm": ("confirm_study",),
    "continued": ("continue_pruned",),
    "dashboard_process": ("Dashboard", "dashboard"),
    "estimate": ("estimate_study",),
    "evaluation": ("evaluate",),
    "export_folder": ("Exported", "export", "train_winner"),
    "imports": ("import_checkpoint",),
    "inputs": ("default_request", "load_study", "make_config"),
    "migration": ("migrate_study",),
    "plots": ("save_figures", "study_figures"),
    "redirection": ("redirect",),
    "request": ("Crew", "StudyRequest"),
    "results": ("best_trial", "save_results", "summary_rows", "top_trials"),
    "running": ("StudyProgress", "StudyReader", "progress"),
    "stopping": ("stop",),
    "study": ("run_study",),
    "study_report": ("report",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a verb (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Name the verbs, imported or not."""
    return sorted({*globals(), *__all__})
