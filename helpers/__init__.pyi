"""The verbs and the modules that make them: read by type checkers, and by `helpers/__init__.py` when a verb is first used.

A module must not be called like a verb: its import would take the verb's place.
"""

from .api import run as run
from .api import train as train
from .audit import audit_study as audit_study
from .confirm import confirm_study as confirm_study
from .continued import continue_pruned as continue_pruned
from .dashboard_process import Dashboard as Dashboard
from .dashboard_process import dashboard as dashboard
from .estimate import estimate_study as estimate_study
from .evaluation import evaluate as evaluate
from .exporting import Exported as Exported
from .exporting import export as export
from .exporting import train_winner as train_winner
from .imports import import_checkpoint as import_checkpoint
from .inputs import default_request as default_request
from .inputs import load_study as load_study
from .inputs import make_config as make_config
from .migration import migrate_study as migrate_study
from .plots import save_figures as save_figures
from .plots import study_figures as study_figures
from .redirection import redirect as redirect
from .redirection import save_sweep as save_sweep
from .request import Crew as Crew
from .request import StudyRequest as StudyRequest
from .results import best_trial as best_trial
from .results import save_results as save_results
from .results import summary_rows as summary_rows
from .results import top_trials as top_trials
from .results import trial_rows as trial_rows
from .running import StudyProgress as StudyProgress
from .running import StudyReader as StudyReader
from .running import progress as progress
from .stopping import stop as stop
from .study import run_study as run_study
from .study_report import report as report
