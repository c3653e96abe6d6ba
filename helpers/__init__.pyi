"""The verbs and the modules that make them: read by type checkers, and by `helpers/__init__.py` when a verb is first used.

A module must not be called like a verb: its import would take the verb's place.
"""

from .analysis.audit import audit_study as audit_study
from .analysis.confirm import confirm_study as confirm_study
from .analysis.continue_pruned import continue_pruned as continue_pruned
from .analysis.estimate import estimate_study as estimate_study
from .api import run as run
from .api import train as train
from .inference.evaluation import evaluate as evaluate
from .inference.export import Exported as Exported
from .inference.export import export as export
from .inference.export_source import train_best as train_best
from .inference.import_checkpoint import import_checkpoint as import_checkpoint
from .inference.redirect import redirect as redirect
from .inference.redirect import save_sweep as save_sweep
from .reporting.figures import save_figures as save_figures
from .reporting.figures import study_figures as study_figures
from .reporting.report import report as report
from .results.ranking import best_trial as best_trial
from .results.tables import save_results as save_results
from .results.tables import summary_rows as summary_rows
from .results.tables import top_trials as top_trials
from .results.tables import trial_rows as trial_rows
from .study.factory import default_spec as default_spec
from .study.factory import load_study as load_study
from .study.factory import make_config as make_config
from .study.migration import migrate_study as migrate_study
from .study.progress import StudyProgress as StudyProgress
from .study.progress import StudyReader as StudyReader
from .study.progress import progress as progress
from .study.spec import StudySpec as StudySpec
from .study.spec import WorkerPool as WorkerPool
from .study.stop import stop as stop
from .web.launcher import Dashboard as Dashboard
from .web.launcher import dashboard as dashboard
